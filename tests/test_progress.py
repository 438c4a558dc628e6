"""A bar on a terminal, a line every few seconds elsewhere."""

import io

import pytest

from emo.terminal.progress import LINE_EVERY_S, Progress, duration


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_at_once_then_every_few_seconds_and_at_the_end():
    clock, log = Clock(), io.StringIO()
    progress = Progress("ingest", 100, log, clock)
    for _ in range(50):
        clock.now += LINE_EVERY_S / 10
        progress.add(2, 0)
    progress.finish()
    lines = log.getvalue().splitlines()
    assert lines[0] == "ingest: 0/100, 0 failed"
    # The last of the five is the end already and is not said twice.
    assert len(lines) == 1 + 5
    assert lines[-1] == "ingest: 100/100, 0 failed, 4.0/s, took 25 s"


def test_steps_side_by_side_share_a_terminal_line_by_line():
    clock, screen = Clock(), Terminal()
    both = [Progress(name, 2, screen, clock, bar=False) for name in ("describe face", "describe voice")]
    for one in both:
        clock.now += LINE_EVERY_S
        one.add(2, 0)
        one.finish()
    assert screen.getvalue().splitlines() == [
        "describe face: 0/2, 0 failed",
        "describe voice: 0/2, 0 failed",
        "describe face: 2/2, 0 failed, 2.5 s each, took 5 s",
        "describe voice: 2/2, 0 failed, 5.0 s each, took 10 s",
    ]


def test_a_terminal_gets_one_line_that_is_drawn_over():
    clock, screen = Clock(), Terminal()
    progress = Progress("describe face", 10, screen, clock)
    clock.now = 5.0
    progress.add(4, 1)
    progress.note("something")
    progress.add(5, 0)
    progress.finish()
    shown = screen.getvalue()
    assert "[############------------] 5/10, 1 failed, 1.0/s, 5 s left" in shown
    assert "describe face: something\n" in shown
    assert shown.endswith("10/10, 1 failed, 2.0/s, took 5 s\n")


def test_slow_work_is_told_as_seconds_each():
    clock, log = Clock(), io.StringIO()
    progress = Progress("describe", 4, log, clock)
    clock.now = 20.0
    progress.add(2, 0)
    assert "10.0 s each, 20 s left" in log.getvalue()


def test_what_goes_on_before_the_first_count_is_shown_until_then():
    clock, log = Clock(), io.StringIO()
    progress = Progress("describe internvl", 4, log, clock)
    for _ in range(2):
        clock.now += LINE_EVERY_S
        progress.doing(f"loading internvl for {duration(clock.now)}")
    clock.now += LINE_EVERY_S
    progress.add(1, 0)
    assert log.getvalue().splitlines()[1:] == [
        "describe internvl: 0/4, 0 failed, loading internvl for 5 s",
        "describe internvl: 0/4, 0 failed, loading internvl for 10 s",
        "describe internvl: 1/4, 0 failed, 15.0 s each, 45 s left",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(7.6, "8 s"), (200, "3 min 20 s"), (18720, "5 h 12 min")])
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text
