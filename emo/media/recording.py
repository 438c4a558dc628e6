"""Parts of one file, read in their order from one opening. Runs in the sandbox.

Where a part stands is told by the packets around it alone: a file of three hours costs no more than one of a
minute. Pictures and packets are read through two handles of the file, so that decoding goes on from part to
part while the packets of the next one are looked at.
"""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.errors import RowError
from emo.media import frames, probe
from emo.media.audio import AudioTrack, Sound
from emo.media.clock import BACK_S
from emo.media.cues import Cue
from emo.media.decode import Pictures, is_cut, painted, set_filter
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.partial import File, path_of
from emo.media.transcript import SubtitleTrack
from emo.media.unneeded import marks_all

# Times in manifests are rounded to milliseconds: a frame that begins this little before a cut lies behind it.
_ROUNDING_S = 0.001
# A part may end so much after its file: times are taken from subtitles, and those of containers are rounded.
_OVERHANG_S = 0.5
# A decoder of sound needs some packets before what it gives is right.
_WARM_UP_S = 0.5
# Who looks for a cue that began before the part looks this far back.
_CUE_S = 10.0
# Packets of pictures and of sound that belong together lie this close to each other in a file.
_INTERLEAVED_S = 10.0
_REORDERED_S = 1.0
# What a seek may miss, tried in turn.
_BACK_S = (0.0, 2.0, 10.0, 60.0)
# The first frame shown is one of the first packets.
_FIRST_PACKETS = 32


@dataclass
class _Packets:
    """What the packets around a part tell. ticks: of its frames and of those just before; ended: the file
    ends with them; last_s: where the last packet ends, on the clock of the recording.
    """

    ticks: list[int]
    audio: AudioTrack | None
    subtitles: SubtitleTrack | None
    ended: bool = False
    last_s: float = 0.0


class Recording:
    """A file that is open. Times are seconds from its first frame; of sound alone, from its first sound.

    Raises RowError as `decode_file` does where it cannot be opened.
    """

    def __init__(self, path: File) -> None:
        self._path = path
        self._size = probe.size_of(path)
        # Of pictures a second one: each holds its place, and the index of the file, of megabytes an hour.
        self._second: Any = None
        self._side = probe.open_container(path)
        try:
            self._beside = probe.choose(self._side)
        except BaseException:
            self.close()
            raise
        lead: Any = self._beside.video or self._beside.audio
        self._lead = lead
        self._base = float(self._lead.time_base)
        name = self._side.format.name
        self._by_decoding_time = name == "avi" and self._beside.video is not None
        self._stored_dts = not (name.startswith("matroska") or self._by_decoding_time)
        self._start = self._first_tick()
        self.promised_s = probe.announced_duration(self._side, self._lead)
        self._reader: frames.FrameReader | None = None

    def close(self) -> None:
        """Close the file."""
        self._side.close()
        if self._second is not None:
            self._second.close()

    def piece(self, start_s: float, end_s: float | None, settings: DecodeSettings) -> DecodedClip:
        """The clip of a part of the file. Raises RowError: `out_of_range` where the file ends before."""
        packets = self._survey(start_s, math.inf if end_s is None else end_s, settings)
        end_s = self._checked_end(start_s, end_s, packets)
        length_s = round(end_s - start_s, 6)
        heard = Sound(None, 0.0, [])
        if packets.audio is not None and settings.audio:
            # A sample more than the float says, where the length is a whole number of samples.
            most_s = min(length_s, settings.max_audio_s) + 1e-6
            heard = packets.audio.close(self._seconds_of_file(start_s), most_s, None)
        words = packets.subtitles
        said = words.text(self._seconds_of_file(start_s), self._seconds_of_file(end_s)) if words else None
        pictures: Pictures | None = None
        times: tuple[float, ...] = ()
        fps: float | None = None
        if self._beside.video is not None:
            pictures, times, fps = self._pictures(start_s, length_s, packets.ticks, settings)
        elif heard.flac is None:
            why = "; ".join(heard.notes) or "it is not asked for"
            raise RowError("no_video_stream", f"no moving pictures, and the sound cannot be used: {why}")
        shape = pictures.shape if pictures else None
        return DecodedClip(
            duration_s=length_s,
            width=shape.width if shape else None,
            height=shape.height if shape else None,
            fps=fps,
            frame_times=times,
            frames=pictures.jpegs if pictures else (),
            audio=heard.flac,
            subtitles=said,
            subtitles_language=words.language if words else None,
            decoder="pyav",
            notes=(
                *(() if pictures else ("video: the file has no moving pictures, only sound",)),
                *(*self._beside.ignored, *heard.notes, *(pictures.notes if pictures else ())),
                *(words.notes if words else ()),
            ),
        )

    def sound(self, start_s: float, end_s: float) -> bytes | None:
        """The sound of a stretch as FLAC (16 kHz, mono), None where there is none; shorter at the end.

        Raises RowError, `damaged`, where most of it cannot be decoded.
        """
        if self._beside.audio is None:
            return None
        track = AudioTrack(end_s - start_s)
        self._read(start_s - _WARM_UP_S, end_s, None, track, None)
        if track.mostly_broken:
            raise RowError("damaged", f"the sound from {start_s:.0f} to {end_s:.0f} s cannot be decoded")
        return track.close(self._seconds_of_file(start_s), end_s - start_s + 1e-6, None).flac

    def cues(self) -> tuple[list[Cue], str | None]:
        """All cues of the text track on the clock of the recording, and their language; none without one."""
        if self._beside.subtitles is None:
            return [], None
        words = SubtitleTrack(self._beside.subtitles)
        frames.rewind(self._side, self._lead, self._start)
        for packet in frames.readable(self._side, [self._beside.subtitles]):
            words.add(packet)
        begin = self._seconds_of_file(0.0)
        moved = [dataclasses.replace(cue, start=cue.start - begin, end=cue.end - begin) for cue in words.cues]
        return moved, words.language

    def every_frame(self) -> Iterator[tuple[float, Any]]:
        """Each frame that can be decoded, in order, with when it begins; none without pictures."""
        if self._beside.video is None:
            return
        frames.rewind(self._side, self._lead, self._start)
        for frame, good in frames.decoded(self._side, self._beside.video, lambda packet: None):
            tick = frame.dts if self._by_decoding_time else frame.pts
            if good and tick is not None:
                yield round((tick - self._start) * self._base, 6), frame

    @property
    def has_pictures(self) -> bool:
        """Whether it has moving pictures."""
        return self._beside.video is not None

    @property
    def has_sound(self) -> bool:
        """Whether it has a sound that can be decoded."""
        return self._beside.audio is not None

    def length_s(self) -> float:
        """Where the last packet ends. The file may promise more: then it was cut, or is broken."""
        near_end = max(0.0, (self.promised_s or 0.0) - _INTERLEAVED_S)
        for begin in (near_end, 0.0):
            last = _Packets([], None, None)
            self._read(begin, math.inf, last, None, None)
            if last.ticks or not begin:
                return last.last_s
        return 0.0

    def _seconds_of_file(self, seconds: float) -> float:
        return seconds + self._start * self._base

    def _tick(self, seconds: float) -> int:
        return self._start + math.ceil((seconds - _ROUNDING_S) / self._base)

    def _first_tick(self) -> int:
        found = []
        for packet in frames.readable(self._side, [self._lead]):
            tick = self._shown(packet)
            if tick is not None:
                found.append(tick)
            if len(found) == _FIRST_PACKETS:
                break
        if not found:
            cut = is_cut(self._path, self._size)
            raise RowError("truncated" if cut else "damaged", "the file ends before the first frame")
        return min(found)

    def _shown(self, packet: Any) -> int | None:
        tick = packet.dts if self._by_decoding_time else packet.pts
        return None if packet.size == 0 or packet.is_discard else tick

    def _survey(self, start_s: float, end_s: float, settings: DecodeSettings) -> _Packets:
        length_s = min(end_s - start_s, settings.max_audio_s)
        audio = AudioTrack(length_s + _WARM_UP_S) if self._beside.audio and settings.audio else None
        words = SubtitleTrack(self._beside.subtitles) if self._beside.subtitles is not None else None
        found = _Packets([], audio, words)
        self._read(
            start_s - (_CUE_S if words else _WARM_UP_S), end_s, found, audio, words, start_s - _WARM_UP_S
        )
        return found

    def _read(
        self,
        start_s: float,
        end_s: float,
        found: _Packets | None,
        audio: AudioTrack | None,
        words: SubtitleTrack | None,
        hear_from_s: float | None = None,
    ) -> None:
        """Hand the packets of a stretch to what collects them; RowError where the clock jumps in it."""
        hear_from_s = start_s if hear_from_s is None else hear_from_s
        seen = heard = False
        previous = -math.inf
        lead_is_sound = self._lead is self._beside.audio
        begin_s = self._start * self._base
        for packet in self._packets_from(max(0.0, start_s)):
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size == 0 or stamp is None:
                # It drains the decoder at the end of the file.
                if found is not None:
                    found.ended = True
                if audio is not None and packet.stream is self._beside.audio:
                    audio.add(packet)
                continue
            # Whole numbers: a fraction for every packet costs as much as decoding its sound.
            base = packet.time_base
            units, parts = base.numerator, base.denominator
            at_s = stamp * units / parts - begin_s
            if packet.stream is self._lead:
                if self._stored_dts and packet.dts is not None:
                    decoding_s = packet.dts * units / parts
                    if decoding_s < previous - BACK_S:
                        raise RowError("damaged", f"the clock of the file jumps back after {at_s:.1f} s")
                    previous = decoding_s
                tick = self._shown(packet)
                if found is not None and tick is not None:
                    found.ticks.append(tick)
                    length = packet.duration or frames.frame_ticks(packet.stream) if not lead_is_sound else 0
                    length = length or packet.duration or 0
                    found.last_s = max(found.last_s, (tick + length - self._start) * self._base)
                seen = seen or at_s > end_s + _REORDERED_S
                if at_s > end_s + _INTERLEAVED_S:
                    return
            if packet.stream is self._beside.audio and audio is not None:
                if hear_from_s <= at_s <= end_s + _WARM_UP_S:
                    audio.add(packet)
                heard = heard or at_s > end_s + _WARM_UP_S
            elif packet.stream is self._beside.subtitles and words is not None and at_s < end_s:
                words.add(packet)
            if seen and (heard or audio is None):
                return
        if found is not None:
            found.ended = True

    def _packets_from(self, start_s: float) -> Iterator[Any]:
        """The packets from a moment on, beginning at or before it where the file can be sought in."""
        tracks = (self._beside.video, self._beside.audio, self._beside.subtitles)
        streams = [stream for stream in tracks if stream is not None]
        for back_s in _BACK_S:
            target = max(self._start, self._tick(start_s - back_s))
            frames.rewind(self._side, self._lead, target)
            packets = frames.readable(self._side, streams)
            held = []
            for packet in packets:
                held.append(packet)
                if packet.stream is self._lead and (tick := self._shown(packet)) is not None:
                    if tick > target > self._start and back_s != _BACK_S[-1]:
                        held = []
                    break
            if held:
                yield from held
                yield from packets
                return

    def _checked_end(self, start_s: float, end_s: float | None, packets: _Packets) -> float:
        """Where the part ends. Raises RowError where the file ends long before it."""
        last_s = packets.last_s
        if not packets.ended or (end_s is not None and end_s <= last_s):
            return last_s if end_s is None else end_s
        if end_s is None and start_s < last_s and not is_cut(self._path, self._size):
            return last_s
        if end_s is not None and start_s < last_s and end_s - last_s <= _OVERHANG_S:
            return last_s
        # Where nothing can be read around the part, nobody has looked for the end.
        after = f"after {last_s:.1f} s" if last_s else "before it"
        wanted = f"the part from {start_s:g} to {'the end' if end_s is None else f'{end_s:g}'} s"
        if is_cut(self._path, self._size):
            raise RowError("truncated", f"{wanted} is missing: the file was cut and ends {after}")
        if (self.promised_s or 0.0) >= (start_s if end_s is None else end_s) - _OVERHANG_S:
            raise RowError("damaged", f"{wanted} cannot be read: what can be read ends {after}")
        raise RowError("out_of_range", f"{wanted} is outside of the file, which ends after {last_s:.1f} s")

    def _pictures(
        self, start_s: float, length_s: float, ticks: list[int], settings: DecodeSettings
    ) -> tuple[Pictures, tuple[float, ...], float]:
        """The frames of a part, when each of them begins on its clock, and its frames per second."""
        first, end = self._tick(start_s), self._tick(start_s + length_s)
        ordered = sorted(set(ticks))
        inside = [tick for tick in ordered if first <= tick < end]
        before = [tick for tick in ordered if tick < first]
        chosen = inside
        if before and (not inside or self._since(inside[0], start_s) > _ROUNDING_S):
            # What is on show when the part begins, began before it.
            chosen = [before[-1], *inside]
        if not chosen:
            raise RowError("damaged", f"no frame is shown from {start_s:g} s on")
        times = [max(0.0, self._since(tick, start_s)) for tick in chosen]
        wanted = [chosen[i] for i in frames.sample(times, length_s, settings.frames)]
        reader = self._reader = self._reader or self._opened_reader(settings)
        reader.restart_for(wanted[0])
        pictures = painted(reader.stream, reader.read(wanted), len(wanted), settings)
        shown = tuple(max(0.0, self._since(tick, start_s)) for tick in pictures.ticks)
        return pictures, shown, len(inside) / length_s

    def _opened_reader(self, settings: DecodeSettings) -> frames.FrameReader:
        self._second = probe.open_container(self._path)
        stream: Any = probe.choose(self._second).video
        set_filter(stream, settings)
        complete = marks_all(stream.codec_context)
        return frames.FrameReader(self._second, stream, self._by_decoding_time, self._start, complete)

    def _since(self, tick: int, start_s: float) -> float:
        return round((tick - self._start) * self._base - start_s, 6)


_open: dict[tuple[File, int, int], Recording] = {}


def opened(file: File) -> Recording:
    """The recording of a local file, opened once for as long as the same file is asked for."""
    path = Path(path_of(file))
    stat = path.stat() if path.exists() else None
    # One that is filled changes while it is read, and has a path of its own.
    written = stat.st_mtime_ns if stat and isinstance(file, str) else 0
    key = (file, stat.st_size if stat else 0, written)
    if key not in _open:
        close_all()
        _open[key] = Recording(file)
    return _open[key]


def close_all() -> None:
    """Close what is open."""
    while _open:
        with suppress(Exception):
            _open.popitem()[1].close()
