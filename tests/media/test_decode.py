"""Decoding of real files: the right frames at their true times, in their colours, turns and sizes."""

from pathlib import Path

import pytest

from clips import (
    CORNERS,
    corners_in,
    ffmpeg,
    number_in,
    remuxed,
    shown,
    turned,
    with_matrix,
)
from decoding import (
    MP3,
    MPEG4,
    OPUS,
    VP9,
    X264,
    Make,
    assert_every_frame_is_the_one_of_its_time,
    decode,
    sound_of,
)

X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
OPEN_GOP = "open-gop=1:keyint=26:scenecut=0:b-adapt=0:bframes=3"
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-g", "25")


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
