"""The sound of a file as 16 kHz mono, on the clock of its video."""

import io
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import soundfile

from emo.media.wave import AUDIO_HZ

# Time stamps jitter by less than a frame of sound; a longer jump is a gap (filled with silence).
_GAP_S = 0.1
# Audio starts at or before the video plus this much when its packets have been counted up to a bound.
_SLACK_S = 10.0


@dataclass
class _Segment:
    """Sound without gaps: when it begins, and its samples."""

    start_s: float
    resampler: Any
    kind: tuple[str, str, int]
    first_pts_s: float
    taken_s: float = 0.0
    chunks: list[np.ndarray] = field(default_factory=list)

    def take(self, frame: Any) -> None:
        self.chunks += [part.to_ndarray()[0] for part in self.resampler.resample(frame)]
        self.taken_s += frame.samples / frame.sample_rate

    def close(self) -> None:
        self.chunks += [part.to_ndarray()[0] for part in self.resampler.resample(None)]


class AudioTrack:
    """Collects one audio track packet by packet.

    until_s: sound after this second on the file's own clock is not decoded.
    """

    def __init__(self, until_s: float):
        self._until_s = until_s + _SLACK_S
        self._segments: list[_Segment] = []
        self._packets = 0
        self._broken = 0
        self.done = False

    def add(self, packet: Any) -> None:
        """Take one packet of the track, in the order of the file; the last one is empty and drains."""
        if self.done:
            return
        self._packets += packet.size > 0
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            self._broken += 1
            return
        for frame in frames:
            if frame.samples:
                self._place(frame)

    def close(self, video_start_s: float, longest_s: float) -> tuple[bytes | None, list[str]]:
        """FLAC (16 bit) that begins at the first frame of the video and lasts at most longest_s; notes.

        Sound before the first frame is cut, and silence stands where there is none. None where there is
        nothing to hear or nothing that can be decoded; a note says why.
        """
        notes = []
        if self._broken:
            notes.append(f"audio: {self._broken} of {self._packets} packets could not be decoded")
        for segment in self._segments[-1:]:
            segment.close()
        placed = [
            (round((segment.start_s - video_start_s) * AUDIO_HZ), np.concatenate(segment.chunks))
            for segment in self._segments
            if segment.chunks
        ]
        length = max((start + samples.size for start, samples in placed), default=0)
        length = min(length, int(longest_s * AUDIO_HZ))
        if length <= 0:
            return None, [*notes, "audio: the track holds no sound within the clip"]
        track = np.zeros(length, dtype=np.int16)
        for start, samples in placed:
            begin, end = max(0, start), min(length, start + samples.size)
            if begin < end:
                track[begin:end] = samples[begin - start : end - start]
        return flac(track), notes

    def _place(self, frame: Any) -> None:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        current = self._segments[-1] if self._segments else None
        end_s = current.start_s + current.taken_s if current else 0.0
        pts_s = end_s if frame.pts is None else float(frame.pts * frame.time_base)
        if pts_s > self._until_s:
            self.done = True
            return
        if current and kind == current.kind:
            jump = pts_s - (current.first_pts_s + current.taken_s)
            if abs(jump) <= _GAP_S or frame.pts is None:
                current.take(frame)
                return
        if current:
            current.close()
            # A clock that jumps back (files glued together) goes on where the sound ended.
            start_s = max(pts_s, end_s)
        else:
            start_s = pts_s
        resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_HZ)
        segment = _Segment(start_s, resampler, kind, pts_s)
        segment.take(frame)
        self._segments.append(segment)


def flac(samples: np.ndarray) -> bytes:
    """Encode mono samples (one axis, int16, 16 kHz) as FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, AUDIO_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
