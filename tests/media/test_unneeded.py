"""What no other frame needs is not decoded, and the frames that are asked for stay the same to the bit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from emo.media import frames
from emo.media.frames import FrameReader
from emo.media.unneeded import may_skip, sub_layer

Make = Callable[..., Path]
X264 = ("-c:v", "libx264", "-preset", "fast", "-bf", "3", "-b_strategy", "0", "-g", "50")
X265 = ("-c:v", "libx265", "-preset", "fast", "-bf", "3", "-g", "50", "-x265-params")
LAYERS = (*X265, "log-level=none:temporal-layers=1:b-adapt=0")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "1", "-g", "50")
STREAMS = {
    "h264.mp4": X264,
    "h264.mkv": X264,
    "h264.ts": X264,
    "hevc.mp4": (*X265, "log-level=none:b-adapt=0"),
    "hevc.mkv": (*X265, "log-level=none:b-adapt=0:open-gop=0"),
    "hevc.ts": (*X265, "log-level=none:b-adapt=0"),
    "layers.mp4": LAYERS,
    "layers.ts": LAYERS,
    "vp9.webm": VP9,
    "mpeg4.mp4": ("-c:v", "mpeg4", "-q:v", "4", "-bf", "2"),
}
LEFT_OUT = {"h264.mp4", "h264.mkv", "h264.ts", "hevc.mp4", "hevc.mkv", "hevc.ts"}


def film(clip: Make, name: str) -> Path:
    return clip(name, seconds=3.0, video=STREAMS[name], sounds=[])


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


def wanted_frames(path: Path, skips: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[list[np.ndarray], int]:
    """Every seventh frame, and how many frames came out of the decoder."""
    count = 0

    def counted(*arguments: object) -> Iterator[tuple[object, bool]]:
        nonlocal count
        for found in decoded(*arguments):  # type: ignore[arg-type]
            count += 1
            yield found

    decoded = frames.decoded
    with monkeypatch.context() as patch, av.open(str(path)) as file:
        patch.setattr(frames, "decoded", counted)
        video = file.streams.video[0]
        ticks = sorted(packet.pts for packet in file.demux(video) if packet.size)
        reader = FrameReader(file, video, False, ticks[0], skips)
        found = []
        for tick, frame, stale in reader.read(ticks[3::7]):
            assert not stale
            assert tick == frame.pts
            found.append(frame.to_ndarray())
        assert len(found) == len(ticks[3::7])
    return found, count


@pytest.mark.parametrize("name", STREAMS)
def test_the_frames_that_are_asked_for_are_the_same_to_the_bit(
    clip: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(clip, name)
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        skips = all(may_skip(video.codec_context, p) for p in file.demux(video) if p.size)
    assert skips == (name in LEFT_OUT)
    whole, all_of_them = wanted_frames(path, False, monkeypatch)
    found, fewer = wanted_frames(path, skips, monkeypatch)
    assert all(np.array_equal(one, other) for one, other in zip(whole, found, strict=True))
    assert (fewer < 0.8 * all_of_them) == (name in LEFT_OUT)


@pytest.mark.parametrize("name", ["layers.mp4", "layers.ts"])
def test_the_sub_layers_of_a_stream_are_seen_in_its_packets(clip: Make, name: str) -> None:
    path = film(clip, name)
    with av.open(str(path)) as file:
        extradata = file.streams.video[0].codec_context.extradata or b""
    layers = [sub_layer(packet, extradata) for packet in packets_of(path)]
    assert layers[0] == 0
    assert set(layers) >= {0, 1}


def test_a_packet_of_next_to_nothing_has_no_sub_layer() -> None:
    for packet in (b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x00\x01", b"\x00\x00\x00\x02\x02"):
        assert sub_layer(packet, b"") == 0
        assert sub_layer(packet, b"\x01") == 0
