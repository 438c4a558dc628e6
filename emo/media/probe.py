"""What a file is before its pictures are decoded: opened safely, its tracks chosen, its faults named."""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from emo.errors import RowError
from emo.machine import raise_fault_of_machine
from emo.media.partial import File, opened_bytes, path_of

# Only these demuxers may open a file. FFmpeg goes by content, not by name: a playlist or a script renamed
# .mp4 would make it read other files or the network, and an image or a text would count as a video. Bare
# streams without a container are left out, as nothing in them says when a frame is shown.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,rm,mxf,nut,ivf,gif,dv,"
    "wav,mp3,flac,aac,aiff"
)
# A file whose bytes end early is used all the same while no more than this share of its video is missing.
TRUNCATED_SHARE = 0.05

_TEXT_SUBTITLES = {
    "ass", "ssa", "subrip", "srt", "mov_text", "webvtt", "text", "microdvd", "mpl2", "sami", "subviewer",
    "subviewer1", "realtext", "jacosub", "stl", "vplayer", "pjs",
}  # fmt: skip
_PICTURES = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}
_ISO_BOXES = {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx", b"uuid"}
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class Tracks:
    """The streams (of PyAV) that are used of a file; ignored: notes about those that are not.

    video: None where the file has sound and no moving pictures.
    """

    video: Any | None
    audio: Any | None
    subtitles: Any | None
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Announced:
    """What the structure of a file says: its family, its full size in bytes (None: not said), its index."""

    family: str
    size: int | None = None
    has_index: bool = True


def size_of(file: File) -> int:
    """Bytes of a regular, readable, not empty file; raises RowError (`unreadable`, `empty`)."""
    path = path_of(file)
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise RowError("unreadable", "not a regular file")
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise_fault_of_machine(error)
        raise RowError("unreadable", f"cannot be opened: {error.strerror}") from None
    if found.st_size == 0:
        raise RowError("empty", "the file has no bytes")
    return found.st_size


def open_container(file: File) -> Any:
    """The PyAV container of a file; raises RowError (`not_a_video`, `truncated`, `unreadable`)."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        source = f"file:{file}" if isinstance(file, str) else opened_bytes(file)
        return av.open(source, options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise_fault_of_machine(error)
        raise _fault(file, error) from None


def choose(container: Any) -> Tracks:
    """The tracks to use, each the default one or else the first; raises RowError (`no_video_stream`, ...)."""
    ignored: list[str] = []
    video = _pictures(container, ignored)
    heard = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if container.streams.audio and not heard:
        ignored.append("audio: there is no decoder for the track")
    if video is None and not heard:
        raise RowError("no_video_stream", "the file has no moving pictures, and no sound that can be decoded")
    # What FFmpeg has no decoder for may be text all the same.
    unknown = [stream for stream in container.streams.subtitles if stream.codec_context is None]
    texts = [stream for stream in container.streams.subtitles if _is_text(stream)] or unknown
    if container.streams.subtitles and not texts:
        kind = container.streams.subtitles[0].codec_context.name
        ignored.append(f"subtitles: the track holds pictures ({kind}), not text")
    spoken = [stream for stream in texts if not stream.disposition & Disposition.forced]
    return Tracks(
        video=video,
        audio=_default(heard) if heard else None,
        subtitles=_default(spoken or texts) if texts else None,
        ignored=tuple(ignored),
    )


def _pictures(container: Any, ignored: list[str]) -> Any | None:
    """The film, ready to be decoded; None where the file has none."""
    still = Disposition.attached_pic | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & still]
    if len(moving) > 1:
        films = [stream for stream in moving if not _is_cover(stream, moving)]
        if films and len(films) < len(moving):
            ignored.append(f"video: track {moving[0].index} is a single picture, a cover; the film is taken")
            moving = films
    if not moving:
        return None
    video = _default(moving)
    if video.codec_context is None:
        raise RowError("unsupported_codec", "there is no decoder for the video track")
    if not (video.codec_context.width and video.codec_context.height):
        raise RowError("damaged", "the size of the picture cannot be found")
    # One thread: a core has its own decoder process, and more threads cost memory and hangs at exit.
    video.codec_context.thread_type = "NONE"
    video.codec_context.thread_count = 1
    return video


def _is_cover(stream: Any, among: list[Any]) -> bool:
    """Whether a track that no mark tells from a film is one picture of a kind that covers are in."""
    if stream.codec_context is None or stream.codec_context.name not in _PICTURES:
        return False
    if stream.frames:
        return bool(stream.frames == 1)
    lengths = [float(one.duration * one.time_base) for one in among if one.duration]
    return not stream.duration or float(stream.duration * stream.time_base) * 10 < max(lengths)


def announced_duration(container: Any, track: Any) -> float | None:
    """Seconds that the header promises for a track, or None; the container's where no better is."""
    if container.format.name == "avi" and track.type == "video" and track.frames and track.average_rate:
        return float(track.frames / track.average_rate)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)\s*", track.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if track.duration:
        return float(track.duration * track.time_base)
    return container.duration / av.time_base if container.duration else None


def announced(path: File) -> Announced | None:
    """What the structure of a file says about itself; None where it is of no family known here."""
    with opened_bytes(path) as file:
        head = file.read(64)
        if head[4:8] in _ISO_BOXES:
            return _iso(file)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return _riff(file)
        if head[:4] == _EBML:
            return _matroska(head)
    known = {b"FLV": "flv", b"OggS": "ogg", b"\x00\x00\x01\xba": "mpeg", b"\x30\x26\xb2\x75": "asf"}
    for signature, family in known.items():
        if head.startswith(signature):
            return Announced(family)
    return None


def _default(streams: list[Any]) -> Any:
    marked = [stream for stream in streams if stream.disposition & Disposition.default]
    return (marked or streams)[0]


def _is_text(stream: Any) -> bool:
    return stream.codec_context is not None and stream.codec_context.name in _TEXT_SUBTITLES


def _fault(path: File, error: Exception) -> RowError:
    """The RowError for a file that no demuxer takes."""
    found = announced(path)
    if found is None:
        return RowError("not_a_video", "the file is of no known video format")
    if not found.has_index:
        return RowError("truncated", "the index (moov) is missing: the file was cut")
    if found.size is not None and found.size > Path(path_of(path)).stat().st_size:
        return RowError("truncated", f"the file ends before the {found.size} bytes that it announces")
    return RowError("unreadable", f"the header is broken: {error}")


def _iso(file: BinaryIO) -> Announced:
    """MP4 and QuickTime: a row of boxes, each with its size."""
    end = file.seek(0, 2)
    position, indexed = 0, False
    while position + 8 <= end:
        file.seek(position)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        elif size == 0:
            size = end - position
        if size < 8 or not header[4:8].isascii():
            break
        indexed = indexed or header[4:8] == b"moov"
        position += size
    return Announced("mov", position, indexed)


def _riff(file: BinaryIO) -> Announced:
    """AVI: one RIFF chunk, or several in a row above 1 GB."""
    end = file.seek(0, 2)
    position = 0
    while position + 8 <= end:
        file.seek(position)
        header = file.read(8)
        size = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or size == 0:
            break
        position += 8 + size + size % 2
    return Announced("avi", position or None)


def _matroska(head: bytes) -> Announced:
    """Matroska and WebM: the EBML header, then the segment, whose size may be left open."""
    size, position = _ebml_size(head, 4)
    if size is None or head[position + size : position + size + 4] != _SEGMENT:
        return Announced("matroska")
    size, position = _ebml_size(head, position + size + 4)
    return Announced("matroska", None if size is None else position + size)


def _ebml_size(data: bytes, position: int) -> tuple[int | None, int]:
    """A variable-length size and where what follows it begins; None where the writer left it open."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    raw = data[position : position + length]
    if not first or len(raw) < length:
        return None, position
    bits = 7 * length
    value = int.from_bytes(raw, "big") & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), position + length
