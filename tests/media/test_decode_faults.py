"""Files that are broken, cut, nonsense or no video: each fault by its name, and what is whole is kept."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from clips import (
    ffmpeg,
    make_clip,
    number_in,
    shown,
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
    joined,
    refusal,
)
from emo.media.decoded import DecodeSettings


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
