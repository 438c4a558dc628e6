"""docs/configuration.md lists every key as the models have it."""

import re

import pytest

from conftest import REPOSITORY
from emo.config import load_config
from emo.configuration_page import keys, page
from emo.section import Section
from emo.store.s3 import S3Settings

PAGE = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_models_give():
    assert page() == PAGE, "write it anew: python -m emo.configuration_page > docs/configuration.md"


def _paths(tree, prefix=""):
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict) and name not in {"filters", "splits"}:
            yield from _paths(value, f"{prefix}{name}.")


def test_every_key_of_a_run_is_on_the_page():
    tree = load_config().model_dump(exclude={"experts", "extract"})
    sections = {name for name, value in tree.items() if isinstance(value, dict)}
    missing = [path for path in _paths(tree) if path not in sections and f"| `{path}` |" not in PAGE]
    assert missing == []


def test_a_line_gives_bounds_default_and_meaning():
    lines = dict(re.findall(r"^\| `([a-z_.0-9]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    allowed, default, meaning = lines["ingest.frames"].split(" | ")
    assert (allowed, default) == ("whole number, from 1 to 1024", "`8`")
    assert meaning == "The number of frames that are taken of a clip, at even distances."
    assert lines["max_failed_share"].startswith("number, from 0 to 1 | `0.5` | ")
    assert lines["s3.secret"].startswith("text (secret) or `null` | `null` | ")
    assert {key.path for key in keys(S3Settings, "s3.")} <= lines.keys()


def test_a_key_that_nobody_explains_is_refused():
    class Unexplained(Section):
        """A section."""

        first: int = 1
        """The first key has a meaning."""
        second: int = 2

    with pytest.raises(ValueError, match=r"Unexplained\.second"):
        keys(Unexplained)
