"""One input that breaks a batch costs only itself."""

import errno

import pytest

from emo.aligned import answers_of, row_failure
from emo.errors import MachineError, PlaceError, RowError


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


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("int too large to convert to float"),
        RecursionError("maximum recursion depth exceeded"),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
        KeyError("missing"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/videos/a.mp4"),
        OSError(errno.EIO, "Input/output error"),
        # As a library in another language raises it for what it did not foresee.
        type("PanicException", (BaseException,), {})("index out of bounds"),
    ],
)
def test_whatever_code_raises_for_a_row_is_a_failure_of_that_row(error):
    failure = row_failure(error)
    assert failure.code == "unexpected"
    assert failure.message.startswith(f"{type(error).__name__}: ")
    assert "\n" not in failure.message


def test_a_failure_is_a_text_that_a_table_can_hold_and_not_a_book():
    failure = row_failure(ValueError("a\udcffb\nc" + "x" * 10_000))
    assert failure.message.startswith("ValueError: a\\udcffb c")
    assert len(failure.message.encode()) < 1100


def test_a_row_without_memory_is_tried_again_another_night():
    assert row_failure(MemoryError("no more")).code == "out_of_memory"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files", "/videos/a.mp4"),
        OSError(errno.ENOSPC, "No space left on device"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        RuntimeError("can't start new thread"),
        ModuleNotFoundError("No module named 'emo.late'"),
        RuntimeError("CUDA error: device-side assert triggered. Compile with ..."),
        PlaceError("s3://b: the bucket does not exist"),
    ],
)
def test_what_the_machine_does_to_every_row_is_no_failure_of_one(error):
    def call(items):
        raise error

    with pytest.raises((MachineError, PlaceError)):
        answers_of(call, ["a", "b"], "expert_error")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_what_ends_a_process_ends_it(error):
    with pytest.raises(type(error)):
        row_failure(error)


def test_a_system_code_that_ffmpeg_borrows_for_a_broken_file_is_the_files():
    from av.error import FileNotFoundError as Borrowed
    from av.error import OSError as Other

    assert row_failure(Borrowed(errno.ENOENT, "No such file or directory")).code == "unexpected"
    assert row_failure(Other(errno.ENOSPC, "No space left on device")).code == "unexpected"
    with pytest.raises(MachineError, match="too many files open"):
        row_failure(Other(errno.EMFILE, "Too many open files"))
