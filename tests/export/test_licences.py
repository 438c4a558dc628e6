"""The data set card says under which licences what made the labels is, and guesses none."""

import json

import pytest

from emo.cli import main
from emo.engines.model_cards import licence_of
from emo.export.licences import of_models
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS
from review_outs import Judged, make_out, write, write_run


def checkpoint(folder, front):
    """A folder that names itself as a model's does, with what is needed to be found."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "README.md").write_text(f"---\n{front}---\n# A model\n")
    return str(folder)


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: apache-2.0\n", "apache-2.0"),
        ("license: [mit, cc-by-4.0]\n", "mit, cc-by-4.0"),
        ("license: other\nlicense_name: qwen\nlicense_link: LICENSE\n", "qwen, LICENSE"),
        ("license: other\n", "other"),
        ("datasets: x\n", None),
        ("license: ''\n", None),
        ("license: 'a\n  b'\n", "a b"),
    ],
)
def test_a_checkpoint_says_its_licence_in_one_line(tmp_path, front, licence):
    from pathlib import Path

    assert licence_of(Path(checkpoint(tmp_path / "m", front))) == licence
    assert licence_of(tmp_path) is None


@pytest.fixture
def out(tmp_path):
    storage = make_out(tmp_path / "out", [Judged("a")])
    here = checkpoint(tmp_path / "here", "license: cc-by-nc-4.0\n")
    for expert, model, licence in (
        ("x", "lab/one|two", "apache-2.0"),
        ("y", here, None),
        ("z", "lab/nobody-said", None),
    ):
        row = {"video_id": "a", "expert": expert, "sample": 0, "text": "t", "model": model}
        write(storage, DESCRIPTIONS, [{**row, "licence": licence}], expert)
    return storage


def test_the_card_has_a_row_for_every_model(out, tmp_path):
    to = tmp_path / "to"
    assert main(["export", "--out", out.url, "--to", str(to), "--format", "huggingface"]) == 0
    card = (to / "README.md").read_text()
    assert "| `lab/one\\|two` | apache-2.0 |" in card
    assert f"| `{tmp_path / 'here'}` | cc-by-nc-4.0 |" in card
    assert "| `lab/nobody-said` | unknown |" in card
    for part in (
        "## Limits",
        "## Models and their licences",
        "| happy | 1 |",
        "1 clips: 0 labelled by people",
    ):
        assert part in card
    assert main(["export", "--out", out.url, "--to", str(to / "csv"), "--format", "csv"]) == 0
    assert json.loads((to / "csv/export.json").read_text())["licences"]["lab/nobody-said"] is None


def test_the_model_that_reads_the_descriptions_counts_too(out, tmp_path):
    model = checkpoint(tmp_path / "reader", "license: mit\n")
    write_run(out, ["extract.kind=model", f"extract.model={model}"])
    config = json.loads(Storage(out.url).read("runs/20261120T230135Z.json"))["config"]
    assert of_models(out, config)[model] == "mit"
    assert of_models(out, {})["lab/one|two"] == "apache-2.0"


def test_the_experts_of_emo_say_theirs():
    from emo.experts import load, settings_of

    expert = load(settings_of({"name": "words", "kind": "words"}))
    assert expert.card.licence == "Apache-2.0 (part of emo)"
