"""The pitch of a sound, on sounds whose pitch is known."""

import numpy as np
import pytest

from emo.media.pitch import yin

RATE = 16_000


def windows_of(wave: np.ndarray, samples: int = 1024, hop: int = 256) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(wave, samples)[::hop].astype(np.float64)


def buzz(hz: float, strengths: list[float]) -> np.ndarray:
    """A second of a tone with these overtones, the first the tone itself."""
    t = np.arange(RATE) / RATE
    return sum(
        strength * np.sin(2 * np.pi * hz * place * t) for place, strength in enumerate(strengths, start=1)
    )


@pytest.mark.parametrize("hz", [66.0, 97.3, 120.0, 211.7, 333.3, 480.0, 590.0])
@pytest.mark.parametrize("strengths", [[1.0], [1.0, 0.7, 0.5, 0.3], [0.0, 1.0, 0.8, 0.6]])
def test_the_pitch_of_a_tone_is_found_to_a_hundredth_also_without_its_lowest_part(hz, strengths):
    found = yin(windows_of(buzz(hz, strengths)), RATE, 65.0, 600.0)
    assert np.allclose(found, hz, rtol=0.01)


def test_noise_over_a_voice_moves_the_pitch_little():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    found = yin(windows_of(buzz(150.0, [1.0, 0.6, 0.4]) + noise), RATE, 65.0, 600.0)
    assert np.median(np.abs(found / 150.0 - 1)) < 0.01


def test_the_level_changes_nothing_and_silence_is_a_number():
    windows = windows_of(buzz(180.0, [1.0, 0.5]))
    first, second = (yin(windows * level, RATE, 65.0, 600.0) for level in (1.0, 1e-3))
    assert np.allclose(first, second)
    silent = yin(np.zeros((3, 1024)), RATE, 65.0, 600.0)
    assert np.isfinite(silent).all()
    assert (silent > 0).all()


def test_a_tone_that_glides_is_followed():
    t = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * (150 * t + 75 * t**2))  # from 150 to 300 Hz
    found = yin(windows_of(wave), RATE, 65.0, 600.0)
    middle = np.arange(len(found)) * 256 / RATE + 512 / RATE
    assert np.allclose(found, 150 + 150 * middle, rtol=0.03)


def test_a_window_too_short_for_the_lowest_pitch_is_refused():
    with pytest.raises(ValueError, match="too few"):
        yin(np.zeros((1, 400)), RATE, 65.0, 600.0)
