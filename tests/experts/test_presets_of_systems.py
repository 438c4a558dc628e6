"""The presets of other systems load and describe through their own settings, on tiny checkpoints."""

import pytest

import affectgpt_checkpoint
import checkpoints
import r1_omni_checkpoint
import step_audio_checkpoint
from emo import experts
from emo.config import load_config
from synthetic_clips import clip


def tiny_models(preset, folder):
    """For each key of a model in the preset what stands in for it."""
    if preset == "r1-omni":
        omni = r1_omni_checkpoint.make(folder / "omni")
        return {
            "experts.r1-omni.model": omni.model,
            "experts.r1-omni.router_tokenizer": omni.router_tokenizer,
            "experts.step-audio.model": step_audio_checkpoint.make(folder / "step"),
        }
    if preset == "videmo":
        return {"experts.videmo.model": checkpoints.make_qwen2_5_vl(folder / "vl")}
    if preset == "affectgpt-r1":
        files = affectgpt_checkpoint.make(folder / "affectgpt-r1")
        parts = {name: getattr(files, name) for name in ("vision", "audio", "checkpoint")}
        return {f"experts.affectgpt-r1.{key}": place for key, place in {"model": files.llm, **parts}.items()}
    return {"experts.humanomni-v2.model": checkpoints.make_qwen2_5_omni(folder / "omni")}


@pytest.mark.parametrize("preset", ["r1-omni", "humanomni-v2", "videmo", "affectgpt-r1"])
def test_a_preset_of_another_system_describes_a_clip(preset, tmp_path):
    models = tiny_models(preset, tmp_path)
    names = {key.split(".")[1] for key in models}
    overrides = [f"{key}={place}" for key, place in models.items()]
    overrides += [
        f"experts.{name}.{setting}" for name in names for setting in ("device=cpu", "max_new_tokens=8")
    ]
    config = load_config(preset=preset, overrides=overrides)
    assert {one.name for one in config.experts} == names
    for settings in config.experts:
        cls = experts.expert_class(settings.kind)
        assert cls.missing(settings) == []
        expert = experts.load(settings)
        (answers,) = expert.describe([clip(0)])
        assert answers[0].text
        if settings.name == "affectgpt-r1":
            # Its folder says what it is.
            assert expert.card.trained_on == ("MER-Caption+", "MER2025")
