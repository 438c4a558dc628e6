"""`emo config` tells every key; its schema takes what emo takes."""

import json
import subprocess

import jsonschema
import pytest
import yaml

from emo.cli import main
from emo.config import presets
from emo.keys import every_key, schema
from labelling import EMO


def test_a_key_a_section_and_the_key_of_an_expert_are_told(capsys):
    assert main(["config", "ingest.frames", "retention", "experts.internvl.top_p"]) == 0
    said = capsys.readouterr().out
    assert "ingest.frames: whole number, from 1 to 1024; default 8\n    The number of frames" in said
    assert "retention.gone: keep or drop; default keep" in said
    assert "experts.internvl.top_p: number, above 0 to 1; default 0.9" in said
    assert "ingest.longest_side" not in said


def test_without_a_key_all_are_told_each_with_whole_sentences(capsys):
    assert main(["config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["keys"]
    assert [key["path"] for key in told] == [key.path for key in every_key()]
    assert [
        key["path"] for key in told if not (key["meaning"][0].isupper() or key["meaning"][0] in "`-")
    ] == []
    assert [key["path"] for key in told if not key["meaning"].endswith((".", ")", "`"))] == []


def test_an_unknown_key_names_those_that_it_resembles(capsys):
    assert main(["config", "ingest.frame"]) == 2
    assert "there is no key 'ingest.frame'; did you mean ingest.frames" in capsys.readouterr().err


@pytest.fixture(scope="module")
def validate():
    """What takes or refuses the tree of a configuration by the schema."""
    made = schema()
    kind = jsonschema.validators.validator_for(made)
    kind.check_schema(made)
    return kind(made).validate


@pytest.mark.parametrize("preset", presets())
def test_the_schema_takes_every_preset(preset, validate):
    from importlib import resources

    tree = yaml.safe_load((resources.files("emo.presets") / f"{preset}.yaml").read_text("utf-8"))
    validate(tree)


@pytest.mark.parametrize(
    "wrong",
    [
        {"experts": [{"kind": "words"}], "ingest": {"framess": 3}},
        {"experts": [{"kind": "words"}], "ingest": {"frames": 0}},
        {"experts": [{"kind": "nobody"}]},
        {"experts": [{"kind": "words", "samplez": 1}]},
        {"experts": [{"kind": "words"}], "extract": {"kind": "rules", "what": 1}},
    ],
)
def test_the_schema_refuses_what_emo_refuses(wrong, validate):
    with pytest.raises(jsonschema.ValidationError):
        validate(wrong)


def test_a_reader_that_leaves_is_no_fault_of_emo():
    shell = f"{EMO} config --schema | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[0] == "{"
    assert done.stdout.splitlines()[1] in ("0", "141")
    assert "Traceback" not in done.stderr
