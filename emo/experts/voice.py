"""The voice expert: pitch, brightness, pace and pauses of speech, and the arousal that they support.

What the sound of a voice tells is mostly how aroused somebody is, hardly how pleasant it is for them
(Scherer 2003; Juslin and Laukka 2003, Table 7): a high, bright, lively and fast voice is found in anger as in
elation, a low, dull, flat and slow one in sadness as in calm. So the expert says how high the arousal is, and
names states that the sound cannot tell apart as alternatives. A baseline.

How loud a clip is says nothing here: most sound from the web was brought to one level. Nothing in this file
depends on it: a sound times any factor is described in the same words. The speaker's usual voice is not
known either. The size of the vocal tract and the pitch together tell how likely a man, a woman or a child
speaks, and pitch is judged relative to what is usual for such a speaker.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from emo.experts import measuring, protocol
from emo.experts.media import audio_wave
from emo.experts.protocol import AUDIO, Card, Clip, Description
from emo.media import voice_activity
from emo.media.wave import AUDIO_HZ

VERSION = "2"
REFERENCES = "Scherer 2003; Juslin and Laukka 2003"

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

# The arousal: each measurement relative to its middle between low and high arousal, in units of its spread,
# never counting for more than its limit, so that no single one decides on a recording that is unusual in it.
# Pitch and brightness: between the medians of calm (neutral, bored, sad) and aroused (angry, happy, fearful)
# sentences of four speakers of EMO-DB (Burkhardt et al. 2005); the other three say less and count less.
_ARGUMENTS = {
    # name: middle, spread, limit, weight
    "pitch": (2.5, 3.0, 1.5, 1.0),
    "brightness": (-15.5, 4.0, 1.5, 0.8),
    "spread": (6.7, 1.0, 1.0, 0.15),
    "range": (6.5, 3.0, 1.0, 0.1),
    "pace": (4.7, 1.0, 1.0, 0.15),
}
_MIDDLE_AROUSAL = 0.45  # up to here it is neither high nor low

_WIDE_SEMITONES, _NARROW_SEMITONES = 8.0, 4.0
_RAISED_SEMITONES, _REST_SEMITONES = 4.0, 1.0
_BRIGHT_DB, _DULL_DB = -11.0, -19.0
_FAST_PER_S, _SLOW_PER_S = 5.5, 4.0  # English and Mandarin run at 4 to 5.5 a second (Jacewicz et al. 2009)

Level = Literal["high", "middle", "low"]


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


class VoiceExpert(measuring.MeasuringExpert):
    """Measures the sound track where somebody speaks; does not know what is said."""

    Settings: ClassVar[type[protocol.Settings]] = measuring.Settings

    def __init__(self, settings: Any) -> None:
        from importlib.metadata import version

        self._finder = voice_activity.SpeechFinder()
        self.card = Card(
            name=settings.name,
            modalities=(AUDIO,),
            model="voice-measurements",
            revision=f"{VERSION}; librosa {version('librosa')}; silero-vad {version('silero-vad')}",
        )

    def describe_one(self, clip: Clip) -> Description:
        if clip.audio is None:
            return Description(
                "The clip has no sound track, so there was no voice to hear.", degraded=(AUDIO,)
            )
        wave = audio_wave(clip)
        if is_silent(wave):
            return Description("The sound track is silent: there was no voice to hear.")
        measured = measure(wave, self._finder.probabilities(wave))
        if measured is None:
            return Description(
                "No speech was heard in the sound track: it may be music, noise or a sound without words."
            )
        return Description(describe_measurement(measured))


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
    import librosa
    from scipy.signal import find_peaks

    window_s = _HOP / AUDIO_HZ
    level = _decibel(librosa.feature.rms(y=wave, frame_length=_PITCH_WINDOW, hop_length=_HOP)[0])
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

    contour = librosa.feature.rms(y=wave, frame_length=_PACE_WINDOW, hop_length=_HOP)[0]
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


def arousal(measured: Measurement) -> float | None:
    """How aroused the voice sounds: 0 is the middle, about -3 to 3; None where it has too little pitch."""
    if measured.raised_semitones is None:
        return None
    values = {
        "pitch": measured.raised_semitones,
        "brightness": measured.brightness_db,
        "spread": measured.level_spread_db,
        "range": measured.pitch_semitones,
        "pace": measured.beats_per_s,
    }
    return sum(
        weight * float(np.clip((value - middle) / spread, -limit, limit))
        for name, (middle, spread, limit, weight) in _ARGUMENTS.items()
        if (value := values[name]) is not None
    )


def arousal_level(score: float) -> Level:
    """What a score of `arousal` is called."""
    return "middle" if abs(score) <= _MIDDLE_AROUSAL else "high" if score > 0 else "low"


def describe_measurement(measured: Measurement) -> str:
    """The measurement in words, the arousal, and the states that it fits."""
    heard = f"Speech was heard for {measured.speech_s:.1f} s"
    score = arousal(measured)
    if score is None:
        return f"{heard}, but with hardly any pitch: it may be a whisper. So its arousal was not judged."
    assert measured.pitch_hz is not None
    assert measured.raised_semitones is not None
    assert measured.pitch_semitones is not None
    level = arousal_level(score)
    called = "neither high nor low" if level == "middle" else level
    return (
        f"{heard}. Its pitch is {_pitch_word(measured.raised_semitones)} ({measured.pitch_hz:.0f} Hz, "
        f"{measured.raised_semitones:+.0f} semitones from rest for a speaker of the {measured.register} "
        f"register) and moves over {_range_word(measured.pitch_semitones)} range "
        f"({measured.pitch_semitones:.0f} semitones). {_timbre(measured.brightness_db)} "
        f"The pace is {_pace_word(measured.beats_per_s)} ({measured.beats_per_s:.1f} syllables per second), "
        f"{_pause_words(measured)}. The arousal in the voice is {called} ({score:+.1f}). "
        f"{_reading(measured, level)}"
    )


def _pitch_word(raised_semitones: float) -> str:
    raised, rest = raised_semitones >= _RAISED_SEMITONES, raised_semitones <= _REST_SEMITONES
    return "raised" if raised else "at rest or below" if rest else "slightly raised"


def _range_word(semitones: float) -> str:
    wide, narrow = semitones >= _WIDE_SEMITONES, semitones <= _NARROW_SEMITONES
    return "a wide" if wide else "a narrow" if narrow else "a medium"


def _timbre(brightness_db: float | None) -> str:
    if brightness_db is None:
        return "How bright it sounds was not judged: its high tones were cut off."
    bright, dull = brightness_db >= _BRIGHT_DB, brightness_db <= _DULL_DB
    word = "bright" if bright else "dull" if dull else "of medium brightness"
    return f"It sounds {word} ({brightness_db:.0f} dB)."


def _pace_word(beats_per_s: float) -> str:
    return "fast" if beats_per_s >= _FAST_PER_S else "slow" if beats_per_s <= _SLOW_PER_S else "medium"


def _pause_words(measured: Measurement) -> str:
    if not measured.pauses:
        return "without a pause"
    amount = "1 pause" if measured.pauses == 1 else f"{measured.pauses} pauses"
    longest = f"the longest {measured.longest_pause_s:.1f} s"
    return f"with {amount} ({measured.pause_share:.0%} of the time, {longest})"


def _reading(measured: Measurement, level: Level) -> str:
    """The sentence about the speaker's state.

    What divides the states of one arousal follows Juslin and Laukka 2003, Table 7: anger is the brightest,
    joy moves over a wide range, fear is high without either; sadness is flat, or slow and dull.
    """
    assert measured.pitch_semitones is not None
    assert measured.raised_semitones is not None
    bright = measured.brightness_db is not None and measured.brightness_db >= _BRIGHT_DB
    dull = measured.brightness_db is not None and measured.brightness_db <= _DULL_DB
    flat = measured.pitch_semitones <= _NARROW_SEMITONES
    state, apart = None, False
    if level == "high" and bright:
        state, apart = "an angry or excited state", True
    elif level == "high" and measured.pitch_semitones >= _WIDE_SEMITONES:
        state = "an excited state"
    elif level == "high" and measured.raised_semitones >= _RAISED_SEMITONES:
        state = "an afraid or nervous state"
    elif level == "low" and (flat or (dull and measured.beats_per_s <= _SLOW_PER_S)):
        state, apart = "a sad or calm state", True
    elif level == "low":
        state = "a calm state"
    if state is None:
        return "The voice alone shows no clear emotion."
    closing = ", which the sound alone cannot tell apart" if apart else ""
    return f"Such a voice fits {state}{closing} ({REFERENCES})."
