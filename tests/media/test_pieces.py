"""Parts of a file, read from it, against the same parts cut out beforehand."""

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import soundfile

from clips import ffmpeg, make_clip, number_in, shown
from emo.errors import RowError
from emo.media.decode import decode_file
from emo.media.decoded import DecodeSettings
from emo.media.recording import Recording
from emo.media.sandbox import Decoder
from emo.media.tasks import Close, Piece

SETTINGS = DecodeSettings(frames=5)
LENGTH = 16
# Starts and ends on the grid of frames (25 a second) and within groups of pictures, in their order.
PARTS = [(0.0, 2.0), (2.0, 4.2), (4.48, 5.0), (6.96, 11.2), (11.2, 12.0), (14.0, 16.0)]
KINDS = {
    "film.mkv": (("-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-bf", "3"), ("-c:a", "flac")),
    "film.mp4": (("-c:v", "libx264", "-preset", "veryfast", "-g", "250", "-bf", "2"), ("-c:a", "aac")),
    "film.ts": (("-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "2"), ("-c:a", "aac")),
    "film.webm": (("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), ("-c:a", "libopus")),
    "film.avi": (("-c:v", "mpeg4", "-g", "30", "-bf", "0"), ("-c:a", "pcm_s16le")),
}


def speechlike(seconds: float) -> np.ndarray:
    """A sound of which no stretch is like another: noise without its high parts (float, 48 kHz)."""
    noise = np.random.default_rng(7).standard_normal(round(seconds * 48_000))
    return 0.4 * np.convolve(noise, np.ones(24) / 24, "same") * 4


def shift(one: np.ndarray, other: np.ndarray) -> int:
    """By how many samples two equal sounds are best shifted."""
    least = min(len(one), len(other)) - 200
    lags = list(range(-48, 49))
    errors = [np.abs(one[200 + lag : least + lag] - other[200:least]).mean() for lag in lags]
    assert min(errors) < 0.35 * np.median(errors), "two sounds that are not the same"
    return lags[int(np.argmin(errors))]


def wave(flac: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(flac))
    assert rate == 16_000
    return samples


@pytest.fixture(scope="module")
def made(clip_folder):
    """made(name): the film of that kind, made the first time it is asked for."""

    @cache
    def get(name):
        video, sound = KINDS[name]
        folder = clip_folder / f"pieces-{name}"
        folder.mkdir()
        return make_clip(folder / name, LENGTH, video=video, sounds=[speechlike(LENGTH)], sound=sound)

    return get


@pytest.fixture(scope="module", params=KINDS)
def film(request, made):
    return made(request.param)


def cut_out(film, folder):
    """The parts as files of their own, without a loss, with all that is decoded before them thrown away."""
    targets = [folder / f"{start}-{end}.mkv" for start, end in PARTS]
    outputs = []
    for (start, end), target in zip(PARTS, targets, strict=True):
        trimmed = f"trim=start={start}:end={end},setpts=PTS-STARTPTS"
        outputs += ["-an", "-vf", trimmed, "-c:v", "ffv1", target]
    ffmpeg("-i", film, *outputs)
    return [decode_file(str(target), SETTINGS) for target in targets]


def test_a_part_is_the_same_as_one_that_was_cut_out(film, tmp_path):
    recording, whole = Recording(str(film)), wave(decode_file(str(film), SETTINGS).audio)
    for (start, end), expected in zip(PARTS, cut_out(film, tmp_path), strict=True):
        found = recording.piece(start, end, SETTINGS)
        assert found.duration_s == pytest.approx(expected.duration_s, abs=0.003)
        assert (found.width, found.height) == (expected.width, expected.height)
        assert list(map(number_in, found.frames)) == list(map(number_in, expected.frames)), (start, end)
        assert np.allclose(found.frame_times, expected.frame_times, atol=0.002)
        for one, other in zip(found.frames, expected.frames, strict=True):
            assert np.array_equal(shown(one), shown(other))
        heard, there = wave(found.audio), whole[round(start * 16_000) : round(end * 16_000)]
        assert abs(len(heard) - len(there)) <= 16
        assert abs(shift(heard, there)) <= 16, (start, end)


def test_parts_in_any_order_and_over_each_other_are_those_in_their_order(film):
    ordered, jumping = Recording(str(film)), Recording(str(film))
    parts = [(0.0, 4.0), (2.0, 6.0), (4.0, 8.0), (12.0, 15.0)]
    expected = [ordered.piece(*part, SETTINGS) for part in parts]
    for place in (3, 0, 2, 1):
        found = jumping.piece(*parts[place], SETTINGS)
        # Some decoders of sound make up the noise in it, each time another.
        assert replace(found, audio=None) == replace(expected[place], audio=None)
        assert abs(shift(wave(found.audio), wave(expected[place].audio))) <= 16


def test_what_is_on_show_when_a_part_begins_between_two_frames_is_its_first_frame(clip):
    recording = Recording(str(clip("slow.mp4", seconds=8, fps=2, sounds=[])))
    part = recording.piece(1.7, 3.2, DecodeSettings(frames=3))
    assert [number_in(frame) for frame in part.frames] == [3, 4, 5]
    assert part.frame_times == pytest.approx([0.0, 0.3, 0.8])


def test_an_open_end_is_the_end_of_the_file_and_beyond_it_is_nothing(film):
    recording = Recording(str(film))
    assert recording.piece(14.0, None, SETTINGS).duration_s == pytest.approx(2.0, abs=0.06)
    for start, end in ((15.0, 18.0), (30.0, 31.0), (30.0, None)):
        with pytest.raises(RowError) as caught:
            recording.piece(start, end, SETTINGS)
        assert caught.value.code == "out_of_range"
        assert "ends after 16" in caught.value.message or "ends after 15.9" in caught.value.message
    # A cue that is shown a little longer than the film.
    assert recording.piece(14.0, 16.2, SETTINGS).duration_s == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4"])
def test_of_a_file_that_is_broken_in_its_second_half_the_first_half_is_good(name, made, tmp_path):
    whole = tmp_path / name
    in_front = ("-movflags", "+faststart", "-strict", "experimental") if name.endswith("mp4") else ()
    ffmpeg("-i", made("film.mkv"), "-c", "copy", *in_front, whole)
    good = Recording(str(whole))
    parts = [(float(start), float(start + 2)) for start in range(0, LENGTH, 2)]
    expected = [good.piece(*part, SETTINGS) for part in parts]
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle:] = bytes(len(data) - middle)
    whole.write_bytes(data)
    outcomes = []
    with Decoder(SETTINGS) as decoder:
        for part in parts:
            try:
                outcomes.append(decoder.run(Piece(str(whole), *part)))
            except RowError as error:
                outcomes.append(error)
        decoder.run(Close())
    kept = [one for one in outcomes if not isinstance(one, RowError)]
    assert 3 <= len(kept) <= 5
    assert outcomes[:3] == expected[:3]
    assert all(isinstance(one, RowError) for one in outcomes[5:])
    assert {one.code for one in outcomes[5:]} <= {"damaged", "truncated"}


def test_of_sound_alone_a_part_is_heard(clip_folder):
    path = clip_folder / "alone.flac"
    soundfile.write(path, speechlike(6), 48_000)
    part = Recording(str(path)).piece(2.0, 3.5, SETTINGS)
    assert part.frames == ()
    assert part.duration_s == 1.5
    assert "only sound" in part.notes[0]
    whole = wave(decode_file(str(path), SETTINGS).audio)
    assert np.abs(wave(part.audio)[200:-200] - whole[32_200:55_800]).mean() < 0.02


def test_embedded_subtitles_are_those_of_which_most_lies_in_the_part(clip, tmp_path):
    cues = "1\n00:00:00,500 --> 00:00:01,500\nfirst\n\n2\n00:00:01,800 --> 00:00:03,000\nsecond\n\n"
    (tmp_path / "words.srt").write_text(cues + "3\n00:00:03,500 --> 00:00:03,900\nthird\n")
    film = clip("plain.mp4", seconds=4)
    ffmpeg("-i", film, "-i", tmp_path / "words.srt", "-c", "copy", "-c:s", "srt", tmp_path / "film.mkv")
    recording = Recording(str(tmp_path / "film.mkv"))
    said = [recording.piece(start, start + 2.0, SETTINGS).subtitles for start in (0.0, 2.0)]
    assert said == ["first", "second third"]
