"""Adapters that were trained elsewhere: renamed where that is certain, refused with the rule otherwise."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import synthetic_clips
from emo import experts
from emo.cli.program import main
from emo.errors import InputError
from emo.finetuning.foreign import import_adapter
from emo.finetuning.masking import skeleton


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Of each family a base and an adapter on its language part, as PEFT writes it today."""
    found = {}

    def get(family):
        if family not in found:
            kind, make = checkpoints.FAMILIES[family]
            folder = tmp_path_factory.mktemp(family)
            base = make(folder / "base")
            cls = experts.expert_class(kind)
            expert = cls(cls.Settings(name="e", kind=kind, model=str(base), device="cpu"))
            checkpoints.add_adapter(expert.engine.model, folder / "adapter")
            found[family] = kind, base, folder / "adapter"
        return found[family]

    return get


def renamed(adapter, folder, *moves, config=None, **changes):
    """The adapter as others wrote it: every name moved, and a pattern of theirs in its configuration."""
    folder.mkdir(parents=True)
    weights = load_file(adapter / "adapter_model.safetensors")
    for old, new in moves:
        weights = {re.sub(old, new, key): value for key, value in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors")
    about = json.loads((adapter / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({**about, "target_modules": ["q_proj"], **changes})
    )
    return folder


def answers(kind, base, adapter):
    cls = experts.expert_class(kind)
    values = {"name": "e", "kind": kind, "model": str(base), "device": "cpu", "max_new_tokens": 8}
    expert = cls(cls.Settings(**values, adapter=str(adapter)))
    try:
        return [one.text for [one] in expert.describe([synthetic_clips.clip(1), synthetic_clips.clip(2)])]
    finally:
        expert.close()


WAYS = [
    ("internvl", [(r"model\.model\.language_model\.", "model.language_model.model.")], "InternVL's own code"),
    ("internvl", [(r"model\.model\.language_model\.", "model.model.")], "the language model alone"),
    ("internvl", [(r"\.(lora_[AB])\.weight", r".\1.default.weight")], "in memory"),
    ("internvl", [(r"^base_model\.model\.", "")], None),
    ("qwen2.5-vl", [(r"model\.model\.language_model\.", "model.model.")], "before 4.52"),
    ("qwen3-vl", [], None),
    ("qwen2-audio", [(r"model\.model\.language_model\.", "model.language_model.model.")], "before 4.52"),
    ("qwen2.5-omni", [(r"base_model\.model\.", "base_model.model.thinker.")], "the whole Omni model"),
]


@pytest.mark.parametrize(("family", "moves", "whose"), WAYS)
def test_old_names_become_those_of_the_base_and_the_adapter_answers_as_before(
    family, moves, whose, made, tmp_path
):
    kind, base, adapter = made(family)
    theirs = renamed(adapter, tmp_path / "theirs", *moves)
    found = import_adapter(theirs, kind, base, tmp_path / "ours")
    assert found.weights == len(load_file(adapter / "adapter_model.safetensors"))
    assert (whose is None) == (not found.renamed)
    if whose:
        [(name, count)] = found.renamed.items()
        assert whose in name
        assert count == found.weights
    assert answers(kind, base, tmp_path / "ours") == answers(kind, base, adapter)
    targets = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())["target_modules"]
    assert len(targets) == found.weights // 2
    modules = dict(skeleton(experts.expert_class(kind).family, base, False).named_modules())
    assert set(targets) <= modules.keys()


def test_weights_in_pickles_and_the_one_checkpoint_of_a_run_are_taken(made, tmp_path):
    kind, base, adapter = made("internvl")
    theirs = renamed(adapter, tmp_path / "run" / "checkpoint-30")
    weights = theirs / "adapter_model.safetensors"
    torch.save(load_file(weights), theirs / "adapter_model.bin")
    weights.unlink()
    import_adapter(tmp_path / "run", kind, base, tmp_path / "ours")
    assert answers(kind, base, tmp_path / "ours") == answers(kind, base, adapter)
    renamed(adapter, tmp_path / "run" / "checkpoint-60")
    with pytest.raises(InputError, match="several adapters; name one of them: checkpoint-30, checkpoint-60"):
        import_adapter(tmp_path / "run", kind, base, tmp_path / "other")


@pytest.mark.parametrize(
    ("moves", "changes", "said"),
    [
        (
            [(r"language_model\.layers\.0", "language_model.layers.9")],
            {},
            "no layer of the base has that name",
        ),
        ([], {"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ([], {"r": 8}, "weights do not fit the base: .* expected"),
    ],
)
def test_what_is_not_certain_is_refused_and_nothing_is_written(moves, changes, said, made, tmp_path):
    kind, base, adapter = made("internvl")
    theirs = renamed(adapter, tmp_path / "theirs", *moves, **changes)
    with pytest.raises(InputError, match=said):
        import_adapter(theirs, kind, base, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_the_tower_of_internvls_own_code_is_refused_with_its_rule(made, tmp_path):
    kind, base, adapter = made("internvl")
    theirs = renamed(adapter, tmp_path / "theirs")
    weights = load_file(theirs / "adapter_model.safetensors")
    name = "base_model.model.vision_model.encoder.layers.0.attn.qkv.lora_A.weight"
    save_file({**weights, name: torch.ones(4, 32)}, theirs / "adapter_model.safetensors")
    with pytest.raises(InputError, match="query, key and value of its tower in one layer"):
        import_adapter(theirs, kind, base, tmp_path / "ours")


def test_two_weights_of_one_place_are_refused(made, tmp_path):
    kind, base, adapter = made("internvl")
    theirs = renamed(adapter, tmp_path / "theirs")
    weights = load_file(theirs / "adapter_model.safetensors")
    twice = {key.replace(".weight", ".default.weight"): value.clone() for key, value in weights.items()}
    save_file({**weights, **twice}, theirs / "adapter_model.safetensors")
    with pytest.raises(InputError, match="and another one are both"):
        import_adapter(theirs, kind, base, tmp_path / "ours")


def test_an_adapter_of_a_wider_base_is_refused(made, tmp_path):
    kind, _, adapter = made("internvl")
    other = checkpoints.make_internvl(tmp_path / "other", hidden_size=64)
    with pytest.raises(InputError, match=r"is \(4, 32\), expected \(4, 64\)"):
        import_adapter(adapter, kind, other, tmp_path / "ours")


def test_the_command_brings_an_adapter_to_out_lists_it_and_says_what_its_prompt_was(
    made, tmp_path, capsys, caplog
):
    kind, base, adapter = made("internvl")
    theirs = renamed(
        adapter, tmp_path / "theirs", (r"model\.model\.language_model\.", "model.language_model.model.")
    )
    (theirs / "args.json").write_text(json.dumps({"template": "internvl_hf", "system": "Be exact."}))
    out = ["--out", str(tmp_path / "out"), "--set", f"finetune.model={base}"]
    assert main(["adapters", "import", "theirs", "--from", str(theirs), *out]) == 0
    said = capsys.readouterr().err
    assert "28 of 28 weights had the names of InternVL's own code" in said
    assert main(["adapters", "list", *out[:2]]) == 0
    assert "theirs\timported\tf1 -\t" in capsys.readouterr().out
    brought = tmp_path / "out" / "adapters" / "theirs"
    assert answers(kind, base, brought) == answers(kind, base, adapter)
    assert "by ms-swift with its template 'internvl_hf' and the system turn 'Be exact.'" in caplog.text
    assert "the expert's `system` is None" in caplog.text
    assert f"{adapter} was trained elsewhere; how its prompts were written is not known" in caplog.text
    assert main(["adapters", "import", "theirs", "--from", str(theirs), *out]) == 2
    assert "exists already" in capsys.readouterr().err
