"""Clocks of real files that jump, go round or stand still, and large files of which parts are read."""

import time
from pathlib import Path

import numpy as np
import pytest

import emo.media.decode
from clips import (
    beep,
    ffmpeg,
    number_in,
    tone,
)
from decoding import (
    MP3,
    MPEG4,
    X264,
    Make,
    assert_every_frame_is_the_one_of_its_time,
    decode,
    joined,
    sound_of,
)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
def test_an_hour_is_sampled_by_seeking_and_its_sound_is_bounded(
    clip: Make, tmp_path: Path, container: str
) -> None:
    avi = container == "avi"
    minute = clip(
        "minute.avi" if avi else "minute.mkv", seconds=60.0, fps=5, size=(96, 64), sounds=[tone(60.0)],
        video=(*MPEG4, "-bf", "2") if avi else X264, sound=MP3 if avi else ("-c:a", "aac"),
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


def stream(clip: Make, begins_s: float) -> Path:
    """Two seconds of MPEG-TS whose clock begins at a second, with a beep after half a second of it."""
    source = clip("beeping.ts", seconds=2.0, sounds=[beep(2.0, 0.5)])
    path = source.with_name(f"from{begins_s}.ts")
    if not path.exists():
        ffmpeg("-i", source, "-map", "0", "-c", "copy", "-output_ts_offset", str(begins_s), path)
    return path


@pytest.mark.parametrize(
    "begins", [[0, 16], [0, 200], [0, 2000], [500, 0], [0, 0], [60, 50, 3000], [0, 95440]]
)
def test_a_clock_that_jumps_loses_no_frame_and_invents_no_silence(
    clip: Make, tmp_path: Path, begins: list[float]
) -> None:
    parts = [stream(clip, begin) for begin in begins]
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
    both = joined(tmp_path, [stream(clip, 0), stream(clip, jump_s)])
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
    both = joined(tmp_path, [stream(clip, 0), stream(clip, 200)])
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
    both = joined(tmp_path, [stream(clip, 0), stream(clip, 200)])
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


def test_a_clock_that_goes_round_is_no_jump(clip: Make) -> None:
    # 33 bits of a 90 kHz clock are 95,443.7 s.
    decoded = decode(stream(clip, 95_442.5))
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
