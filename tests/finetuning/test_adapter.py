import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import synthetic_clips
from emo import experts
from emo.errors import EmoError, InputError
from emo.experts import settings_of
from emo.finetuning import adapter, model
from emo.finetuning.settings import Finetune, Gate
from emo.jobs.describe import DescribeStep
from emo.needs import check_here


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_internvl(tmp_path_factory.mktemp("base"))


def make(base, folder, system=None, **changes):
    """An adapter as a run writes it, with weights that change the answers."""
    settings = Finetune(model=str(base), device="cpu", system=system, lora={"rank": 4}, max_frames=2)
    made = model.prepare(settings, base)
    torch.manual_seed(1)
    weights = {
        name: torch.randn(value.shape) * 0.3
        for name, value in made.model.named_parameters()
        if value.requires_grad
    }
    about = adapter.manifest(
        "faces",
        settings,
        base,
        targets=made.targets,
        template=(base / "chat_template.jinja").read_text(),
        data={"fingerprint": "f", "train": 3, "held_out": 1, "refused": {}},
        step=7,
        metrics={"f1": 0.5},
    )
    adapter.write_adapter(folder, made.model, weights, {**about, **changes})
    return folder


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    return make(base, tmp_path_factory.mktemp("adapter") / "adapter")


def expert(base, folder, **changes):
    cls = experts.expert_class("internvl")
    values = {"name": "e", "kind": "internvl", "model": str(base), "device": "cpu", "max_new_tokens": 8}
    adapted = None if folder is None else str(folder)
    return cls(cls.Settings(**{**values, "adapter": adapted, "max_frames": 2, **changes}))


def test_the_expert_answers_otherwise_with_the_adapter_of_its_base(base, tuned):
    clips = [synthetic_clips.clip(1)]
    plain = expert(base, None).describe(clips)[0][0].text
    assert expert(base, tuned).describe(clips)[0][0].text != plain


def test_the_manifest_says_what_the_adapter_was_made_of(tuned):
    about = adapter.read_manifest(tuned)
    assert about["base"]["architecture"] == "InternVLForConditionalGeneration"
    assert set(about["versions"]) == {"emo", "torch", "transformers", "peft", "deepspeed", "ray"}
    assert about["weights"] == 28
    assert about["keys"] == adapter.key_hash(list(load_file(tuned / "adapter_model.safetensors")))
    config = json.loads((tuned / "adapter_config.json").read_text())
    assert config["revision"] == about["base"]["revision"]
    assert (tuned / "README.md").read_text().startswith("---\nbase_model: ")


def test_an_adapter_of_another_base_is_refused(tuned, tmp_path):
    other = checkpoints.make_internvl(tmp_path / "other", end_bias=1.0)
    with pytest.raises(InputError, match=r"made for .* at revision local-.*not for .*other"):
        expert(other, tuned)


def test_a_copy_of_the_base_is_the_base(base, tuned, tmp_path):
    shutil.copytree(base, tmp_path / "copy")
    assert expert(tmp_path / "copy", tuned).card.adapter


def test_another_chat_template_is_refused(base, tuned, tmp_path):
    shutil.copytree(base, tmp_path / "copy")
    path = tmp_path / "copy" / "chat_template.jinja"
    path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match="another chat template"):
        expert(tmp_path / "copy", tuned)


def test_another_system_prompt_is_refused_and_the_right_one_is_not(base, tmp_path):
    folder = make(base, tmp_path / "adapter", system="Be exact.")
    with pytest.raises(InputError, match=r"trained with the system prompt 'Be exact.'.*`system` is None"):
        expert(base, folder)
    assert expert(base, folder, system="Be exact.").card.adapter


def test_weights_that_were_not_gathered_are_never_written(base, tmp_path):
    made = model.prepare(Finetune(model=str(base), device="cpu"), base)
    empty = {name: torch.empty(0) for name, value in made.model.named_parameters() if value.requires_grad}
    with pytest.raises(EmoError, match="weights are not there"):
        adapter.write_adapter(tmp_path / "a", made.model, empty, {})
    assert not (tmp_path / "a").exists()


def test_merging_gives_a_checkpoint_that_scores_as_base_and_adapter(base, tuned, tmp_path):
    difference = adapter.merge(tuned, base, tmp_path / "merged")
    assert difference < 1e-4
    clips = [synthetic_clips.clip(1), synthetic_clips.clip(2)]
    merged = [d[0].text for d in expert(tmp_path / "merged", None).describe(clips)]
    assert merged == [d[0].text for d in expert(base, tuned).describe(clips)]
    with pytest.raises(InputError, match="exists already"):
        adapter.merge(tuned, base, tmp_path / "merged")


def test_a_merge_that_changes_the_scores_leaves_nothing(base, tuned, tmp_path, monkeypatch):
    monkeypatch.setitem(adapter._MERGE_TOLERANCE, "float32", 0.0)
    weights = load_file(tuned / "adapter_model.safetensors")
    wild = tmp_path / "wild"
    shutil.copytree(tuned, wild)
    save_file({name: value * 9 for name, value in weights.items()}, wild / "adapter_model.safetensors")
    with pytest.raises(EmoError, match="nothing was written"):
        adapter.merge(wild, base, tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


def test_another_number_of_frames_than_it_was_trained_with_is_told_before_and_while_loading(
    base, tuned, caplog
):
    settings = {"name": "e", "kind": "internvl", "model": str(base), "adapter": str(tuned), "device": "cpu"}
    for frames, lines in ((2, 0), (8, 1)):
        said = []
        check_here(DescribeStep(settings_of({**settings, "max_frames": frames})).needs(), said.append)
        line = f"expert e: {tuned} was trained with max_frames 2, the expert's max_frames is {frames}"
        assert said.count(line) == lines
    expert(base, tuned).close()
    assert "max_frames" not in caplog.text
    expert(base, tuned, max_frames=8).close()
    assert "was trained with max_frames 2, the expert's max_frames is 8" in caplog.text


GOOD = {"f1": 0.6, "parse_failures": 0.01}


@pytest.mark.parametrize(
    ("metrics", "before", "gate", "reason"),
    [
        (GOOD, {"f1": 0.4}, {}, None),
        (GOOD, {"f1": 0.6}, {}, "the base without it has 0.600"),
        (GOOD, None, {}, "no figures to be better than"),
        (GOOD, None, {"better_than_base": False}, None),
        (GOOD, {"f1": 0.4}, {"min_f1": 0.7}, "gate.min_f1 is 0.7"),
        ({**GOOD, "parse_failures": 0.5}, {"f1": 0.4}, {}, "50.0% of its answers give no label"),
        ({"held_out_loss": 1.0}, {"f1": 0.4}, {}, "no label F1"),
    ],
)
def test_the_gate_lets_through_what_reaches_its_figures(metrics, before, gate, reason):
    reasons = adapter.gate_failures(metrics, before, Gate(**gate))
    if reason is None:
        assert reasons == []
    else:
        assert any(reason in one for one in reasons)
