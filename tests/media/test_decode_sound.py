"""The sound of real files: on the clock of the pictures, of any channels and form, alone or not."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from clips import (
    RATE,
    beep,
    ffmpeg,
    tone,
    with_channels,
)
from decoding import Make, assert_every_frame_is_the_one_of_its_time, decode, onset, refusal, sound_of
from emo.media.audio import mono


def test_no_sound_is_none_and_no_fault(clip: Make) -> None:
    decoded = decode(clip("silent.mp4", sounds=[]))
    assert decoded.audio is None
    assert decoded.notes == ()
    assert decode(clip("plain.mp4", after=("-movflags", "+faststart")), audio=False).audio is None


def test_of_several_sound_tracks_the_default_one_is_heard(clip: Make) -> None:
    tracks = [tone(2.0, 300), tone(2.0, 900)]
    for chosen, hertz in ((0, 300), (1, 900)):
        marks = ("-disposition:a:0", "0", "-disposition:a:1", "0", f"-disposition:a:{chosen}", "default")
        samples = sound_of(decode(clip(f"two{chosen}.mkv", sounds=tracks, after=marks)))
        spectrum = np.abs(np.fft.rfft(samples))
        assert np.argmax(spectrum) / 2.0 == pytest.approx(hertz, abs=30)


@pytest.mark.parametrize(("sound_s", "heard_s"), [(1.0, 1.0), (4.0, 4.0)])
def test_sound_shorter_or_longer_than_the_video_keeps_its_length_and_place(
    clip: Make, sound_s: float, heard_s: float
) -> None:
    decoded = decode(clip(f"sound{sound_s}.mp4", seconds=2.0, sounds=[beep(sound_s, 0.5)]))
    assert decoded.duration_s == pytest.approx(2.0, abs=0.045)
    assert sound_of(decoded).size / 16_000 == pytest.approx(heard_s, abs=0.05)
    assert onset(sound_of(decoded)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("late_s", [-0.4, 0.4])
def test_sound_that_starts_before_or_after_the_video_is_put_in_its_place(
    plain: Path, tmp_path: Path, container: str, late_s: float
) -> None:
    soundfile.write(tmp_path / "beep.wav", beep(2.0, 1.0), RATE)
    offsets = (["-itsoffset", "0"], ["-itsoffset", str(late_s)])
    if late_s < 0:
        offsets = (["-itsoffset", str(-late_s)], ["-itsoffset", "0"])
    path = tmp_path / f"shifted.{container}"
    ffmpeg(
        *offsets[0], "-i", plain, *offsets[1], "-i", tmp_path / "beep.wav",
        "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", path,
    )  # fmt: skip
    assert onset(sound_of(decode(path))) == pytest.approx(1.0 + late_s, abs=0.03)


def test_a_gap_in_the_sound_is_silence_of_its_length(clip: Make) -> None:
    gap = ("-af", "aselect='not(between(t,0.5,1.5))'", "-c:a", "pcm_s16le")
    decoded = decode(clip("gap.mkv", seconds=3.0, sounds=[tone(3.0)], sound=gap))
    samples = sound_of(decoded)
    assert samples.size / 16_000 == pytest.approx(3.0, abs=0.05)
    assert np.abs(samples[int(0.6 * 16_000) : int(1.4 * 16_000)]).max() < 0.01
    assert np.abs(samples[int(1.6 * 16_000) :]).max() > 0.3


def test_sound_is_bounded(clip: Make) -> None:
    decoded = decode(clip("sound4.0.mp4", seconds=2.0, sounds=[beep(4.0, 0.5)]), max_audio_s=1.5)
    assert sound_of(decoded).size == 24_000


def test_stereo_becomes_mono_at_the_same_loudness(clip: Make) -> None:
    samples = sound_of(decode(clip("stereo.mp4", sound=("-c:a", "aac", "-af", "pan=stereo|c0=c0|c1=c0"))))
    assert np.abs(samples[3200:-3200]).max() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sound.mp4", ("-c", "copy")),
        ("sound.m4a", ("-c", "copy")),
        ("sound.mkv", ("-c", "copy")),
        ("sound.ts", ("-c", "copy")),
        ("sound.mp3", ()),
        ("sound.wav", ()),
        ("sound.flac", ()),
        ("sound.ogg", ("-c:a", "libopus")),
        ("sound.aac", ("-c", "copy")),
    ],
)
def test_sound_alone_is_a_clip_without_frames(
    clip: Make, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    beeping = clip("beeping.mp4", sounds=[beep(2.0, 0.5)])
    ffmpeg("-i", beeping, "-vn", *options, tmp_path / name)
    renamed = (tmp_path / name).rename(tmp_path / f"{name}.mp4")
    decoded = decode(renamed)
    assert (decoded.width, decoded.height, decoded.fps) == (None, None, None)
    assert (decoded.frames, decoded.frame_times) == ((), ())
    assert decoded.duration_s == pytest.approx(2.0, abs=0.1)
    assert sound_of(decoded).size / 16_000 == pytest.approx(2.0, abs=0.1)
    assert onset(sound_of(decoded)) == pytest.approx(0.5, abs=0.06)
    assert decoded.notes == ("video: the file has no moving pictures, only sound",)


def test_a_cover_is_no_moving_picture_with_a_mark_and_no_film_without_one(
    plain: Path, tmp_path: Path
) -> None:
    ffmpeg("-i", plain, "-vn", "-c", "copy", tmp_path / "sound.mp4")
    ffmpeg("-i", plain, "-frames:v", "1", tmp_path / "cover.jpg")
    ffmpeg(
        "-i", tmp_path / "sound.mp4", "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1",
        "-c", "copy", "-disposition:v", "attached_pic", tmp_path / "album.m4a",
    )  # fmt: skip
    assert decode(tmp_path / "album.m4a").frames == ()
    for name in ("first.mkv", "first.mov"):
        ffmpeg(
            "-i", tmp_path / "cover.jpg", "-i", plain, "-map", "0", "-map", "1",
            "-c", "copy", tmp_path / name,
        )  # fmt: skip
        decoded = decode(tmp_path / name)
        assert_every_frame_is_the_one_of_its_time(decoded)
        assert len(decoded.frames) == 8
        assert decoded.duration_s == pytest.approx(2.0, abs=0.06)
        assert "cover" in decoded.notes[0]


def test_sound_alone_that_is_cut_bounded_or_broken_says_so(clip: Make, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, tone(20.0), RATE)
    bounded = decode(long, max_audio_s=5.0)
    assert sound_of(bounded).size == 5 * 16_000
    assert bounded.duration_s == pytest.approx(20.0, abs=0.1)
    assert refusal(long, audio=False).code == "no_video_stream"
    ffmpeg("-i", long, "-c:a", "aac", "-movflags", "+faststart", tmp_path / "long.m4a")
    data = (tmp_path / "long.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(data[: len(data) // 2])
    assert refusal(tmp_path / "cut.m4a").code == "truncated"
    begin = data.index(b"mdat") + 4
    noise = np.random.default_rng(1).bytes(len(data) - begin)
    (tmp_path / "noise.m4a").write_bytes(data[:begin] + noise)
    assert refusal(tmp_path / "noise.m4a").code == "no_video_stream"


LAYOUTS = [
    ("back.mov", 2, "BL+BR"),
    ("side.mov", 2, "SL+SR"),
    ("low.mov", 2, "FL+LFE"),
    ("nine.mkv", 9, None),
    ("eleven.mov", 11, None),
    ("twenty.mkv", 20, None),
    ("sixty.mov", 60, None),
    ("surround.mkv", 6, "5.1"),
]


@pytest.mark.parametrize(("name", "channels", "layout"), LAYOUTS)
def test_sound_of_any_channels_is_heard_and_costs_no_picture(
    plain: Path, tmp_path: Path, name: str, channels: int, layout: str | None
) -> None:
    path = tmp_path / name
    with_channels(plain, path, channels, layout)
    decoded = decode(path)
    assert len(decoded.frames) == 8
    samples = sound_of(decoded)
    assert samples.size / 16_000 == pytest.approx(2.0, abs=0.05)
    assert onset(samples) == pytest.approx(0.5, abs=0.02)
    assert 0.2 < np.abs(samples).max() < 0.9
    assert [note for note in decoded.notes if "channels" in note] or layout == "5.1"


def test_of_ambisonics_the_channel_that_hears_all_around_is_taken(plain: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    silence = np.zeros(2 * RATE)
    soundfile.write(sound, np.stack([beep(2.0, 0.5), *[silence + 0.3] * 3], axis=1), RATE)
    ffmpeg(
        "-i", plain, "-i", sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-af", "aformat=cl=4.0",
        "-c:a", "libopus", "-mapping_family", "2", tmp_path / "around.mkv",
    )  # fmt: skip
    decoded = decode(tmp_path / "around.mkv")
    assert len(decoded.frames) == 8
    assert onset(sound_of(decoded)) == pytest.approx(0.5, abs=0.02)
    assert "ambisonic 1" in decoded.notes[0]


@pytest.mark.parametrize("layout", ["binaural", "ambisonic 1", "TFL+TFR", "BL+BR"])
@pytest.mark.parametrize("form", ["fltp", "s16", "s32", "u8", "dbl"])
def test_any_form_of_samples_is_mixed_at_its_loudness(layout: str, form: str) -> None:
    channels = 4 if layout == "ambisonic 1" else 2
    wave = np.repeat(tone(0.1)[None], channels, axis=0)
    top = {"s16": 2**15 - 1, "s32": 2**31 - 1, "u8": 127}.get(form, 1)
    kind = {"fltp": np.float32, "dbl": np.float64, "s16": np.int16, "s32": np.int32, "u8": np.uint8}[form]
    stored = (wave * top + (128 if form == "u8" else 0)).astype(kind)
    if form != "fltp":
        stored = stored.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stored), format=form, layout=layout)
    frame.sample_rate = RATE
    mixed = mono(frame).to_ndarray()[0]
    assert mixed == pytest.approx(wave[0], abs=0.02)
