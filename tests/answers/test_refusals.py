"""What is looked for in few clauses only is what a look at all of them finds."""

import dataclasses
import os
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import REPOSITORY
from emo.answers import refusals
from emo.answers.refusals import Manners, manners

DATA = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY / "../shared/data"))
TEXTS = [
    line
    for name in ("refusals.txt", "descriptions.txt")
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
]
LANGUAGES = ("english", "chinese")


def slowly(text: str) -> Manners:
    """`manners` where every clause is searched for every wording."""
    wordings = refusals._wordings

    @cache
    def thorough(language: str) -> refusals._Wordings:
        return dataclasses.replace(wordings(language), may_find=lambda plain: True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusals, "_wordings", thorough)
        patch.setattr(refusals, "_may_turn", lambda sentence: True)
        return manners(text)


def alternatives(pattern: str) -> list[str]:
    """The parts of a pattern between its outermost bars."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(pattern):
        depth += (character in "([") - (character in ")]")
        if character == "|" and depth == 0:
            parts.append(pattern[start:at])
            start = at + 1
    return [*parts, pattern[start:]]


WORDINGS = [
    pytest.param(language, part, id=f"{language}-{kind.name.lower()}-{number}")
    for language in LANGUAGES
    for kind, pattern in refusals._wordings(language).to_the_asker
    for number, part in enumerate(alternatives(pattern.pattern))
]


@pytest.mark.parametrize(("language", "wording"), WORDINGS)
def test_whatever_a_wording_matches_is_looked_at(language: str, wording: str) -> None:
    may_find = refusals._wordings(language).may_find

    @settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.from_regex(wording))
    def holds(clause: str) -> None:
        assert may_find(clause)

    holds()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4),
    st.sampled_from(["", " ", "\n", " but ", "，但"]),
)
@example(["She smiles", "I can't help with that."], ", STILL ")
def test_a_short_look_finds_what_a_long_one_finds(texts: list[str], between: str) -> None:
    text = between.join(texts)
    assert manners(text) == slowly(text)


def test_a_short_look_finds_what_a_long_one_finds_in_every_line() -> None:
    for text in TEXTS:
        assert manners(text) == slowly(text)


def test_a_short_look_finds_what_a_long_one_finds_in_real_descriptions() -> None:
    path = DATA / "ovmerd" / "reasons.parquet"
    if not path.exists():
        pytest.skip(f"the licensed test data is not here: {path} (set EMO_TEST_DATA)")
    for row in pq.read_table(path).to_pylist():
        for language in LANGUAGES:
            assert manners(row[language]) == slowly(row[language])
