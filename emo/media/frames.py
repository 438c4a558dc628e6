"""Which frames of a video are taken, and how PyAV reads them.

PyAV is the fastest for every codec (`benchmarks/decode.py`); `emo.media.by_decord` can be chosen instead.
"""

import functools
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.stream import Discard

from emo.media.clock import Parts, Shown, Timeline, timeline
from emo.media.unneeded import may_skip

# FFmpeg's seek by time in these never finds the first keyframe.
_NO_WAY_BACK = {"mpegts", "mpeg"}

# A frame that comes this much earlier than the one that belongs to a moment means that the latter is broken.
_STALE_S = 0.5

# A container that does not list all keyframes is sought in where the next frame wanted is this far ahead.
_BLIND_SEEK_S = 10


def sample(times: Sequence[float], duration: float, count: int) -> list[int]:
    """Indices of the frames on show at the centres of `count` equal intervals, each once, in order.

    times: when each frame begins, ascending, in seconds from the first; duration: seconds.
    """
    on_show = (bisect_right(times, moment) - 1 for moment in centres(duration, count))
    return list(dict.fromkeys(max(0, index) for index in on_show))


def centres(duration: float, count: int) -> list[float]:
    """The centres of `count` equal intervals of `duration` seconds."""
    return [(i + 0.5) * duration / count for i in range(count)]


@dataclass
class PacketIndex:
    """When each frame is shown, from the packets of a track and without decoding them.

    Times are ticks of the track's time base. In AVI a packet has no display time, but the n-th frame shown
    is shown at the n-th decoding time. stored_dts: the decoding times are from the file and not computed from
    the others, which after a long still picture gives any. Where the clock jumps, `ticks` are on the one
    clock that `join` makes of it. skippable: the decoder may be told to leave out what no other frame needs.
    """

    stream: Any
    by_decoding_time: bool
    stored_dts: bool = True
    skippable: bool = True
    ticks: list[int] = field(default_factory=list)
    done: bool = False
    jumps: Timeline | None = None
    _parts: Parts = field(default_factory=Parts)
    _part_of: list[int] = field(default_factory=list)
    _last_duration: int = 0

    def add(self, packet: Any) -> None:
        """Take one packet of the track, in the order of the file."""
        if packet.size == 0:
            return
        self.skippable = self.skippable and may_skip(self.stream.codec_context, packet)
        tick = packet.dts if self.by_decoding_time else packet.pts
        if packet.is_discard or tick is None:
            return
        if not self.ticks or tick >= max(self.ticks[-1], self.ticks[0]):
            self._last_duration = packet.duration or 0
        self.ticks.append(tick)
        self._part_of.append(self._part(self._parts, packet, tick))

    def close(self) -> None:
        """Sort the times, once all packets are in."""
        self.ticks.sort()

    def join(self, sound: Shown | None, broadcast: bool) -> None:
        """Make one clock of one that jumps, before `close`; all packets must be in. See `timeline`."""
        if not self.ticks:
            return
        found = timeline(Shown([tick * self._base for tick in self.ticks], self._part_of), sound, broadcast)
        if found.jumps:
            # The file's own average counts the jumps.
            step = round(float(np.median(np.diff(sorted(self.ticks)))))
            self.jumps, self._last_duration = found, step
            moved = zip(self.ticks, self._part_of, strict=True)
            self.ticks = [self._moved(tick, part) for tick, part in moved]

    def _part(self, parts: Parts, packet: Any, tick: int) -> int:
        if self.stored_dts and packet.dts is not None:
            return parts.add(packet.dts * self._base)
        # Only those of keyframes ascend in the order of the file.
        return parts.add(tick * self._base) if packet.is_keyframe else parts.part

    def _moved(self, tick: int, part: int) -> int:
        assert self.jumps is not None
        return tick + round(self.jumps.offset(part, tick * self._base) / self._base)

    @functools.cached_property
    def _base(self) -> float:
        return float(self.stream.time_base)

    def in_file_order(self, container: Any) -> Iterator[tuple[int, Any]]:
        """Tick on the one clock and frame, for every frame of a container that was just opened."""
        parts = Parts()

        def set_time(packet: Any) -> None:
            tick = packet.dts if self.by_decoding_time else packet.pts
            if packet.size and tick is not None and not packet.is_discard:
                packet.pts = self._moved(tick, self._part(parts, packet, tick))

        for frame, good in decoded(container, container.streams[self.stream.index], set_time):
            if good and frame.pts is not None:
                yield frame.pts, frame

    @property
    def start(self) -> int:
        """Tick of the first frame."""
        return self.ticks[0]

    @property
    def end(self) -> int:
        """Tick at which the last frame ends."""
        return self.ticks[-1] + (self._last_duration or frame_ticks(self.stream))


def frame_ticks(stream: Any) -> int:
    """Length of one frame in ticks by the average rate; 0 where that is not known."""
    return round(1 / (stream.average_rate * stream.time_base)) if stream.average_rate else 0


class FrameReader:
    """Reads with PyAV the frames that are on show at ascending moments, seeking where that saves decoding.

    start: tick of the first frame. skips: the moments are the ticks of frames, and the stream says which
    frames no other frame needs (`emo.media.unneeded`): they are decoded only if asked for, and the rest is
    the same to the bit.
    """

    def __init__(self, container: Any, stream: Any, by_decoding_time: bool, start: int, skips: bool):
        self._container = container
        self.stream = stream
        self._by_decoding_time = by_decoding_time
        self._start = start
        self._skips = skips and not by_decoding_time
        self._wanted: frozenset[int] = frozenset()
        self._delay = 0
        self._position: int | None = None  # decoding time of the packet last read
        self._passed: list[int] = []  # ticks of the packets read since the last seek, ascending
        self._floor: int | None = None  # tick of the keyframe that was sought
        self._frames: Iterator[tuple[int, Any]] = iter(())
        self._ahead: tuple[int, Any] | None = None

    def read(self, moments: Sequence[int]) -> Iterator[tuple[int, Any, bool]]:
        """Tick, frame and whether it is stale, for each moment (ascending ticks).

        stale: the frame that belongs to the moment could not be decoded, and this one, or None where there
        is none, is older by half a second or more.
        """
        self._wanted = frozenset(moments)
        if self._by_decoding_time:
            self._measure_delay()
        current: tuple[int, Any] | None = None
        for moment in moments:
            if self._must_seek(moment):
                self._seek(moment)
            while current is None or current[0] != moment:
                following = self._peek()
                if following is None or following[0] > moment:
                    break
                self._ahead = None
                # The times in a broken file may go back; what was on show once is not shown again.
                if current is None or following[0] > current[0]:
                    current = following
            if current is None:
                yield moment, None, True
            else:
                yield *current, self._is_stale(current[0], moment)

    def restart_for(self, moment: int) -> None:
        """Have the next read seek where the packet of its first moment was read before: it may be skipped."""
        if self._passed and self._passed[-1] >= moment:
            self._position = None

    def _is_stale(self, tick: int, moment: int) -> bool:
        due = bisect_right(self._passed, moment) - 1
        return due >= 0 and (self._passed[due] - tick) * self.stream.time_base > _STALE_S

    def _measure_delay(self) -> None:
        # In AVI a frame knows only the decoding time of the packet that pushed it out of the decoder, which
        # lags by a constant number of frames behind its own.
        self._go(self._start)
        first = self._peek()
        self._delay = 0 if first is None else first[0] - self._start
        self._position = None

    def _must_seek(self, moment: int) -> bool:
        if self._position is None:
            return True
        index = self.stream.index_entries
        entry = index.search_timestamp(moment)
        if entry >= 0 and index[entry].timestamp > self._position:
            return True
        complete = self._container.format.name.startswith(("mov,", "avi"))
        return not complete and (moment - self._position) * self.stream.time_base > _BLIND_SEEK_S

    def _seek(self, moment: int) -> None:
        """Go to a keyframe from which the frame at the moment can be decoded."""
        # A keyframe before the moment in the file may be shown after it; then an earlier one is needed.
        for back_s in (0, 1, 5, 30):
            target = max(self._start, moment - int(back_s / self.stream.time_base))
            self._go(target)
            first = self._peek()
            if target == self._start or (first is not None and first[0] <= moment):
                return

    def _go(self, target: int) -> None:
        rewind(self._container, self.stream, target)
        self._frames, self._ahead, self._passed, self._floor = self._decode(), None, [], None

    def _peek(self) -> tuple[int, Any] | None:
        if self._ahead is None:
            self._ahead = next(self._frames, None)
        return self._ahead

    def _decode(self) -> Iterator[tuple[int, Any]]:
        last: int | None = None
        for frame, good in decoded(self._container, self.stream, self._before):
            tick = last = self._tick(frame, last)
            # What is shown before the keyframe that was sought needs frames from before it.
            if good and tick is not None and (self._floor is None or tick >= self._floor):
                yield tick, frame

    def _before(self, packet: Any) -> None:
        self._note(packet)
        if self._floor is None and not self._by_decoding_time:
            self._floor = packet.pts
        if self._skips:
            wanted = packet.pts is None or packet.pts in self._wanted
            self.stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"

    def _note(self, packet: Any) -> None:
        if packet.dts is not None:
            self._position = packet.dts
        tick = packet.dts if self._by_decoding_time else packet.pts
        if tick is not None and not packet.is_discard:
            insort(self._passed, tick)

    def _tick(self, frame: Any, last: int | None) -> int | None:
        if not self._by_decoding_time:
            return frame.pts
        if frame.dts is not None:
            return frame.dts - self._delay
        # The frames that come out at the end of the file have no packet of their own.
        return None if last is None else last + max(1, frame_ticks(self.stream))


def decoded(container: Any, stream: Any, before: Callable[[Any], None]) -> Iterator[tuple[Any, bool]]:
    """Every frame that a stream gives from here on, and whether it shows what it should.

    before: called with each packet before it is decoded. What is predicted from a lost frame shows what was
    there before it, up to the next keyframe.
    """
    trusted = True
    for packet in readable(container, [stream]):
        before(packet)
        try:
            found = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            trusted = False
            continue
        for frame in found:
            trusted = trusted or frame.key_frame
            yield frame, trusted and not frame.is_corrupt


def on_show(found: Iterable[tuple[int, Any]], moments: Sequence[int]) -> Iterator[tuple[int, Any, bool]]:
    """Tick, frame and whether it is missing, for each moment (ascending), of frames as they come.

    Those of two pieces that were joined in the middle of a group of pictures may come out of their order.
    """
    wanted = set(moments)
    seen: dict[int, Any] = {}
    for tick, frame in found:
        if tick in wanted:
            seen[tick] = frame
        if len(seen) == len(wanted):
            break
    for moment in moments:
        yield moment, seen.get(moment), moment not in seen


def rewind(container: Any, stream: Any, tick: int) -> None:
    """Seek to the keyframe at or before a tick of the stream, else to the next one, else stay."""
    if tick <= (stream.start_time or 0) and container.format.name in _NO_WAY_BACK:
        ways = [{"offset": 0, "unsupported_byte_offset": True}]
    else:
        ways = [{"offset": tick, "stream": stream, "backward": backward} for backward in (True, False)]
    for way in ways:
        try:
            container.seek(**way)
            return
        except MemoryError:
            raise
        except av.FFmpegError:
            continue


def readable(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """The packets of some streams up to the end, or up to where the file can no longer be read."""
    for stream in container.streams:
        # The demuxer can jump over what nobody reads.
        stream.discard = Discard.default if stream in streams else Discard.all
    packets = container.demux(list(streams))
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except (av.FFmpegError, IndexError):
            # IndexError: PyAV at the end of a file in which a track turned up that its header does not name.
            return
        if packet is None:
            return
        yield packet
