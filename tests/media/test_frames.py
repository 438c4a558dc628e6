"""The rules of sampling and of geometry, for all inputs."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.media.display import Turn, geometry
from emo.media.frames import centres, sample
from emo.patience import within

gaps = st.lists(st.floats(0.001, 5.0), min_size=0, max_size=60)


@given(gaps, st.floats(0.001, 5.0), st.integers(1, 40))
def test_samples_are_the_frames_on_show_at_the_centres_each_once(
    steps: list[float], last: float, count: int
) -> None:
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    duration = times[-1] + last
    indices = sample(times, duration, count)
    assert indices == sorted(set(indices))
    assert 1 <= len(indices) <= min(count, len(times))
    ends = [*times[1:], duration]
    for moment in centres(duration, count):
        assert any(times[i] <= moment < ends[i] for i in indices)


@given(st.integers(1, 200), st.integers(1, 64))
def test_a_constant_rate_gives_as_many_samples_as_asked_or_all_frames(frames: int, count: int) -> None:
    times = [i / 25 for i in range(frames)]
    assert len(sample(times, frames / 25, count)) == min(frames, count)


@given(
    st.integers(1, 8000),
    st.integers(1, 8000),
    st.sampled_from([None, Fraction(1), Fraction(16, 11), Fraction(8, 9), Fraction(0)]),
    st.builds(Turn, st.integers(0, 3), st.booleans()),
    st.integers(16, 4000),
)
def test_geometry_bounds_without_enlarging_and_keeps_the_aspect(
    width: int, height: int, aspect: Fraction | None, turn: Turn, longest: int
) -> None:
    shape = geometry(width, height, aspect, turn, longest)
    upright = (shape.scaled_width, shape.scaled_height)
    if turn.turns % 2:
        upright = upright[::-1]
    assert max(upright) <= longest
    assert upright[0] <= shape.width
    assert upright[1] <= shape.height
    # Rounding moves either side by half a pixel at most.
    scale = min(1.0, longest / max(shape.width, shape.height))
    assert upright[0] == pytest.approx(max(1, shape.width * scale), abs=0.51)
    assert upright[1] == pytest.approx(max(1, shape.height * scale), abs=0.51)
    assert shape.height == (height if turn.turns % 2 == 0 else shape.height)


def test_a_function_that_hangs_is_left_behind_and_one_that_raises_raises() -> None:
    begin = time.monotonic()
    assert within(0.1, lambda: time.sleep(5)) is None
    assert time.monotonic() - begin < 2
    assert within(5, lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)
