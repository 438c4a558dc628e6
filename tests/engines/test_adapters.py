import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import checkpoints
import synthetic_clips
from emo import experts
from emo.engines.settings import ModelSettings
from emo.engines.text import Chat, TextPreprocessor
from emo.engines.transformers_engine import TransformersEngine
from emo.errors import InputError


def make_adapter(base, folder, auto=AutoModelForCausalLM, targets="all-linear", **changes):
    return checkpoints.add_adapter(
        auto.from_pretrained(base, dtype=torch.float32), folder, targets, **changes
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_text(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    return make_adapter(base, tmp_path_factory.mktemp("adapter"))


def engine_for(base, **changes):
    return TransformersEngine(
        ModelSettings(model=str(base), device="cpu", max_new_tokens=12, **changes), TextPreprocessor
    )


def answers(engine):
    questions = checkpoints.sentences(4)
    found = engine.generate([Chat(q) for q in questions], questions, name="reader")
    return [completion.text for (completion,) in found]


def test_an_adapter_changes_the_answers_and_is_named_with_its_hash(base, adapter):
    plain, finetuned = engine_for(base), engine_for(base, adapter=str(adapter))
    assert answers(plain) != answers(finetuned)
    assert plain.adapter is None
    assert finetuned.adapter.startswith(f"{adapter}@")
    assert "beside the base" in finetuned.adapter


def test_an_adapter_answers_as_peft_itself_does(base, adapter):
    from peft import PeftModel

    reference = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter
    )
    engine = engine_for(base, adapter=str(adapter))
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        assert torch.allclose(engine.model(input_ids=ids).logits, reference(input_ids=ids).logits)


def test_a_merged_adapter_answers_the_same_and_is_named_as_merged(base, adapter):
    merged = engine_for(base, adapter=str(adapter), merge_adapter=True)
    assert answers(merged) == answers(engine_for(base, adapter=str(adapter)))
    assert "merged" in merged.adapter
    assert not any("lora" in name for name, _ in merged.model.named_parameters())


def changed_copy(adapter, folder, change):
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(change(weights), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    return folder


def test_other_weights_have_another_hash(base, adapter, tmp_path):
    other = changed_copy(
        adapter, tmp_path, lambda weights: {key: value + 0.01 for key, value in weights.items()}
    )
    first, second = engine_for(base, adapter=str(adapter)), engine_for(base, adapter=str(other))
    assert first.adapter.split("@")[1] != second.adapter.split("@")[1]


def test_missing_keys_are_an_error_that_lists_them(base, adapter, tmp_path):
    gone = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
    cut = changed_copy(
        adapter, tmp_path, lambda weights: {key: value for key, value in weights.items() if key != gone}
    )
    with pytest.raises(InputError, match=rf"1 keys that the model needs are missing: {gone}"):
        engine_for(base, adapter=str(cut))


def test_unexpected_keys_are_an_error_that_lists_them(base, adapter, tmp_path):
    more = changed_copy(
        adapter,
        tmp_path,
        lambda weights: {**weights, "base_model.model.tower.lora_A.weight": torch.ones(4, 4)},
    )
    with pytest.raises(InputError, match=r"1 keys are unexpected: base_model.model.tower.lora_A.weight"):
        engine_for(base, adapter=str(more))


def test_keys_that_moved_between_versions_are_an_error_and_not_an_untuned_model(base, adapter, tmp_path):
    moved = changed_copy(
        adapter,
        tmp_path,
        lambda weights: {key.replace("model.model.layers", "model.layers"): v for key, v in weights.items()},
    )
    with pytest.raises(InputError, match=r"missing: .* \.\.\.; .*unexpected"):
        engine_for(base, adapter=str(moved))


def test_an_adapter_for_other_modules_is_refused(base, adapter, tmp_path):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["nowhere"]}))
    (tmp_path / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(InputError, match="target modules do not fit"):
        engine_for(base, adapter=str(tmp_path))


def test_an_adapter_of_another_width_is_refused(adapter, tmp_path):
    wider = checkpoints.make_text(tmp_path, hidden_size=48)
    with pytest.raises(InputError, match="size mismatch"):
        engine_for(wider, adapter=str(adapter))


def test_a_folder_without_an_adapter_is_refused(base, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        engine_for(base, adapter=str(tmp_path))


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_every_family_takes_an_adapter_on_its_language_model(family, tmp_path):
    kind, make = checkpoints.FAMILIES[family]
    folder = make(tmp_path / "base")
    cls = experts.expert_class(kind)
    settings = {"name": "e", "kind": kind, "model": str(folder), "device": "cpu", "max_new_tokens": 8}
    plain = cls(cls.Settings(**settings))
    clips = [synthetic_clips.clip(1), synthetic_clips.clip(2)]
    untuned = [[d.text for d in answer] for answer in plain.describe(clips)]
    checkpoints.add_adapter(plain.engine.model, tmp_path / "adapter")
    expert = cls(cls.Settings(**settings, adapter=str(tmp_path / "adapter")))
    assert [[d.text for d in answer] for answer in expert.describe(clips)] != untuned
    assert expert.card.adapter.startswith(str(tmp_path / "adapter"))
