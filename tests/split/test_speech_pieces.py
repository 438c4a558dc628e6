"""Pieces by speech: utterances of a synthesiser, whose borders are known."""

import itertools

import numpy as np

from emo.media import voice_activity
from emo.media.voice_activity import SpeechFinder
from emo.split import speech
from spoken import RATE, recording


def test_the_borders_of_utterances_over_noise_are_found(tmp_path):
    spoken = recording(tmp_path, 40)
    voice = SpeechFinder().of_recording(spoken.wave)
    found = speech.stretches(voice, silence_s=0.3, longest_s=15.0)
    ends = np.array([[one.start_s, one.end_s] for one in found])
    near = [
        np.abs(ends[:, side] - expected).min() <= 0.3
        for borders in spoken.borders
        for side, expected in enumerate(borders)
    ]
    assert np.mean(near) >= 0.95
    # None is invented: every piece lies over an utterance.
    for one in found:
        assert any(start < one.end_s and one.start_s < end for start, end in spoken.borders)
    assert abs(len(found) - 40) <= 2


def test_side_by_side_the_detector_hears_what_it_hears_one_after_the_other(tmp_path):
    spoken = recording(tmp_path, 16)
    finder = SpeechFinder()
    quick, slow = finder.of_recording(spoken.wave), finder.probabilities(spoken.wave)
    assert len(quick) == len(slow)
    assert np.mean((quick >= 0.5) == (slow >= 0.5)) > 0.97


def test_the_parts_of_the_detector_say_what_the_whole_says(tmp_path, monkeypatch):
    """A version of its package that is made otherwise is asked window by window: slower, and the same."""
    spoken = recording(tmp_path, 16)
    finder = SpeechFinder()
    by_parts = finder.of_recording(spoken.wave)
    monkeypatch.setattr(voice_activity, "_parts_of", lambda model: None)
    whole = SpeechFinder().of_recording(spoken.wave)
    assert finder._parts is not None
    assert np.abs(by_parts - whole).max() < 1e-4
    assert speech.stretches(by_parts, 0.3, 15.0) == speech.stretches(whole, 0.3, 15.0)


def test_noise_and_tones_and_silence_hold_no_speech():
    chance = np.random.default_rng(3)
    seconds = np.arange(30 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * seconds) for pitch in (220.0, 277.2, 329.6))
    finder = SpeechFinder()
    for wave in (chance.standard_normal(len(seconds)), tones, np.zeros(len(seconds))):
        assert speech.stretches(finder.of_recording(wave * 0.1), 0.3, 15.0) == []


def test_what_is_too_long_is_cut_at_its_quietest_place():
    voice = np.full(1000, 0.9)
    voice[430:433] = 0.4
    found = speech.stretches(voice, silence_s=0.3, longest_s=20.0)
    assert len(found) == 2
    assert found[0].end_s == found[1].start_s
    assert 430 * speech.WINDOW_S <= found[0].end_s <= 433 * speech.WINDOW_S
    # All of it is in one of the pieces, whatever the longest is.
    for longest in (15.0, 5.0, 2.0):
        parts = speech.stretches(voice, 0.3, longest)
        assert max(part.length_s for part in parts) <= longest + 1e-6
        assert (parts[0].start_s, parts[-1].end_s) == (0.0, 32.0)
        assert all(one.end_s == other.start_s for one, other in itertools.pairwise(parts))


def test_the_share_of_speech_in_a_stretch():
    voice = np.concatenate([np.zeros(100), np.ones(100)])
    assert speech.share(voice, 0.0, 100 * speech.WINDOW_S) == 0.0
    assert speech.share(voice, 50 * speech.WINDOW_S, 150 * speech.WINDOW_S) == 0.5
    assert speech.share(np.zeros(0), 0.0, 1.0) == 0.0
