"""Whether a sound is music: tones that stand out of the spectrum, and that change as notes do.

A hum stands out and does not change; noise changes and nothing stands out of it. Drums alone are not told.
Speech has tones too: this is for sounds in which nobody speaks.
"""

from itertools import pairwise

import numpy as np

from emo.media.wave import AUDIO_HZ

_BLOCK = AUDIO_HZ // 2
_LOWEST_HZ, _HIGHEST_HZ = 80, 5000
# Below this level a block is silent: -50 dB of the full scale.
_SILENT = 10 ** (-50 / 20)
# How far a tone is above what is around it, and the share of the power that tones have in a block of music.
# Of noise that is averaged over a block no bin is 12 dB above its neighbours.
_ABOVE, _AROUND_BINS = 10 ** (12 / 10), 31
_OF_POWER = 0.4
# Shares of the blocks: with tones, and with other tones than the block before.
_TONAL, _CHANGING = 0.6, 0.2
_SAME = 0.6


def is_music(wave: np.ndarray) -> bool:
    """Whether a sound without speech is music. wave: float [samples] at 16 kHz."""
    blocks = [wave[at : at + _BLOCK] for at in range(0, len(wave) - _BLOCK + 1, _BLOCK)]
    heard = [_tones(block) for block in blocks if np.sqrt(np.mean(block**2)) >= _SILENT]
    tonal = [tones for tones in heard if tones]
    if len(tonal) < 2 or len(tonal) < _TONAL * len(heard):
        return False
    changes = [len(one & other) < _SAME * len(one | other) for one, other in pairwise(tonal)]
    return bool(np.mean(changes) >= _CHANGING)


def _tones(block: np.ndarray) -> frozenset[int]:
    """The bins of the tones in a block; none where they are a small part of it."""
    import scipy.signal  # takes a second, which every run would pay

    hertz, power = scipy.signal.welch(block, AUDIO_HZ, nperseg=2048)
    power = power[(hertz >= _LOWEST_HZ) & (hertz <= _HIGHEST_HZ)]
    around = scipy.signal.medfilt(power, _AROUND_BINS)
    above = power > _ABOVE * np.maximum(around, 1e-4 * power.max())
    if power[above].sum() < _OF_POWER * power.sum():
        return frozenset()
    peaks, _ = scipy.signal.find_peaks(np.where(above, power, 0.0))
    return frozenset(peaks.tolist())
