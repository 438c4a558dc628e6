import json
import re

import pytest
from pydantic import ValidationError

import checkpoints
from emo.errors import InputError
from emo.experts.in_process import finetunable
from emo.finetuning import model, parts
from emo.finetuning.settings import Finetune, Freeze, differences


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_lora_goes_on_the_language_part_alone_and_nothing_else_is_trained(family, tmp_path):
    kind, make = checkpoints.FAMILIES[family]
    folder = make(tmp_path)
    settings = Finetune(family=kind, model=str(folder), device="cpu")
    made = model.prepare(settings, folder)
    print(f"\n{family}: {made.trained} of {made.total}\n" + "\n".join(parts.summary(made.targets)))
    per_layer = 7 if family != "qwen3-omni" else 4  # the experts of a mixture are no linear layers
    assert len(made.targets) == 2 * per_layer
    assert all(".language_model.layers." in name for name in made.targets)
    trained = [name for name, value in made.model.named_parameters() if value.requires_grad]
    assert len(trained) == 2 * len(made.targets)
    assert all("lora_" in name and "language_model" in name for name in trained)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_parts_that_are_not_frozen_are_trained_and_the_others_are_not(family, tmp_path):
    kind, make = checkpoints.FAMILIES[family]
    folder = make(tmp_path)
    of_family = finetunable(kind).family
    for open_part in parts.PARTS:
        freeze = Freeze(**{part: part != open_part for part in parts.PARTS})
        settings = Finetune(family=kind, model=str(folder), device="cpu", lora=None, freeze=freeze)
        made = model.prepare(settings, folder)
        trained = {
            parts.part_of(name, of_family)
            for name, value in made.model.named_parameters()
            if value.requires_grad
        }
        assert trained == {open_part}
        with_lora = Finetune(family=kind, model=str(folder), device="cpu", freeze=freeze)
        targets = model.prepare(with_lora, folder).targets
        assert {parts.part_of(name, of_family) for name in targets} == {open_part}


def test_a_pattern_fits_its_targets_and_no_module_of_the_same_name_elsewhere():
    targets = [f"model.language_model.layers.{n}.self_attn.q_proj" for n in (0, 1, 11)]
    pattern = parts.target_pattern(targets)
    assert all(re.fullmatch(pattern, name) for name in targets)
    assert not re.fullmatch(pattern, "model.vision_tower.encoder.layer.0.attention.q_proj")
    assert not re.fullmatch(pattern, "other.model.language_model.layers.0.self_attn.q_proj")
    assert parts.summary(targets) == ["model.language_model.layers.N.self_attn.q_proj (3)"]


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in checkpoints.FAMILIES.values()}))
def test_weights_of_no_known_part_are_an_error(kind):
    with pytest.raises(InputError, match="belong to no part"):
        parts.part_of("talker.layers.0.weight", finetunable(kind).family)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("words", "an expert of the kind 'words' has no chat model in this process that can be trained"),
        ("nobody", "unknown expert kind 'nobody'; expected one of"),
    ],
)
def test_only_an_expert_with_a_chat_model_of_its_own_can_be_finetuned(kind, told):
    with pytest.raises(ValidationError, match=told):
        Finetune(family=kind)
    assert Finetune(family="emo.experts.internvl:InternVLExpert")


def test_a_base_of_another_family_is_refused_before_it_is_loaded(tmp_path):
    folder = checkpoints.make_qwen2_audio(tmp_path)
    with pytest.raises(InputError, match=r"not of the family 'internvl'.*Qwen2AudioForConditionalGeneration"):
        model.check_family("internvl", folder)


def test_a_base_without_all_its_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = checkpoints.make_internvl(tmp_path)
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "down_proj" in name)
    save_file({name: v for name, v in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(InputError, match="1 weights are not in the checkpoint"):
        model.prepare(Finetune(model=str(folder), device="cpu"), folder)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"freeze": {"language": True}}, "nothing is trained"),
        ({"quantise": True, "device": "cpu"}, "device cuda"),
        ({"quantise": True, "lora": None}, "set lora"),
        ({"quantise": True, "zero": 3}, "zero 0, 1 or 2"),
        ({"workers": [3, 2]}, "workers"),
        ({"zero": 4}, "zero"),
        ({"learning_rat": 1}, "learning_rat"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, what):
    with pytest.raises(ValueError, match=what):
        Finetune(**changes)


def test_settings_that_decide_what_comes_out_are_compared_and_others_are_not():
    one = Finetune(model="a", seed=1).model_dump(mode="json")
    assert (
        differences(one, Finetune(model="a", seed=1, workers=4, save_every=3).model_dump(mode="json")) == []
    )
    assert differences(one, Finetune(model="b", seed=1).model_dump(mode="json")) == [
        "model was 'a' and is 'b'"
    ]
    assert json.loads(json.dumps(one)) == one
