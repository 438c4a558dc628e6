"""The voice expert: on tones of known pitch and pace, on the sample clips, and on what is no speech."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from emo.experts import voice, voice_measurement
from emo.extraction.rules import extract
from emo.media.voice_activity import SpeechFinder
from signal_clips import HZ, clip, flac, sample, text_of


def syllables(
    count: int, *, hz: float, amplitude: float, on_s: float = 0.14, off_s: float = 0.06
) -> np.ndarray:
    """Harmonic tones with gaps too short to be pauses: what a voice is to the measurements."""
    time = np.arange(round(on_s * HZ)) / HZ
    tone = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 6))
    envelope = np.sin(np.pi * time / on_s) ** 0.5
    one = np.concatenate([amplitude * tone / np.max(np.abs(tone)) * envelope, np.zeros(round(off_s * HZ))])
    return np.tile(one, count)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * HZ))


SPOKEN = 1.0  # what a detector of speech would say of every window


def measured_as_speech(wave: np.ndarray) -> voice_measurement.Measurement:
    """The measurement of a sound that is taken for speech from beginning to end."""
    measured = voice_measurement.measure(wave.astype(np.float32), np.full(-(-len(wave) // 512), SPOKEN))
    assert measured is not None
    return measured


def sound_of(video_id: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(sample(video_id).audio or b""), dtype="float32")[0]


def music(seconds: float) -> np.ndarray:
    """Three chords of bowed tones with a beat under them, no voice."""
    time = np.arange(round(seconds * HZ)) / HZ
    chords = ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))
    sound = np.zeros(len(time))
    for index, chord in enumerate(chords):
        now = (time % 1.5 >= 0.5 * index) & (time % 1.5 < 0.5 * (index + 1))
        tone = sum(np.sin(2 * np.pi * hz * k * time) / k for hz in chord for k in range(1, 5))
        sound += now * tone
    beat = np.random.default_rng(3).normal(size=len(time)) * np.exp(-30 * (time % 0.25))
    return 0.2 * (sound / np.max(np.abs(sound)) + 0.3 * beat)


def test_pitch_pace_and_pauses_of_a_tone_sequence_are_those_that_were_put_in() -> None:
    part = syllables(10, hz=220, amplitude=0.3)
    measured = measured_as_speech(
        np.concatenate([silence(0.5), part, silence(0.6), part, silence(1.0), part, silence(0.5)])
    )
    assert measured.pitch_hz == pytest.approx(220, rel=0.01)
    assert measured.pitch_semitones == pytest.approx(0, abs=0.3)
    assert measured.pauses == 2
    assert measured.longest_pause_s == pytest.approx(1.06, abs=0.1)
    assert measured.pause_share == pytest.approx((0.66 + 1.06) / measured.sound_s, abs=0.03)
    assert measured.beats_per_s == pytest.approx(5, rel=0.08)


@pytest.mark.parametrize("hz", [80, 120, 220, 330, 500])
def test_pitch_is_measured_over_the_range_of_voices(hz: float) -> None:
    assert measured_as_speech(syllables(12, hz=hz, amplitude=0.3)).pitch_hz == pytest.approx(hz, rel=0.02)


@pytest.mark.parametrize("gain", [0.01, 0.2, 0.5, 1.7, 30.0])
@pytest.mark.parametrize("video_id", ["drawn_angry", "drawn_sad_zh", "drawn_afraid", "sea_at_dusk"])
def test_how_loud_a_clip_is_changes_no_word_of_its_description(video_id: str, gain: float) -> None:
    wave = sound_of(video_id)
    finder = SpeechFinder()
    measured, scaled = (
        voice_measurement.measure(one, finder.probabilities(one)) for one in (wave, gain * wave)
    )
    assert measured is not None
    assert scaled is not None
    assert voice.describe_measurement(scaled) == voice.describe_measurement(measured)
    assert scaled.brightness_db == pytest.approx(measured.brightness_db, abs=0.01)


def test_a_long_sound_measured_in_blocks_is_measured_like_its_parts() -> None:
    part = np.concatenate([syllables(20, hz=180, amplitude=0.2), silence(1.0)])
    short, long = (measured_as_speech(np.tile(part, times)) for times in (2, 16))
    assert long.sound_s > 3 * voice_measurement._BLOCK * voice_measurement._HOP / HZ / 1.1
    assert long.pitch_hz == pytest.approx(short.pitch_hz, rel=0.01)
    assert long.beats_per_s == pytest.approx(short.beats_per_s, rel=0.05)
    assert long.brightness_db == pytest.approx(short.brightness_db, abs=0.1)
    assert long.pauses == 15


@pytest.mark.parametrize(
    ("video_id", "spoken"),
    [("drawn_angry", 14), ("sea_at_dusk", 17), ("drawn_sad_zh", 10), ("drawn_joyful_zh", 12)],
)
def test_the_syllables_of_the_sample_lines_are_counted(video_id: str, spoken: int) -> None:
    wave = sound_of(video_id)
    measured = voice_measurement.measure(wave, SpeechFinder().probabilities(wave))
    assert measured is not None
    sounding_s = measured.sound_s * (1 - measured.pause_share)
    assert measured.beats_per_s * sounding_s == pytest.approx(spoken, abs=2)


def a_voice(**changes: object) -> voice_measurement.Measurement:
    """An unremarkable voice, but for what is changed."""
    ordinary = voice_measurement.Measurement(
        speech_s=3.0,
        sound_s=3.2,
        pitch_hz=140.0,
        raised_semitones=2.5,
        register="low",
        pitch_semitones=6.5,
        brightness_db=-15.5,
        level_spread_db=6.7,
        beats_per_s=4.7,
        pauses=0,
        pause_share=0.0,
        longest_pause_s=0.0,
    )
    return replace(ordinary, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "level", "labels"),
    [
        ({}, "middle", []),
        ({"raised_semitones": 7.0, "brightness_db": -8.0}, "high", ["angry", "excited"]),
        ({"raised_semitones": 7.0, "pitch_semitones": 11.0}, "high", ["excited"]),
        ({"raised_semitones": 7.0, "pitch_semitones": 5.0}, "high", ["afraid", "nervous"]),
        ({"raised_semitones": -2.0}, "low", ["calm"]),
        ({"raised_semitones": -2.0, "pitch_semitones": 2.5}, "low", ["sad", "calm"]),
        ({"raised_semitones": -2.0, "brightness_db": -22.0, "beats_per_s": 3.0}, "low", ["sad", "calm"]),
        ({"brightness_db": -22.0}, "low", ["calm"]),
        ({"raised_semitones": 7.0, "brightness_db": None}, "high", ["afraid", "nervous"]),
        ({"raised_semitones": 4.0, "brightness_db": -19.0}, "middle", []),
    ],
    ids=str,
)
def test_arousal_is_read_from_pitch_and_brightness_and_states_from_what_goes_with_it(
    changes: dict[str, object], level: str, labels: list[str]
) -> None:
    measured = a_voice(**changes)
    score = voice.arousal(measured)
    assert score is not None
    assert voice.arousal_level(score) == level
    text = voice.describe_measurement(measured)
    assert f"The arousal in the voice is {'neither' if level == 'middle' else level}" in text
    assert extract(text) == labels
    assert ("cannot tell apart" in text) == (labels in (["angry", "excited"], ["sad", "calm"]))


def test_no_single_measurement_makes_the_arousal_of_a_recording_that_is_unusual_in_it() -> None:
    for extreme in (-1000.0, 1000.0):
        one = voice.arousal(a_voice(brightness_db=extreme))
        other = voice.arousal(a_voice(brightness_db=extreme, raised_semitones=-extreme))
        assert one is not None
        assert other is not None
        assert abs(one) < 1.5
        assert (other > 0) == (extreme < 0)  # pitch leads


def test_the_same_pitch_is_raised_for_a_long_vocal_tract_and_at_rest_for_a_short_one() -> None:
    pitch = 12 * np.log2(200.0)
    low, unknown, middle = (voice_measurement._registers(pitch, tract) for tract in (0.98, None, 1.15))
    assert low[0] > unknown[0] > middle[0]
    assert middle[1] > 0.9
    assert sum(low) == pytest.approx(1)


def test_a_whisper_is_heard_and_gets_no_arousal() -> None:
    measured = a_voice(pitch_hz=None, raised_semitones=None, pitch_semitones=None, brightness_db=None)
    text = voice.describe_measurement(measured)
    assert "may be a whisper" in text
    assert extract(text) == []


@pytest.mark.parametrize(
    ("wave", "words_of_text"),
    [
        (silence(2.0), "silent"),
        (np.random.default_rng(1).normal(0, 0.1, 2 * HZ), "No speech was heard"),
        (0.3 * np.sin(2 * np.pi * 220 * np.arange(2 * HZ) / HZ), "No speech was heard"),
        (0.3 * np.sin(2 * np.pi * 220 * np.arange(HZ // 20) / HZ), "No speech was heard"),
        (music(6.0), "No speech was heard"),
    ],
    ids=["silence", "noise", "a steady tone", "a twentieth of a second", "music"],
)
def test_what_is_no_speech_is_said_to_be_none_and_gets_no_emotion(
    wave: np.ndarray, words_of_text: str
) -> None:
    text = text_of("voice", clip(audio=flac(wave)))
    assert words_of_text in text
    assert extract(text) == []


def test_a_voice_over_music_is_heard_and_measured_as_the_voice_it_is() -> None:
    wave = sound_of("drawn_angry")
    under = music(len(wave) / HZ)[: len(wave)] * 0.25 * np.std(wave) / np.std(music(2.0))
    finder = SpeechFinder()
    alone, over = (voice_measurement.measure(one, finder.probabilities(one)) for one in (wave, wave + under))
    assert alone is not None
    assert over is not None
    assert over.speech_s > 0.6 * alone.speech_s
    assert over.pitch_hz == pytest.approx(alone.pitch_hz, rel=0.06)
    scores = [voice.arousal(alone), voice.arousal(over)]
    assert all(score is not None and voice.arousal_level(score) == "high" for score in scores)


def test_the_detector_of_speech_leaves_the_number_of_threads_as_it_was() -> None:
    import torch

    before = torch.get_num_threads()
    SpeechFinder().probabilities(sound_of("sea_at_dusk"))
    assert torch.get_num_threads() == before
