"""What of a voice the expert `voice` measures: pitch, brightness, pace, pauses, and the kind of speaker.

None of it depends on the level of the sound.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emo.media import voice_activity
from emo.media.pitch import yin
from emo.media.wave import AUDIO_HZ

_HOP = 256  # samples: 16 ms
_PITCH_WINDOW = 1024  # samples: 64 ms hold four periods of the lowest pitch
_PACE_WINDOW = 512  # samples: 32 ms follow single syllables
_BLOCK = 1024  # windows that are measured together: bounds the memory for long clips
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 600.0

_SILENT = 1e-4  # largest sample: three steps of 16 bits
_SPEECH = 0.5  # probability of a window from which it counts as speech
_NO_SPEECH = 0.2  # up to which it counts as background
_ACTIVE_BELOW_TOP_DB = 28.0  # what is softer than the loudest speech by more than this is a pause
_VOICED = 0.7  # correlation of a window with itself one period later
_LEAST_SPEECH_S = 0.3
_LEAST_PITCH_S = 0.15
_LEAST_BACKGROUND_S = 0.1
_SYLLABLE_DIP_DB = 3.0
_SYLLABLE_FLOOR_DB = 20.0
_PAUSE_S = 0.25  # Goldman-Eisler 1968: shorter gaps belong to the consonants

# Linear prediction of order 12 at 11 kHz finds the four lowest formants of speech (Markel and Gray 1976).
_FORMANT_HZ = 11_000
_FORMANT_ORDER = 12
_FORMANT_WINDOW = 352  # samples at 11 kHz: 32 ms
_MOST_FORMANT_WINDOWS = 200
_WIDEST_FORMANT_HZ = 500.0
_TELEPHONE_DB = -35.0  # of 4 to 5 kHz against 2 to 4: less is a sound whose fourth formant was cut off


@dataclass(frozen=True)
class Register:
    """A kind of speaker: pitch at rest and the third and fourth formant relative to a man's.

    prior: how likely such a speaker is; rest: semitones above 1 Hz; tract: the relative height of the
    formants, with its spread over speakers, languages and what is said.
    """

    name: str
    prior: float
    rest: float
    tract: float
    tract_spread: float


# Pitch at rest: men 120 Hz, women 210 (Traunmueller and Eriksson 1995), children of ten 260. Formants:
# relative to 2,550 and 3,700 Hz, which is what the measurement below gives for men; women's lie 10 % higher,
# children's 30 % (Hillenbrand et al. 1995). Compared with neutral single words in 12 languages.
_REGISTERS = (
    Register("low", 0.46, 82.9, 1.03, 0.05),
    Register("middle", 0.46, 92.6, 1.13, 0.06),
    Register("high", 0.08, 96.3, 1.35, 0.10),
)
_MEN_FORMANTS_HZ = (2550.0, 3700.0)
# Voices are raised more often than lowered: over all states pitch lies two semitones above rest, spread 4.5.
_RAISED, _RAISED_SPREAD = 2.0, 4.5


@dataclass(frozen=True)
class Measurement:
    """What was measured where somebody speaks; `measure` says how. None of it depends on the level.

    speech_s: time with speech; sound_s: from the first speech to the last. pitch_hz: median;
    raised_semitones: how far it lies above rest for such a speaker; register: the likeliest one;
    pitch_semitones: from the 10th to the 90th percentile; all four None with too little pitch. brightness_db:
    power of 1 to 5 kHz against that below, None too where the sound ends at 4 kHz, as on a telephone.
    level_spread_db: standard deviation of the level; beats_per_s: syllable-like rises of the level per second
    without the pauses; pauses, pause_share, longest_pause_s: gaps between the first and the last speech.
    """

    speech_s: float
    sound_s: float
    pitch_hz: float | None
    raised_semitones: float | None
    register: str | None
    pitch_semitones: float | None
    brightness_db: float | None
    level_spread_db: float
    beats_per_s: float
    pauses: int
    pause_share: float
    longest_pause_s: float


def is_silent(wave: np.ndarray) -> bool:
    """Whether a sound, float [samples], full scale 1, holds nothing but the last steps of 16 bits."""
    return float(np.max(np.abs(wave), initial=0.0)) < _SILENT


def measure(wave: np.ndarray, speech: np.ndarray) -> Measurement | None:
    """Measure the speech in a sound; None where there is less than 0.3 s of it.

    wave: float [samples] at 16 kHz, not silent; speech: the probability of speech in each 512 samples.

    Pitch: YIN (de Cheveigne and Kawahara 2002), kept where the window correlates with itself one period
    later.
    Brightness: the alpha ratio of Eyben et al. 2016 (GeMAPS) on windows with pitch, less the background.
    Syllable-like beats: peaks of the level that stand out by 3 dB (after de Jong and Wempe 2009).
    """
    from scipy.signal import find_peaks

    window_s = _HOP / AUDIO_HZ
    level = _decibel(_effective(wave, _PITCH_WINDOW))
    likely = np.repeat(speech, voice_activity.WINDOW // _HOP)
    likely = np.pad(likely, (0, max(0, len(level) - len(likely))), mode="edge")[: len(level)]
    spoken = likely >= _SPEECH
    if spoken.sum() * window_s < _LEAST_SPEECH_S:
        return None
    active = spoken & (level > np.percentile(level[spoken], 95) - _ACTIVE_BELOW_TOP_DB)
    sounding = np.flatnonzero(active)
    gaps = [length for length in np.diff(sounding) - 1 if length * window_s >= _PAUSE_S]
    sound_s = float(sounding[-1] - sounding[0] + 1) * window_s
    pause_s = float(sum(gaps)) * window_s

    contour = _effective(wave, _PACE_WINDOW)
    contour = _decibel(np.sqrt(np.convolve(contour**2, (0.25, 0.5, 0.25), mode="same")))
    floor = float(np.percentile(contour[spoken], 95)) - _SYLLABLE_FLOOR_DB
    # Of peaks that are exactly equal, as in a steady tone, each would stand out on its own: a slope that
    # nothing else notices ranks them.
    contour += 1e-6 * np.arange(len(contour))
    beats, _ = find_peaks(contour, height=floor, prominence=_SYLLABLE_DIP_DB)
    voice = _measure_pitched(wave, active, likely <= _NO_SPEECH)
    return Measurement(
        speech_s=float(spoken.sum()) * window_s,
        sound_s=sound_s,
        pitch_hz=voice.pitch_hz if voice else None,
        raised_semitones=voice.raised_semitones if voice else None,
        register=voice.register if voice else None,
        pitch_semitones=voice.pitch_semitones if voice else None,
        brightness_db=voice.brightness_db if voice else None,
        level_spread_db=float(np.std(level[active])),
        beats_per_s=int(spoken[beats].sum()) / (sound_s - pause_s),
        pauses=len(gaps),
        pause_share=pause_s / sound_s,
        longest_pause_s=float(max(gaps, default=0)) * window_s,
    )


@dataclass(frozen=True)
class _Pitched:
    """The part of a Measurement that rests on windows with a pitch."""

    pitch_hz: float
    raised_semitones: float
    register: str
    pitch_semitones: float
    brightness_db: float | None


def _measure_pitched(wave: np.ndarray, active: np.ndarray, background: np.ndarray) -> _Pitched | None:
    """active, background: bool [windows]. None where too little of the active windows has a pitch."""
    pitch, periodicity = _pitch(wave)
    voiced = active & (periodicity > _VOICED)
    if voiced.sum() * _HOP < _LEAST_PITCH_S * AUDIO_HZ:
        return None
    semitones = 12 * np.log2(pitch[voiced])
    low, middle, high = (float(value) for value in np.percentile(semitones, (10, 50, 90)))
    spectrum = _power_spectrum(wave, np.flatnonzero(voiced))
    if background.sum() * _HOP >= _LEAST_BACKGROUND_S * AUDIO_HZ:
        behind = _power_spectrum(wave, np.flatnonzero(background)).mean(axis=0)
        spectrum = np.maximum(spectrum - behind, 0.05 * spectrum)
    mean = spectrum.mean(axis=0)
    cut_off = _ratio_db(_band(mean, 4000, 5000), _band(mean, 2000, 4000)) < _TELEPHONE_DB
    chances = _registers(middle, None if cut_off else _tract(wave, np.flatnonzero(voiced)))
    ratio = _ratio_db(_band(spectrum, 1000, 5000), _band(spectrum, 50, 1000))
    rest = sum(chance * register.rest for chance, register in zip(chances, _REGISTERS, strict=True))
    return _Pitched(
        pitch_hz=2 ** (middle / 12),
        raised_semitones=middle - rest,
        register=_REGISTERS[int(np.argmax(chances))].name,
        pitch_semitones=high - low,
        brightness_db=None if cut_off else float(np.mean(ratio)),
    )


def _registers(semitones: float, tract: float | None) -> list[float]:
    """How likely each register is, given the median pitch and, where it was measured, the vocal tract."""
    weights = []
    for register in _REGISTERS:
        apart = (semitones - register.rest - _RAISED) / _RAISED_SPREAD
        weight = register.prior * float(np.exp(-(apart**2) / 2))
        if tract is not None:
            apart = (tract - register.tract) / register.tract_spread
            weight *= float(np.exp(-(apart**2) / 2)) / register.tract_spread
        weights.append(max(weight, 1e-12))
    return [weight / sum(weights) for weight in weights]


def _tract(wave: np.ndarray, places: np.ndarray) -> float | None:
    """The third and fourth formant relative to a man's, a median; None where too few windows have both."""
    from scipy.linalg import LinAlgError, solve_toeplitz
    from scipy.signal import resample_poly

    if len(places) > _MOST_FORMANT_WINDOWS:
        places = places[np.linspace(0, len(places) - 1, _MOST_FORMANT_WINDOWS).round().astype(int)]
    low = resample_poly(wave.astype(np.float64), _FORMANT_HZ // 1000, AUDIO_HZ // 1000)
    low = np.append(low[0], low[1:] - 0.97 * low[:-1])
    taper = np.hamming(_FORMANT_WINDOW)
    found = []
    for place in places:
        start = round(place * _HOP * _FORMANT_HZ / AUDIO_HZ) - _FORMANT_WINDOW // 2
        window = low[max(0, start) : start + _FORMANT_WINDOW]
        if len(window) < _FORMANT_WINDOW:
            continue
        window = window * taper
        correlation = np.correlate(window, window, mode="full")[_FORMANT_WINDOW - 1 :][: _FORMANT_ORDER + 1]
        if correlation[0] <= 0:
            continue
        try:
            predictor = solve_toeplitz(correlation[:-1], correlation[1:])
        except LinAlgError:
            continue
        roots = np.roots(np.append(1.0, -predictor))
        roots = roots[roots.imag > 0.01]
        height = np.angle(roots) * _FORMANT_HZ / (2 * np.pi)
        width = -np.log(np.abs(roots)) * _FORMANT_HZ / np.pi
        formants = np.sort(height[(width < _WIDEST_FORMANT_HZ) & (height > 200) & (height < 5200)])
        if len(formants) >= 4:
            found.append(formants[2:4])
    if len(found) < 4:
        return None
    return float(np.mean(np.median(found, axis=0) / np.array(_MEN_FORMANTS_HZ)))


def _power_spectrum(wave: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Power of these windows: float [windows, frequencies]."""
    padded = np.pad(wave, _PITCH_WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _PITCH_WINDOW)[::_HOP]
    taper = np.hanning(_PITCH_WINDOW)
    blocks = [places[first : first + _BLOCK] for first in range(0, len(places), _BLOCK)]
    return np.concatenate([np.abs(np.fft.rfft(windows[block] * taper)) ** 2 for block in blocks])


def _band(spectrum: np.ndarray, lowest_hz: float, highest_hz: float) -> np.ndarray:
    """Power between two frequencies: the last axis is summed up."""
    frequencies = np.fft.rfftfreq(_PITCH_WINDOW, 1 / AUDIO_HZ)
    return spectrum[..., (frequencies >= lowest_hz) & (frequencies < highest_hz)].sum(axis=-1)


def _ratio_db(power: np.ndarray, other: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-30) / np.maximum(other, 1e-30))


def _decibel(amplitude: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(amplitude, 1e-10))


def _pitch(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each window its pitch in Hz, and how well the window correlates with itself one period later."""
    pitches, correlations = [], []
    for block in _blocks(np.pad(wave, _PITCH_WINDOW // 2)):
        windows = np.lib.stride_tricks.sliding_window_view(block, _PITCH_WINDOW)[::_HOP].astype(np.float64)
        windows = windows - windows.mean(axis=1, keepdims=True)
        pitch = yin(windows, AUDIO_HZ, _LOWEST_HZ, _HIGHEST_HZ)
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


def _effective(wave: np.ndarray, window: int) -> np.ndarray:
    """The effective value around each hop: the root of the mean square of so many samples."""
    power = np.concatenate([[0.0], np.cumsum(np.pad(wave, window // 2).astype(np.float64) ** 2)])
    return np.sqrt(np.maximum(power[window:] - power[:-window], 0)[::_HOP] / window)
