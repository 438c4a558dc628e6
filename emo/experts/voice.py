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

from typing import Any, ClassVar, Literal

import numpy as np

from emo.experts import measuring, protocol
from emo.experts.media import audio_wave
from emo.experts.protocol import AUDIO, OWN_LICENCE, Card, Clip, Description
from emo.experts.voice_measurement import Measurement, is_silent, measure
from emo.media import voice_activity

VERSION = "3"
REFERENCES = "Scherer 2003; Juslin and Laukka 2003"

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
            revision=f"{VERSION}; silero-vad {version('silero-vad')}",
            licence=f"{OWN_LICENCE}; silero-vad MIT",
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
