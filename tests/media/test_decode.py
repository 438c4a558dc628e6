"""Decoding of real files: the right frames at their true times, the sound on their clock, faults by name."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

import emo.media.decode
from clips import (
    CORNERS,
    RATE,
    beep,
    corners_in,
    ffmpeg,
    make_clip,
    number_in,
    remuxed,
    shown,
    tone,
    turned,
    with_channels,
    with_matrix,
)
from emo.errors import RowError
from emo.media.audio import mono
from emo.media.decode import decode_file
from emo.media.decoded import ERRORS, DecodedClip, DecodeSettings

Make = Callable[..., Path]
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
OPEN_GOP = "open-gop=1:keyint=26:scenecut=0:b-adapt=0:bframes=3"
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25")
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-g", "25")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "4", "-g", "25")
MP3 = ("-c:a", "libmp3lame")
OPUS = ("-c:a", "libopus")


def decode(path: Path, **settings: object) -> DecodedClip:
    return decode_file(str(path), DecodeSettings(**settings))  # type: ignore[arg-type]


def refusal(path: Path, **settings: object) -> RowError:
    with pytest.raises(RowError) as caught:
        decode(path, **settings)
    assert caught.value.code in ERRORS
    return caught.value


def sound_of(clip: DecodedClip) -> np.ndarray:
    assert clip.audio is not None
    samples, rate = soundfile.read(io.BytesIO(clip.audio))
    assert rate == 16_000
    assert samples.ndim == 1
    return samples


def onset(samples: np.ndarray) -> float:
    """Second at which it becomes loud."""
    return float(np.argmax(np.abs(samples) > 0.1)) / 16_000


def assert_every_frame_is_the_one_of_its_time(clip: DecodedClip, within_frames: int = 0) -> None:
    """For clips of 25 frames per second."""
    numbers = [number_in(jpeg) for jpeg in clip.frames]
    assert numbers == pytest.approx([round(t * 25) for t in clip.frame_times], abs=within_frames)


@pytest.mark.parametrize(
    ("name", "options", "decoder"),
    [
        ("h264.mp4", {"video": X264}, "decord"),
        ("h264.mov", {"video": X264}, "decord"),
        ("h264.mkv", {"video": X264}, "decord"),
        ("h264.avi", {"video": X264, "sound": MP3}, "pyav"),
        ("h264.ts", {"video": X264}, "pyav"),
        ("h264.flv", {"video": X264}, "pyav"),
        ("open-gop.mp4", {"video": ("-c:v", "libx264", "-x264-params", OPEN_GOP)}, "pyav"),
        ("hevc.mp4", {"video": (*X265, "log-level=none:keyint=25:open-gop=0")}, "decord"),
        ("hevc.mkv", {"video": (*X265, "log-level=none:keyint=25", "-preset", "fast")}, "pyav"),
        ("hevc10.mov", {"video": (*X265, "log-level=none"), "pixels": "yuv420p10le"}, "pyav"),
        ("h264-10.mp4", {"video": X264, "pixels": "yuv420p10le"}, "pyav"),
        ("h264-444.mp4", {"video": X264, "pixels": "yuv444p"}, "pyav"),
        ("vp9.webm", {"video": VP9, "sound": OPUS}, "decord"),
        ("vp9.mkv", {"video": VP9, "sound": OPUS}, "decord"),
        ("av1.webm", {"video": AV1, "sound": OPUS}, "pyav"),
        ("av1.mp4", {"video": AV1}, "pyav"),
        ("mpeg4.mp4", {"video": MPEG4}, "decord"),
        ("mpeg4.avi", {"video": MPEG4, "sound": MP3}, "pyav"),
        ("mpeg4-b.avi", {"video": (*MPEG4, "-bf", "2"), "sound": MP3}, "pyav"),
        ("mpeg4-b.mp4", {"video": (*MPEG4, "-bf", "2")}, "pyav"),
    ],
)
@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_each_format_gives_the_frames_that_belong_to_their_times(
    clip: Make, name: str, options: dict[str, object], decoder: str, reader: str
) -> None:
    decoded = decode(clip(name, seconds=3.0, **options), reader=reader)
    # ffmpeg's writer of AVI leaves out the second place, so that all frames but the first come one later.
    assert_every_frame_is_the_one_of_its_time(decoded, within_frames=name == "mpeg4.avi")
    assert decoded.frame_times == pytest.approx([3 * (i + 0.5) / 8 for i in range(8)], abs=0.045)
    assert decoded.decoder == (decoder if reader == "decord" else "pyav")
    assert (decoded.width, decoded.height) == (320, 240)
    assert decoded.duration_s == pytest.approx(3.0, abs=0.045)
    assert decoded.fps == pytest.approx(25.0, rel=0.02)
    assert sound_of(decoded).size == pytest.approx(3 * 16_000, abs=1600)
    assert decoded.notes == ()


@pytest.mark.parametrize("matrix", ["bt709", "bt470bg"])
@pytest.mark.parametrize("value_range", ["tv", "pc"])
@pytest.mark.parametrize("container", ["mp4", "ts"])
@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_colours_are_right_for_every_matrix_and_range_and_reader(
    clip: Make, matrix: str, value_range: str, container: str, reader: str
) -> None:
    tags = (
        "-colorspace",
        matrix,
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-color_range",
        value_range,
    )
    convert = ("-vf", f"scale=out_color_matrix={matrix}:out_range={value_range}", *tags)
    path = clip(f"colours.{container}", seconds=0.4, after=convert, video=(*X264, "-crf", "10"))
    decoded = decode(path, frames=1, reader=reader)
    assert decoded.decoder == (reader if container == "mp4" else "pyav")
    for corner, colour in corners_in(decoded.frames[0]).items():
        assert colour == pytest.approx(CORNERS[corner], abs=7), corner


@pytest.mark.parametrize(
    ("degrees", "upright"),
    [
        (90, ["bottom_left", "top_left", "bottom_right", "top_right"]),
        (180, ["bottom_right", "bottom_left", "top_right", "top_left"]),
        (270, ["top_right", "bottom_right", "top_left", "bottom_left"]),
    ],
)
def test_a_display_matrix_turns_the_picture(
    plain: Path, tmp_path: Path, degrees: int, upright: list[str]
) -> None:
    decoded = decode(turned(plain, tmp_path / "turned.mp4", degrees), frames=3)
    found = corners_in(decoded.frames[1])
    for corner, source in zip(CORNERS, upright, strict=True):
        assert found[corner] == pytest.approx(CORNERS[source], abs=12), corner
    size = (320, 240) if degrees == 180 else (240, 320)
    assert (decoded.width, decoded.height) == size
    assert shown(decoded.frames[0]).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_every_turn_and_mirror_is_shown_as_ffmpeg_shows_it(
    plain: Path, tmp_path: Path, container: str, degrees: int, mirrored: bool
) -> None:
    path = turned(plain, tmp_path / "turned.mp4", degrees, mirrored)
    ffmpeg("-i", path, "-frames:v", "1", "-q:v", "2", tmp_path / "shown.jpg")
    if container == "mkv":
        path = remuxed(path, tmp_path / "turned.mkv")
    decoded = decode(path, frames=1, reader="decord")
    expected = corners_in((tmp_path / "shown.jpg").read_bytes())
    found = corners_in(decoded.frames[0])
    for corner in CORNERS:
        assert found[corner] == pytest.approx(expected[corner], abs=12), corner
    assert shown(decoded.frames[0]).shape == shown((tmp_path / "shown.jpg").read_bytes()).shape
    assert decoded.decoder == ("pyav" if degrees or mirrored else "decord")


@pytest.mark.parametrize("matrix", [(1, 0.1, -0.1, 1), (2, 0, 0, 2), (0, 0, 0, 0), (-1, 0.1, 0.1, 1)])
def test_a_slanted_scaled_or_empty_matrix_is_the_nearest_quarter_turn(
    plain: Path, tmp_path: Path, matrix: tuple[float, float, float, float]
) -> None:
    decoded = decode(with_matrix(plain, tmp_path / "odd.mp4", matrix), frames=1)
    found = corners_in(decoded.frames[0])
    expected = list(CORNERS.values())
    if matrix[0] < 0:
        expected = [expected[1], expected[0], expected[3], expected[2]]
    for corner, colour in zip(CORNERS, expected, strict=True):
        assert found[corner] == pytest.approx(colour, abs=12), corner


def test_frames_of_variable_rate_come_with_their_true_times(clip: Make) -> None:
    # Frames 0 to 9 of each second stay, so that frame 9 is on show for 0.64 s.
    keep = ("-vf", "select='lt(mod(n,25),10)'", "-fps_mode", "vfr")
    for name in ("variable.mp4", "variable.mkv"):
        decoded = decode(clip(name, seconds=4.0, after=keep), frames=16)
        assert_every_frame_is_the_one_of_its_time(decoded)
        moments = [decoded.duration_s * (i + 0.5) / 16 for i in range(16)]
        on_show = [25 * int(moment) + min(9, int(moment % 1 * 25)) for moment in moments]
        expected = sorted(set(on_show))
        assert [number_in(jpeg) for jpeg in decoded.frames] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("name", "video", "pixels"),
    [("odd.mp4", X264, "yuv444p"), ("odd.webm", VP9, "yuv420p"), ("odd.avi", MPEG4, "yuv420p")],
)
def test_odd_sizes_are_kept_as_they_are(clip: Make, name: str, video: tuple[str, ...], pixels: str) -> None:
    decoded = decode(clip(name, size=(321, 241), video=video, pixels=pixels, sounds=[]), frames=4)
    assert (decoded.width, decoded.height) == (321, 241)
    assert shown(decoded.frames[0]).shape == (241, 321, 3)
    assert_every_frame_is_the_one_of_its_time(decoded)


def test_the_longest_side_is_bounded_and_a_small_picture_is_not_enlarged(clip: Make) -> None:
    wide = clip("wide.mp4", size=(640, 360), seconds=0.4)
    assert shown(decode(wide, longest_side=448).frames[0]).shape == (252, 448, 3)
    assert shown(decode(wide, longest_side=64).frames[0]).shape == (36, 64, 3)
    assert shown(decode(wide, longest_side=1000).frames[0]).shape == (360, 640, 3)
    assert (decode(wide, longest_side=64).width, decode(wide, longest_side=64).height) == (640, 360)


@pytest.mark.parametrize("name", ["anamorphic.mp4", "anamorphic.ts"])
def test_pixels_that_are_not_square_are_made_so(clip: Make, name: str) -> None:
    decoded = decode(clip(name, seconds=0.4, after=("-vf", "setsar=3/2")))
    assert (decoded.width, decoded.height) == (480, 240)
    assert shown(decoded.frames[0]).shape == (224, 448, 3)


def test_a_clip_with_fewer_frames_than_asked_for_gives_each_once(clip: Make) -> None:
    decoded = decode(clip("short.mp4", seconds=0.2, sounds=[]), frames=16)
    assert [number_in(jpeg) for jpeg in decoded.frames] == [0, 1, 2, 3, 4]
    single = decode(clip("single.mp4", seconds=0.04, sounds=[]), frames=16)
    assert single.frame_times == (0.0,)


def test_an_edit_list_cuts_the_frames_before_its_start(plain: Path, tmp_path: Path) -> None:
    ffmpeg("-ss", "0.6", "-i", plain, "-c", "copy", tmp_path / "cut.mp4")
    decoded = decode(tmp_path / "cut.mp4")
    assert [number_in(jpeg) for jpeg in decoded.frames] == [15 + round(t * 25) for t in decoded.frame_times]
    assert decoded.duration_s == pytest.approx(1.4, abs=0.045)


def test_quality_of_the_jpegs_follows_the_settings(plain: Path) -> None:
    assert len(decode(plain, jpeg_quality=30).frames[0]) < len(decode(plain, jpeg_quality=98).frames[0])


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
    ("name", "codec"),
    [("said.mp4", "mov_text"), ("said.mkv", "srt"), ("styled.mkv", "ass"), ("said.webm", "webvtt")],
)
def test_an_embedded_subtitle_track_is_read(
    plain: Path, clip: Make, tmp_path: Path, name: str, codec: str
) -> None:
    lines = (
        "1\n00:00:00,100 --> 00:00:00,900\n<i>I am</i> fine.\n\n2\n00:00:01,000 --> 00:00:01,900\n真的吗？\n"
    )
    (tmp_path / "said.srt").write_text(lines, encoding="utf-8")
    source = clip("vp9.webm", video=VP9, sound=OPUS) if name.endswith("webm") else plain
    ffmpeg(
        "-i", source, "-i", tmp_path / "said.srt", "-map", "0", "-map", "1", "-c", "copy",
        "-c:s", codec, "-metadata:s:s:0", "language=eng", tmp_path / name,
    )  # fmt: skip
    decoded = decode(tmp_path / name)
    assert decoded.subtitles == "I am fine. 真的吗？"
    assert decoded.subtitles_language == "en"
    assert decode(plain).subtitles is None


def test_an_embedded_document_of_ttml_is_read_and_pictures_of_words_are_named(
    plain: Path, tmp_path: Path
) -> None:
    lines = (
        "1\n00:00:00,100 --> 00:00:00,900\n<i>I am</i> fine.\n\n2\n00:00:01,000 --> 00:00:01,900\n真的吗？\n"
    )
    (tmp_path / "said.srt").write_text(lines, encoding="utf-8")
    ffmpeg(
        "-i", plain, "-i", tmp_path / "said.srt", "-map", "0", "-map", "1", "-c", "copy", "-c:s", "ttml",
        "-metadata:s:s:0", "language=eng", tmp_path / "said.mp4",
    )  # fmt: skip
    decoded = decode(tmp_path / "said.mp4")
    assert (decoded.subtitles, decoded.subtitles_language, decoded.notes) == ("I am fine. 真的吗？", "en", ())


def test_drawings_in_an_embedded_track_are_no_words(plain: Path, tmp_path: Path) -> None:
    events = (
        "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n"
        "[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.10,0:00:00.50,Default,,0,0,0,,{\\i1}Up{\\i0} here,\\hnow\\Nthere\n"
        "Dialogue: 0,0:00:00.60,0:00:00.90,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}\n"
    )
    (tmp_path / "said.ass").write_text(events)
    ffmpeg("-i", plain, "-i", tmp_path / "said.ass", "-c", "copy", "-c:s", "ass", tmp_path / "said.mkv")
    assert decode(tmp_path / "said.mkv").subtitles == "Up here, now there"


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
def test_an_hour_is_sampled_by_seeking_and_its_sound_is_bounded(
    clip: Make, tmp_path: Path, container: str
) -> None:
    minute = clip(
        f"minute.{container}", seconds=60.0, fps=5, size=(96, 64), sounds=[tone(60.0)],
        video=(*MPEG4, "-bf", "2") if container == "avi" else X264,
        sound=MP3 if container == "avi" else ("-c:a", "aac"),
    )  # fmt: skip
    hour = tmp_path / f"hour.{container}"
    ffmpeg("-stream_loop", "59", "-i", minute, "-c", "copy", hour)
    begin = time.monotonic()
    decoded = decode(hour, max_audio_s=30.0)
    assert time.monotonic() - begin < 5
    assert decoded.duration_s == pytest.approx(3600, abs=10)
    assert decoded.frame_times == pytest.approx([3600 * (i + 0.5) / 8 for i in range(8)], abs=8)
    assert sound_of(decoded).size == 30 * 16_000
    # Each minute shows 0 to 299 again; the loops drift by up to a frame each.
    for seconds, jpeg in zip(decoded.frame_times, decoded.frames, strict=True):
        period = decoded.duration_s / 60
        assert number_in(jpeg) / 5 == pytest.approx(seconds % period, abs=0.7)


def test_a_scratch_in_the_middle_costs_no_other_frame_with_either_reader(clip: Make, tmp_path: Path) -> None:
    data = bytearray(clip("mute.mp4", after=("-movflags", "+faststart"), sounds=[]).read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "scratched.mp4").write_bytes(data)
    for reader in ("pyav", "decord"):
        decoded = decode(tmp_path / "scratched.mp4", reader=reader)
        assert decoded.decoder == "pyav"
        assert_every_frame_is_the_one_of_its_time(decoded)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert refusal(tmp_path / "empty.mp4").code == "empty"


@pytest.mark.parametrize(
    "content",
    [
        b"I am no video.\n" * 200,
        b"1\n00:00:01,000 --> 00:00:02,000\nA subtitle.\n\n" * 20,
        bytes(10_000),
        np.random.default_rng(0).bytes(100_000),
        b"ffconcat version 1.0\nfile plain.mp4\n",
    ],
    ids=["text", "subtitle", "zeros", "noise", "script"],
)
def test_what_is_no_video_is_not_a_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "renamed.mp4").write_bytes(content)
    assert refusal(tmp_path / "renamed.mp4").code == "not_a_video"


def test_a_playlist_does_not_make_another_file_be_read(clip: Make, tmp_path: Path) -> None:
    secret = clip("h264.ts", seconds=3.0, video=X264)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.mp4").write_text(playlist)
    assert refusal(tmp_path / "list.mp4").code == "not_a_video"


def test_an_image_is_not_a_video(plain: Path, tmp_path: Path) -> None:
    for name in ("image.jpg", "image.png"):
        ffmpeg("-i", plain, "-frames:v", "1", tmp_path / name)
        (tmp_path / name).rename(tmp_path / f"{name}.mp4")
        assert refusal(tmp_path / f"{name}.mp4").code == "not_a_video"


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


def joined(folder: Path, parts: list[Path]) -> Path:
    """Streams one after the other in one file, as `cat` leaves them."""
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def stream(clip: Make, folder: Path, begins_s: float, **options: object) -> Path:
    """Two seconds of MPEG-TS whose clock begins at a second, with a beep after half a second of it."""
    source = clip("beeping.ts", seconds=2.0, sounds=[beep(2.0, 0.5)], **options)
    path = folder / f"from{begins_s}.ts"
    ffmpeg("-i", source, "-map", "0", "-c", "copy", "-output_ts_offset", str(begins_s), path)
    return path


@pytest.mark.parametrize(
    "begins", [[0, 16], [0, 200], [0, 2000], [500, 0], [0, 0], [60, 50, 3000], [0, 95440]]
)
def test_a_clock_that_jumps_loses_no_frame_and_invents_no_silence(
    clip: Make, tmp_path: Path, begins: list[float]
) -> None:
    parts = [stream(clip, tmp_path, begin) for begin in begins]
    decoded = decode(joined(tmp_path, parts), frames=8 * len(parts))
    length = 2.0 * len(parts)
    assert decoded.duration_s == pytest.approx(length, abs=0.15 * len(parts))
    assert len(decoded.frames) == 8 * len(parts)
    # Each part shows 0 to 49 again; at the joints a frame of sound or two stands without a picture.
    for seconds, jpeg in zip(decoded.frame_times, decoded.frames, strict=True):
        part = min(int(seconds / decoded.duration_s * len(parts)), len(parts) - 1)
        assert number_in(jpeg) / 25 == pytest.approx(
            seconds - part * decoded.duration_s / len(parts), abs=0.16
        )
    samples = sound_of(decoded)
    assert samples.size / 16_000 == pytest.approx(length, abs=0.2 * len(parts))
    loud = np.abs(samples) > 0.1
    for part in range(len(parts)):
        begin = part * decoded.duration_s / len(parts)
        piece = loud[int(begin * 16_000) : int((begin + 1.5) * 16_000)]
        first = next(t for t, jpeg in zip(decoded.frame_times, decoded.frames, strict=True) if t >= begin)
        assert first
        assert np.argmax(piece) / 16_000 == pytest.approx(0.5, abs=0.12)
    assert [note for note in decoded.notes if "clock" in note] == [decoded.notes[0]]
    assert len(decoded.notes) == 1


@pytest.mark.parametrize("jump_s", [200, 2000])
def test_a_jump_of_the_clock_in_other_containers_is_one_too(
    clip: Make, tmp_path: Path, jump_s: float
) -> None:
    both = joined(tmp_path, [stream(clip, tmp_path, 0), stream(clip, tmp_path, jump_s)])
    for name in ("jump.mkv", "jump.mp4", "jump.flv"):
        ffmpeg("-i", both, "-c", "copy", "-copyts", *(("-bsf:a", "aac_adtstoasc")), tmp_path / name)
        decoded = decode(tmp_path / name)
        assert decoded.duration_s == pytest.approx(4.0, abs=0.3), name
        assert len(decoded.frames) == 8
        assert sound_of(decoded).size / 16_000 == pytest.approx(4.0, abs=0.4)
        assert "clock" in decoded.notes[0]


@pytest.mark.parametrize("name", ["joined.ts", "jump.mkv", "jump.mp4", "jump.flv"])
def test_the_clock_of_a_large_file_may_jump_too(
    clip: Make, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emo.media.decode, "_WHOLE_BYTES", 1000)
    both = joined(tmp_path, [stream(clip, tmp_path, 0), stream(clip, tmp_path, 200)])
    if name != "joined.ts":
        ffmpeg("-i", both, "-c", "copy", "-copyts", "-bsf:a", "aac_adtstoasc", tmp_path / name)
    decoded = decode(tmp_path / name)
    assert decoded.duration_s == pytest.approx(4.0, abs=0.3)
    assert len({number_in(jpeg) for jpeg in decoded.frames[:4]}) == 4
    assert len({number_in(jpeg) for jpeg in decoded.frames[4:]}) == 4
    assert sound_of(decoded).size / 16_000 == pytest.approx(4.0, abs=0.4)
    assert "clock" in decoded.notes[0]


def test_a_large_stream_without_an_index_is_as_long_as_it_says(
    clip: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emo.media.decode, "_WHOLE_BYTES", 1000)
    decoded = decode(clip("h264.flv", seconds=3.0, video=X264))
    assert decoded.duration_s == pytest.approx(3.0, abs=0.1)
    assert len(decoded.frames) == 8


def test_a_large_file_that_is_not_read_through_says_so(
    clip: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emo.media.decode, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(emo.media.decode, "_READ_THROUGH_BYTES", 1000)
    both = joined(tmp_path, [stream(clip, tmp_path, 0), stream(clip, tmp_path, 200)])
    decoded = decode(both)
    assert decoded.duration_s == pytest.approx(202.0, abs=0.3)
    assert "the file was not read through" in decoded.notes[-1]


@pytest.mark.parametrize("name", ["still.mkv", "still.mp4"])
def test_a_still_picture_in_a_large_file_keeps_its_time(
    clip: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emo.media.decode, "_WHOLE_BYTES", 1000)
    keep = ("-vf", "select='lt(t,1)+gt(t,28)'", "-fps_mode", "vfr")
    video = (*X264, "-tune", "zerolatency")
    decoded = decode(clip(name, seconds=29.0, fps=5, sounds=[tone(29.0)], video=video, after=keep))
    assert decoded.duration_s == pytest.approx(29.0, abs=0.5)
    assert decoded.notes == ()


def test_a_clock_that_goes_round_is_no_jump(clip: Make, tmp_path: Path) -> None:
    # 33 bits of a 90 kHz clock are 95,443.7 s.
    decoded = decode(stream(clip, tmp_path, 95_442.5))
    assert decoded.duration_s == pytest.approx(2.0, abs=0.05)
    assert_every_frame_is_the_one_of_its_time(decoded)
    assert decoded.notes == ()


@pytest.mark.parametrize("name", ["still.mp4", "still.mkv", "still.ts"])
def test_a_still_picture_while_sound_goes_on_is_no_jump(clip: Make, name: str) -> None:
    keep = ("-vf", "select='lt(t,1)+gt(t,24)'", "-fps_mode", "vfr")
    # An encoder that looks ahead would begin a stream with ten seconds of sound.
    video = (*X264, "-tune", "zerolatency")
    decoded = decode(clip(name, seconds=25.0, fps=5, sounds=[tone(25.0)], video=video, after=keep))
    assert decoded.duration_s == pytest.approx(25.0, abs=0.5)
    assert sound_of(decoded).size / 16_000 == pytest.approx(25.0, abs=0.5)
    assert decoded.notes == ()


@pytest.mark.parametrize("name", ["still.mp4", "still.mkv"])
def test_a_still_picture_without_sound_is_no_jump_but_in_a_broadcast_stream(
    clip: Make, tmp_path: Path, name: str
) -> None:
    keep = ("-vf", "select='lt(t,1)+gt(t,24)'", "-fps_mode", "vfr")
    decoded = decode(clip(name, seconds=25.0, fps=5, sounds=[], after=keep))
    assert decoded.duration_s == pytest.approx(25.0, abs=1.1)
    assert decoded.notes == ()
    mute = clip("mute.ts", seconds=2.0, sounds=[])
    later = tmp_path / "later.ts"
    ffmpeg("-i", mute, "-c", "copy", "-output_ts_offset", "100", later)
    jumping = decode(joined(tmp_path, [mute, later]))
    assert jumping.duration_s == pytest.approx(4.0, abs=0.1)
    assert "clock" in jumping.notes[0]


def test_a_picture_that_changes_its_size_keeps_its_shapes(clip: Make, tmp_path: Path) -> None:
    wide = clip("wide.ts", size=(320, 240), sounds=[])
    tall = clip("tall.ts", size=(240, 320), sounds=[])
    later = tmp_path / "later.ts"
    ffmpeg("-i", tall, "-c", "copy", "-output_ts_offset", "2", later)
    decoded = decode(joined(tmp_path, [wide, later]))
    shapes = {shown(jpeg).shape for jpeg in decoded.frames}
    assert shapes == {(240, 320, 3), (320, 240, 3)}
    assert (decoded.width, decoded.height) == (320, 240)
    assert any("changes its size (240x320, 320x240)" in note for note in decoded.notes)


@pytest.mark.parametrize("name", ["nonsense.mp4", "nonsense.mkv"])
@pytest.mark.parametrize("aspect", ["1/200", "40/1"])
def test_a_nonsense_pixel_aspect_is_ignored_and_told(clip: Make, name: str, aspect: str) -> None:
    decoded = decode(clip(name, seconds=0.4, after=("-vf", f"setsar={aspect}:max=10000")))
    assert (decoded.width, decoded.height) == (320, 240)
    assert any("pixel aspect" in note for note in decoded.notes)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("front.mp4", {"after": ("-movflags", "+faststart")}),
        ("cut.mkv", {}),
        ("cut.webm", {"video": VP9, "sound": OPUS}),
        ("cut.avi", {"video": MPEG4, "sound": MP3}),
    ],
)
def test_a_file_that_was_cut_is_truncated_unless_next_to_nothing_is_missing(
    clip: Make, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    data = clip(name, seconds=4.0, **options).read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        error = refusal(tmp_path / name)
        assert error.code == "truncated", share
    (tmp_path / name).write_bytes(data[:-2000])
    decoded = decode(tmp_path / name)
    assert decoded.duration_s == pytest.approx(4.0, rel=0.05)
    assert_every_frame_is_the_one_of_its_time(decoded, within_frames=name == "cut.avi")


def test_a_missing_index_is_truncated(clip: Make, tmp_path: Path) -> None:
    data = clip("behind.mp4").read_bytes()
    (tmp_path / "behind.mp4").write_bytes(data[: data.rindex(b"moov") - 100])
    error = refusal(tmp_path / "behind.mp4")
    assert error.code == "truncated"
    assert "moov" in error.message


def test_frames_whose_times_go_back_in_a_broken_file_are_not_shown_again(clip: Make, tmp_path: Path) -> None:
    whole = clip("order.mkv", seconds=1.0, fps=10, video=("-c:v", "mjpeg"), sounds=[])
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    # The ninth picture says that it is of the time of the fifth, and the last one is broken.
    at = data.index(packets[8])
    moment = int.from_bytes(data[at - 3 : at - 1], "big", signed=True) - 400
    data[at - 3 : at - 1] = moment.to_bytes(2, "big", signed=True)
    at = data.index(packets[9])
    data[at : at + len(packets[9])] = bytes(len(packets[9]))
    (tmp_path / "back.mkv").write_bytes(data)
    found = decode(tmp_path / "back.mkv", frames=5)
    assert list(found.frame_times) == sorted(set(found.frame_times))
    assert found.frame_times[-1] == pytest.approx(0.7)
    assert number_in(found.frames[-1]) == 7


def test_pictures_that_cannot_be_decoded_are_damaged(plain: Path, tmp_path: Path) -> None:
    data = plain.read_bytes()
    start = data.index(b"mdat") + 4
    noise = np.random.default_rng(1).bytes(len(data) - start)
    (tmp_path / "noise.mp4").write_bytes(data[:start] + noise)
    assert refusal(tmp_path / "noise.mp4").code == "damaged"


def test_a_lost_part_is_bridged_and_noted(clip: Make, tmp_path: Path) -> None:
    data = bytearray(
        clip("front.mp4", seconds=4.0, after=("-movflags", "+faststart"), sounds=[]).read_bytes()
    )
    start = data.index(b"mdat") + 4
    third = (len(data) - start) // 3
    data[start + third : start + 2 * third] = bytes(third)
    (tmp_path / "hole.mp4").write_bytes(data)
    decoded = decode(tmp_path / "hole.mp4")
    assert_every_frame_is_the_one_of_its_time(decoded)
    assert any("frames could not be decoded" in note for note in decoded.notes)
    assert 4 <= len(decoded.frames) < 8


def test_broken_sound_beside_a_good_picture_is_noted(clip: Make, tmp_path: Path) -> None:
    data = clip("sound.mkv", sound=("-c:a", "libvorbis")).read_bytes()
    # The tables of the codec, without which nothing of the track can be decoded.
    broken = data.replace(b"\x05vorbis", b"\x05broken")
    assert broken != data
    (tmp_path / "mute.mkv").write_bytes(broken)
    decoded = decode(tmp_path / "mute.mkv")
    assert len(decoded.frames) == 8
    assert decoded.audio is None
    assert any(note.startswith("audio:") for note in decoded.notes)


def test_a_folder_and_a_missing_file_are_unreadable(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "unreadable"
    assert refusal(tmp_path / "nowhere.mp4").code == "unreadable"


def test_a_file_without_permission_is_unreadable(plain: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(plain.read_bytes())
    secret.chmod(0)
    # The administrator may read everything, so that nobody has to try.
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        error = refusal(secret)
    finally:
        os.seteuid(user)
    assert error.code == "unreadable"
    assert "denied" in error.message


def test_names_that_look_like_addresses_or_have_odd_characters_are_files(plain: Path, tmp_path: Path) -> None:
    for name in ("pipe:0", "http:x.mp4", "a b#%20?é中.mp4", "concat:one|two", "-"):
        (tmp_path / name).write_bytes(plain.read_bytes())
        for reader in ("pyav", "decord"):
            decoded = decode(tmp_path / name, reader=reader)
            assert len(decoded.frames) == 8
            assert decoded.decoder == reader


def test_nothing_is_written_on_the_terminal_of_the_caller(
    plain: Path, clip_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from emo.media.sandbox import Decoder

    cut = make_clip(clip_folder / "noisy.mp4", after=("-movflags", "+faststart"))
    cut.write_bytes(cut.read_bytes()[:-1200])
    with Decoder(DecodeSettings()) as decoder:
        decoder.decode(str(plain))
        decoder.decode(str(cut))
    assert capfd.readouterr() == ("", "")
