"""One input that breaks a batch costs only itself."""

from emo.aligned import answers_of
from emo.errors import RowError


def shout(items):
    if "bad" in items:
        raise ValueError("cannot\nread it")
    return [item.upper() for item in items]


def test_an_input_that_raises_loses_only_its_own_answer():
    first, bad, last = answers_of(shout, ["a", "bad", "b"], "expert_error")
    assert (first, last) == ("A", "B")
    assert isinstance(bad, RowError)
    assert (bad.code, bad.message) == ("expert_error", "ValueError: cannot read it")


def test_too_few_answers_are_not_believed():
    assert answers_of(lambda items: ["x"] if len(items) == 1 else [], ["a", "b"], "code") == ["x", "x"]


def test_answers_that_are_errors_pass_through():
    error = RowError("too_long", "the clip is too long")
    assert answers_of(lambda items: [error for _ in items], ["a"], "code") == [error]


def test_nothing_asked_is_nothing_answered():
    assert answers_of(shout, [], "code") == []
