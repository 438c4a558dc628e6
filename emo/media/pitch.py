"""The pitch of a sound by YIN (de Cheveigne and Kawahara 2002, doi 10.1121/1.1458024)."""

import numpy as np

_THRESHOLD = 0.1  # of the normalised difference: the paper's own


def yin(windows: np.ndarray, rate: int, lowest_hz: float, highest_hz: float) -> np.ndarray:
    """The pitch of each window in Hz: float [windows], always a number, also where there is no pitch.

    windows: float [windows, samples], of more than twice the longest period; rate: samples a second.

    The steps of the paper are kept to the fifth, the parabola; the sixth, a search beside the window, is not
    made. Raises ValueError where a window is too short for `lowest_hz`.
    """
    shortest, longest = int(rate / highest_hz), int(np.ceil(rate / lowest_hz))
    if windows.shape[1] < 2 * longest:
        raise ValueError(f"{windows.shape[1]} samples are too few for {lowest_hz} Hz at {rate} Hz")
    difference = _difference(windows, longest)
    mean = np.cumsum(difference[:, 1:], axis=1) / np.arange(1, longest + 2)
    normalised = np.ones_like(difference)
    # Where nothing differs, as in silence, nothing repeats itself either.
    np.divide(difference[:, 1:], mean, out=normalised[:, 1:], where=mean > 0)

    middle = normalised[:, shortest : longest + 1]
    dip = (middle < normalised[:, shortest - 1 : longest]) & (middle <= normalised[:, shortest + 1 :])
    dip &= middle < _THRESHOLD
    period = shortest + np.where(dip.any(axis=1), dip.argmax(axis=1), middle.argmin(axis=1))

    before, at, after = (
        np.take_along_axis(normalised, (period + step)[:, None], axis=1)[:, 0] for step in (-1, 0, 1)
    )
    bend, slope = before + after - 2 * at, (after - before) / 2
    inside = np.abs(slope) < np.abs(bend)
    shift = np.divide(-slope, bend, out=np.zeros_like(at), where=inside)
    return rate / (period + shift)


def _difference(windows: np.ndarray, longest: int) -> np.ndarray:
    """Equation 6: for each lag from 0 to longest + 1 the squared difference, float [windows, lags]."""
    lags = longest + 2
    kept = windows.shape[1] - lags + 1
    size = 1 << (windows.shape[1] + kept - 1).bit_length()
    later = np.fft.rfft(windows, size)
    now = np.fft.rfft(windows[:, :kept], size)
    products = np.fft.irfft(later * now.conj(), size)[:, :lags]
    power = np.cumsum(np.pad(windows**2, ((0, 0), (1, 0))), axis=1)
    power = power[:, kept : kept + lags] - power[:, :lags]
    return np.maximum(power[:, :1] + power - 2 * products, 0.0)
