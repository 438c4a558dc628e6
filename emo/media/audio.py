"""The sound of a file as 16 kHz mono, on the clock of its video."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import soundfile

from emo.media.clock import BACK_S, Parts, Shown, Timeline
from emo.media.wave import AUDIO_HZ

# Time stamps jitter by less than a frame of sound; a longer jump is a gap (filled with silence).
_GAP_S = 0.1
# Audio starts at or before the video plus this much when its packets have been counted up to a bound.
_SLACK_S = 10.0


@dataclass
class _Segment:
    """Sound without gaps: when it begins on the clock of its part of the file, and its samples."""

    part: int
    start_s: float
    kind: tuple[str, str, int]
    resampler: Any = None
    # What the resampler has no mix for is mixed before it.
    own_mix: bool = False
    taken_s: float = 0.0
    # A call of the resampler costs more than a frame does: it is given a second at a time.
    waiting: Any = field(default_factory=av.AudioFifo)
    chunks: list[np.ndarray] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.start_s + self.taken_s

    def take(self, frame: Any) -> None:
        self.taken_s += frame.samples / frame.sample_rate
        # Times of frames jitter; the segment keeps its own.
        frame.pts = None
        self.waiting.write(frame)
        if self.waiting.samples >= frame.sample_rate:
            self._resample()

    def close(self) -> None:
        self._resample()
        if self.resampler is not None:
            self.chunks += [part.to_ndarray()[0] for part in self.resampler.resample(None)]

    def _resample(self) -> None:
        frame = self.waiting.read()
        if frame is not None:
            self.chunks += [part.to_ndarray()[0] for part in self._resampled(frame)]

    def _resampled(self, frame: Any) -> list[Any]:
        if self.resampler is None:
            self.resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_HZ)
            try:
                return self.resampler.resample(frame)
            except MemoryError:
                raise
            except (av.FFmpegError, ValueError):
                # It knows no way from these channels to one.
                self.resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_HZ)
                self.own_mix = True
        return self.resampler.resample(mono(frame) if self.own_mix else frame)


class AudioTrack:
    """Collects one audio track packet by packet.

    most_s: so many seconds of sound are decoded, and a little more; 0: none, of the track only its times are
    wanted. until_s: sound after this second on the file's own clock is not decoded, for files whose clock is
    trusted.
    """

    def __init__(self, most_s: float, until_s: float = math.inf):
        self._most_s = most_s + _SLACK_S if most_s else 0.0
        self._until_s = until_s + _SLACK_S
        self._parts = Parts()
        self._seconds: list[float] = []
        self._part_of: list[int] = []
        self._segments: list[_Segment] = []
        self._taken_s = 0.0
        self._packets = 0
        self._base: float | None = None
        self._broken = 0
        self._full = not most_s

    @property
    def done(self) -> bool:
        """Whether nothing more is wanted of the track, its times neither."""
        return self._full and self._until_s < math.inf

    @property
    def shown(self) -> Shown:
        """When its packets begin."""
        return Shown(self._seconds, self._part_of)

    def add(self, packet: Any) -> None:
        """Take one packet of the track, in the order of the file; the last one is empty and drains."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.size and stamp is not None:
            # Once: a fraction for every packet costs as much as decoding it.
            self._base = self._base or float(packet.time_base)
            seconds = stamp * self._base
            self._seconds.append(seconds)
            self._part_of.append(self._parts.add(seconds))
        if self._full:
            return
        self._packets += packet.size > 0
        try:
            for frame in packet.decode():
                if frame.samples:
                    self._place(frame)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            self._broken += 1

    def close(self, start_s: float | None, longest_s: float, times: Timeline | None) -> "Sound":
        """The sound from a second of the clip's clock on, at most longest_s of it.

        start_s: None for the first of the sound itself. times: what makes the clock one, None where it is.
        Sound before the start is cut, and silence stands where there is none.
        """
        for segment in self._segments[-1:]:
            try:
                segment.close()
            except MemoryError:
                raise
            except (av.FFmpegError, ValueError):
                self._broken += 1
        notes = []
        if self._broken:
            notes.append(f"audio: {self._broken} of {self._packets} packets could not be decoded")
        if mixed := next((segment.kind[1] for segment in self._segments if segment.own_mix), None):
            notes.append(
                f"audio: there is no usual mix for the channels ({mixed}); {_MIXES[_is_ambisonic(mixed)]}"
            )
        placed = list(self._placed(times))
        first_s = min((begin for begin, _ in placed), default=0.0) if start_s is None else start_s
        at = [(round((begin - first_s) * AUDIO_HZ), samples) for begin, samples in placed]
        length = max((begin + samples.size for begin, samples in at), default=0)
        length = min(length, int(longest_s * AUDIO_HZ))
        if length <= 0:
            return Sound(None, 0.0, [*notes, "audio: the track holds no sound within the clip"])
        track = np.zeros(length, dtype=np.int16)
        for start, samples in at:
            begin, end = max(0, start), min(length, start + samples.size)
            if begin < end:
                track[begin:end] = samples[begin - start : end - start]
        return Sound(flac(track), length / AUDIO_HZ, notes)

    @property
    def mostly_broken(self) -> bool:
        """Whether more than half of its packets could not be decoded."""
        return self._broken * 2 > self._packets

    def _placed(self, times: Timeline | None) -> Iterator[tuple[float, np.ndarray]]:
        """When each segment begins on the clock of the clip, and its samples."""
        end_s = -math.inf
        for segment in self._segments:
            if not segment.chunks:
                continue
            begin_s, parts = segment.start_s, 1
            if times is not None:
                parts = times.parts
                begin_s += times.offset(min(segment.part, parts - 1), begin_s)
            if segment.part >= parts:
                # A clock of the sound alone that jumps back goes on where the sound ended.
                begin_s = max(begin_s, end_s)
            samples = np.concatenate(segment.chunks)
            end_s = begin_s + samples.size / AUDIO_HZ
            yield begin_s, samples

    def _place(self, frame: Any) -> None:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        current = self._segments[-1] if self._segments else None
        end_s = current.end_s if current else 0.0
        pts_s = end_s if frame.pts is None else frame.time
        if pts_s > self._until_s or self._taken_s > self._most_s:
            self._full = True
            return
        self._taken_s += frame.samples / frame.sample_rate
        if current and kind == current.kind and abs(pts_s - end_s) <= _GAP_S:
            current.take(frame)
            return
        part = 0
        if current:
            current.close()
            part = current.part + (pts_s < end_s - BACK_S)
        segment = _Segment(part, pts_s, kind)
        self._segments.append(segment)
        segment.take(frame)


@dataclass(frozen=True)
class Sound:
    """FLAC (16 bit), or None where there is nothing to hear or nothing that can be decoded: a note says why.

    seconds: how long it is.
    """

    flac: bytes | None
    seconds: float
    notes: list[str]


_MIXES = {False: "their average is heard", True: "the first, which hears all around, is heard"}


def mono(frame: Any) -> Any:
    """One channel of a frame of PyAV, in floating point: of ambisonics the first, else the average of all."""
    stored = frame.to_ndarray()
    channels = len(frame.layout.channels) or frame.layout.nb_channels
    apart = stored if frame.format.is_planar else stored.reshape(-1, channels).T
    wave = apart.astype(np.float32)
    if apart.dtype.kind in "iu":
        wave /= float(np.iinfo(apart.dtype).max // (2 if apart.dtype.kind == "u" else 1))
        wave -= apart.dtype.kind == "u"
    chosen = wave[0] if _is_ambisonic(frame.layout.name) else wave.mean(axis=0)
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(chosen[None]), format="fltp", layout="mono")
    made.sample_rate = frame.sample_rate
    if frame.pts is not None:
        made.pts, made.time_base = frame.pts, frame.time_base
    return made


def _is_ambisonic(layout: str) -> bool:
    return layout.startswith("ambisonic")


def flac(samples: np.ndarray) -> bytes:
    """Encode mono samples (one axis, int16, 16 kHz) as FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, AUDIO_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
