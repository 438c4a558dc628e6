"""A checkpoint that brings its own code, as Emotion-Qwen does: run with consent, looked at before."""

import pytest

from emo import experts
from emo.experts.hf import HfSettings
from own_code_checkpoint import CODE, change, make
from synthetic_clips import clip


def settings_of(folder, consent=True):
    return HfSettings(
        name="own",
        kind="hf",
        model=str(folder),
        device="cpu",
        max_new_tokens=8,
        trust_remote_code=consent,
    )


def missing(folder, consent=True):
    return experts.expert_class("hf").missing(settings_of(folder, consent))


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "own")


def test_its_code_is_run_only_with_consent(folder):
    (told,) = missing(folder, consent=False)
    assert "brings its own code, which trust_remote_code: true runs" in told
    assert missing(folder) == []
    expert = experts.load(settings_of(folder))
    assert type(expert.engine.model).__name__ == "Own"
    assert expert.card.modalities == ("frames",)
    (answers,) = expert.describe([clip(0)])
    assert answers[0].text
    assert answers[0].degraded == ()


def test_what_its_folder_lacks_is_told_before_anything_runs(folder):
    (folder / "configuration_own.py").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    (folder / "processor_config.json").unlink(missing_ok=True)
    told = "\n".join(missing(folder))
    assert "configuration_own.py is not in it, which config.json names for AutoConfig" in told
    assert "no preprocessor_config.json or processor_config.json" in told
    assert "no chat template" in told


def test_code_that_is_elsewhere_or_wants_what_is_not_installed_is_told(folder):
    (folder / "modeling_own.py").write_text(
        f"import never_heard_of.it\n{CODE}try:\n    import flash_attn_9\nexcept ImportError:\n    pass\n"
    )
    assert missing(folder) == [f"{folder}: modeling_own.py imports never_heard_of, which is not installed"]
    change(folder, auto_map={"AutoModel": "someone/else--modeling_own.Own"})
    assert missing(folder) == [
        f"{folder}: the code of AutoModel is in someone/else; put its files into the folder"
    ]
    change(folder, auto_map={"AutoModel": "modeling_own.Own"})
    (folder / "modeling_own.py").write_text("class Own(:\n")
    assert "modeling_own.py is no Python" in missing(folder)[0]
