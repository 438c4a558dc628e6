"""The voice expert: loudness, pitch, pace and pauses, and the arousal that they support. A baseline.

What the sound of a voice tells is mostly how aroused somebody is, hardly how pleasant it is for them (Scherer
2003; Juslin and Laukka 2003, Table 7): loud, high, lively and fast speech is found in anger as in elation,
soft, low, flat and slow speech in sadness as in calm, and high but soft speech in fear. So a reading names
both states that the sound cannot tell apart, and is given only where several measurements agree. The
speaker's usual voice is not known: the limits below are those of adults in general.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from emo.experts import measuring, protocol
from emo.experts.media import audio_wave
from emo.experts.protocol import AUDIO, Card, Clip, Description
from emo.media.wave import AUDIO_HZ

VERSION = "1"
REFERENCES = "Scherer 2003; Juslin and Laukka 2003"

_HOP = 256  # samples: 16 ms
_PITCH_WINDOW = 1024  # samples: 64 ms hold four periods of the lowest pitch
_PACE_WINDOW = 512  # samples: 32 ms follow single syllables
_BLOCK = 1024  # windows that are measured together: bounds the memory for long clips
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 600.0

_SILENT_DBFS = -60.0
_ACTIVE_BELOW_TOP_DB = 28.0  # what is softer than the loudest parts by more than this is a pause
_VOICED = 0.7  # correlation of a window with itself one period later
_LEAST_VOICED_SHARE = 0.15
_LEAST_ACTIVE_S = 0.3
_LEAST_PITCH_S = 0.1
_SYLLABLE_DIP_DB = 3.0
_SYLLABLE_FLOOR_DB = 20.0
_LEAST_BEATS_PER_S = 1.0
_PAUSE_S = 0.25  # Goldman-Eisler 1968: shorter gaps belong to the consonants

# Men speak at about 120 Hz and women at 210 (Traunmueller and Eriksson 1995); syllables follow at 4 to 5.5 a
# second in English (Jacewicz et al. 2009) and in Mandarin.
_HIGH_HZ, _LOW_HZ = 240.0, 95.0
_WIDE_SEMITONES, _NARROW_SEMITONES = 8.0, 3.0
_FAST_PER_S, _SLOW_PER_S = 5.5, 3.5
_MANY_PAUSES = 0.3


class Settings(measuring.Settings):
    """loud_dbfs: mean level of speech from which it counts as loud; soft_dbfs: up to which it counts as soft.

    They depend on how the clips were recorded; the defaults are for speech brought to about -23 dBFS.
    """

    loud_dbfs: float = Field(-17.0, le=0)
    soft_dbfs: float = Field(-28.0, le=0)

    @model_validator(mode="after")
    def _in_order(self) -> "Settings":
        if self.soft_dbfs >= self.loud_dbfs:
            raise ValueError("soft_dbfs: expected a level below loud_dbfs")
        return self


@dataclass(frozen=True)
class Measurement:
    """What was measured; `measure` says how.

    level_dbfs: mean power where there is sound; level_spread_db: standard deviation of the level there;
    pitch_hz: median, pitch_semitones: from the 10th to the 90th percentile, both None with too little pitch;
    voiced_share: of the time with sound that has a pitch; beats_per_s: syllable-like rises of the level per
    second without the pauses; pauses, pause_share, longest_pause_s: gaps between the first and the last
    sound; sound_s: from the first sound to the last.
    """

    level_dbfs: float
    level_spread_db: float
    pitch_hz: float | None
    pitch_semitones: float | None
    voiced_share: float
    beats_per_s: float
    pauses: int
    pause_share: float
    longest_pause_s: float
    sound_s: float


class VoiceExpert(measuring.MeasuringExpert):
    """Measures the sound track; does not know what is said."""

    Settings: ClassVar[type[protocol.Settings]] = Settings

    def __init__(self, settings: Any) -> None:
        from importlib.metadata import version

        self._settings = settings
        self.card = Card(
            name=settings.name,
            modalities=(AUDIO,),
            model="voice-measurements",
            revision=f"{VERSION}; librosa {version('librosa')}",
        )

    def describe_one(self, clip: Clip) -> Description:
        if clip.audio is None:
            return Description(
                "The clip has no sound track, so there was no voice to hear.", degraded=(AUDIO,)
            )
        measured = measure(audio_wave(clip))
        if measured is None:
            return Description("The sound track is silent: there was no voice to hear.")
        return Description(describe_measurement(measured, self._settings))


def measure(wave: np.ndarray) -> Measurement | None:
    """Measure a sound, float [samples] at 16 kHz, full scale 1; None where it is silent (below -60 dBFS).

    Pitch: YIN (de Cheveigne and Kawahara 2002), kept where the window correlates with itself one period
    later. Syllable-like beats: peaks of the level that stand out by 3 dB (after de Jong and Wempe 2009).
    """
    import librosa
    from scipy.signal import find_peaks

    level = _decibel(librosa.feature.rms(y=wave, frame_length=_PITCH_WINDOW, hop_length=_HOP)[0])
    top = float(np.percentile(level, 95))
    if top < _SILENT_DBFS:
        return None
    active = level > max(top - _ACTIVE_BELOW_TOP_DB, _SILENT_DBFS)
    pitch, periodicity = _pitch(wave)
    voiced = active & (periodicity > _VOICED)
    pitched = pitch[voiced]
    low, middle, high = np.percentile(pitched, (10, 50, 90)) if len(pitched) else (1.0, 1.0, 1.0)
    enough = len(pitched) * _HOP >= _LEAST_PITCH_S * AUDIO_HZ

    window_s = _HOP / AUDIO_HZ
    sounding = np.flatnonzero(active)
    gaps = [length for length in np.diff(sounding) - 1 if length * window_s >= _PAUSE_S]
    sound_s = float(sounding[-1] - sounding[0] + 1) * window_s
    pause_s = float(sum(gaps)) * window_s

    contour = librosa.feature.rms(y=wave, frame_length=_PACE_WINDOW, hop_length=_HOP)[0]
    contour = _decibel(np.sqrt(np.convolve(contour**2, (0.25, 0.5, 0.25), mode="same")))
    floor = float(np.percentile(contour, 95)) - _SYLLABLE_FLOOR_DB
    # Of peaks that are exactly equal, as in a steady tone, each would stand out on its own: a slope that
    # nothing else notices ranks them.
    contour += 1e-6 * np.arange(len(contour))
    beats, _ = find_peaks(contour, height=floor, prominence=_SYLLABLE_DIP_DB)
    return Measurement(
        level_dbfs=10 * float(np.log10(np.mean(10 ** (level[active] / 10)))),
        level_spread_db=float(np.std(level[active])),
        pitch_hz=float(middle) if enough else None,
        pitch_semitones=12 * float(np.log2(high / low)) if enough else None,
        voiced_share=len(pitched) / len(sounding),
        beats_per_s=len(beats) / (sound_s - pause_s),
        pauses=len(gaps),
        pause_share=pause_s / sound_s,
        longest_pause_s=float(max(gaps, default=0)) * window_s,
        sound_s=sound_s,
    )


def _decibel(amplitude: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(amplitude, 1e-10))


def _pitch(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each window its pitch in Hz, and how well the window correlates with itself one period later."""
    import librosa

    pitches, correlations = [], []
    for block in _blocks(np.pad(wave, _PITCH_WINDOW // 2)):
        pitch = librosa.yin(
            block,
            fmin=_LOWEST_HZ,
            fmax=_HIGHEST_HZ,
            sr=AUDIO_HZ,
            frame_length=_PITCH_WINDOW,
            hop_length=_HOP,
            center=False,
        )
        windows = np.lib.stride_tricks.sliding_window_view(block, _PITCH_WINDOW)[::_HOP].astype(np.float64)
        windows = windows - windows.mean(axis=1, keepdims=True)
        period = np.rint(AUDIO_HZ / pitch).astype(int)[:, None]
        place = np.arange(_PITCH_WINDOW)[None, :]
        inside = place + period < _PITCH_WINDOW
        now = windows * inside
        later = np.take_along_axis(windows, np.where(inside, place + period, 0), axis=1) * inside
        power = np.sqrt((now**2).sum(axis=1) * (later**2).sum(axis=1))
        correlations.append((now * later).sum(axis=1) / np.maximum(power, 1e-12))
        pitches.append(pitch)
    return np.concatenate(pitches), np.concatenate(correlations)


def _blocks(padded: np.ndarray) -> Iterator[np.ndarray]:
    """Cut so that the windows of all blocks together are the windows of the whole."""
    windows = 1 + (len(padded) - _PITCH_WINDOW) // _HOP
    for first in range(0, windows, _BLOCK):
        last = min(first + _BLOCK, windows) - 1
        yield padded[first * _HOP : last * _HOP + _PITCH_WINDOW]


def describe_measurement(measured: Measurement, settings: Settings) -> str:
    """The measurement in words, and the state that it fits, if any."""
    sound = f"The sound is {_level_word(measured, settings)} ({measured.level_dbfs:.0f} dBFS)"
    if measured.pitch_hz is None or measured.voiced_share < _LEAST_VOICED_SHARE:
        return f"{sound} and has hardly any pitch, so no voice was recognised: it may be noise or a whisper."
    if measured.sound_s < _LEAST_ACTIVE_S or measured.beats_per_s < _LEAST_BEATS_PER_S:
        return f"{sound} and has a pitch of {measured.pitch_hz:.0f} Hz, but not the rhythm of speech."
    assert measured.pitch_semitones is not None
    return (
        f"The voice is {_level_word(measured, settings)} ({measured.level_dbfs:.0f} dBFS, "
        f"varying by {measured.level_spread_db:.0f} dB). "
        f"Its pitch is {_pitch_word(measured.pitch_hz)} ({measured.pitch_hz:.0f} Hz) and moves over "
        f"{_range_word(measured.pitch_semitones)} range ({measured.pitch_semitones:.0f} semitones). "
        f"The pace is {_pace_word(measured.beats_per_s)} ({measured.beats_per_s:.1f} syllables per second), "
        f"{_pause_words(measured)}. {_reading(measured, settings)}"
    )


def _level_word(measured: Measurement, settings: Settings) -> str:
    if measured.level_dbfs >= settings.loud_dbfs:
        return "loud"
    return "soft" if measured.level_dbfs <= settings.soft_dbfs else "of medium loudness"


def _pitch_word(pitch_hz: float) -> str:
    return "high" if pitch_hz >= _HIGH_HZ else "low" if pitch_hz <= _LOW_HZ else "in the middle"


def _range_word(semitones: float) -> str:
    wide, narrow = semitones >= _WIDE_SEMITONES, semitones <= _NARROW_SEMITONES
    return "a wide" if wide else "a narrow" if narrow else "a medium"


def _pace_word(beats_per_s: float) -> str:
    return "fast" if beats_per_s >= _FAST_PER_S else "slow" if beats_per_s <= _SLOW_PER_S else "medium"


def _pause_words(measured: Measurement) -> str:
    if not measured.pauses:
        return "without a pause"
    amount = "1 pause" if measured.pauses == 1 else f"{measured.pauses} pauses"
    longest = f"the longest {measured.longest_pause_s:.1f} s"
    return f"with {amount} ({measured.pause_share:.0%} of the time, {longest})"


def _reading(measured: Measurement, settings: Settings) -> str:
    """The sentence about the speaker's state, from the signs of high and of low arousal."""
    assert measured.pitch_hz is not None
    assert measured.pitch_semitones is not None
    loud = measured.level_dbfs >= settings.loud_dbfs
    soft = measured.level_dbfs <= settings.soft_dbfs
    high = measured.pitch_hz >= _HIGH_HZ
    fast = measured.beats_per_s >= _FAST_PER_S
    wide = measured.pitch_semitones >= _WIDE_SEMITONES
    calming = (
        measured.pitch_hz <= _LOW_HZ
        or measured.pitch_semitones <= _NARROW_SEMITONES
        or measured.beats_per_s <= _SLOW_PER_S
        or measured.pause_share >= _MANY_PAUSES
    )
    if high and soft and not wide:
        return (
            f"A high but soft voice fits an afraid or nervous state ({REFERENCES}); "
            "it is also how some people speak at rest."
        )
    state = None
    # Loudness counts most, for it is what all authors find; without it the other three must agree.
    if not soft and not calming and sum((loud, loud, high, fast, wide)) >= 3:
        state = "an excited or angry state"
    elif soft and calming and not (high or fast or wide):
        state = "a sad or calm state"
    if state is None:
        return "The voice alone shows no clear emotion."
    return f"Such a voice fits {state}, which the sound alone cannot tell apart ({REFERENCES})."
