"""docs/families.md says what the installed transformers has, and which families were tried."""

import json

import hf_checkpoints
from conftest import REPOSITORY
from emo.engines.any_class import families
from emo.families_page import TRIED, found, page

PAGE = (REPOSITORY / "docs/families.md").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_installed_classes_give():
    assert page() == PAGE, "write it anew: python -m emo.families_page > docs/families.md"


def test_every_family_has_a_line_and_those_that_do_not_load_say_why():
    assert {family.name for family in found()} == set(families())
    for family in found():
        assert f"| `{family.name}` | `{family.cls}` |" in PAGE
        assert (family.fault is None) or not family.takes
    assert "no: an encoder-decoder" in PAGE


def test_the_families_that_are_called_tried_are_those_of_the_tests(tmp_path):
    names = set()
    for name, make in hf_checkpoints.FAMILIES.items():
        try:
            folder = make(tmp_path / name)
        except ImportError:  # of the extra
            names.add(name.replace("-", "_"))
            continue
        names.add(json.loads((folder / "config.json").read_text())["model_type"])
    assert names == set(TRIED)
