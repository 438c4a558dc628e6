"""One file → one decoded clip. Runs in the sandbox, because the libraries below crash, hang and leak."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from emo.errors import RowError
from emo.media import by_decord, display, frames, probe
from emo.media.audio import AudioTrack, Sound
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.partial import File
from emo.media.transcript import SubtitleTrack

# Up to here all packets of a file are read for a full index of its frames; a longer file is only sought in.
_WHOLE_BYTES = 256 * 2**20
_WHOLE_S = 900.0
# A picture on show for longer may be a hole in the clock: the file is then read through, if it is no larger.
_STILL_S = 10.0
_READ_THROUGH_BYTES = 4 * 2**30
# How much of the deadline decord may use before PyAV takes over.
_DECORD_SHARE = 0.4
# Streams for broadcast: anybody may set their clock, and their length is read off it.
_BROADCAST = {"mpegts", "mpeg"}
# Containers that hold the decoding times of packets.
_STORED_DTS = ("mpegts", "mpeg", "flv", "mov,", "avi")
# So many packets tell how many bytes a second of a file has, and by how much its length may differ from that.
_PACKETS_OF_RATE = 200
_TRUSTED_LENGTH = 2.0


def decode_file(path: str, settings: DecodeSettings) -> DecodedClip:
    """Decode a local file; raises RowError with a code of `emo.media.decoded.ERRORS`."""
    size = probe.size_of(path)
    film: DecodedClip | None = None
    with probe.open_container(path) as container:
        tracks = probe.choose(container)
        if tracks.video is None:
            return _sound_alone(path, size, container, tracks, settings)
        survey = _survey(container, tracks, _is_short(path, container, tracks.video, size), settings)
        try:
            film = _film(path, size, container, tracks, survey, settings)
        except RowError as error:
            if survey.complete or error.code != "damaged":
                raise
        if film is not None and (survey.complete or not _is_doubtful(film, survey, settings)):
            return film
        if film is not None and size > _READ_THROUGH_BYTES:
            note = "video: a picture stands still for long, or the clock jumps; the file was not read through"
            return dataclasses.replace(film, notes=(*film.notes, note))
    # Where the clock jumps, seeking finds nothing or what stands before the jump. Read in the order of the
    # file, it may all be there.
    with probe.open_container(path) as container:
        tracks = probe.choose(container)
        survey = _survey(container, tracks, True, settings)
        if film is not None and survey.index.jumps is None and not _is_short_of(survey.duration_s, film):
            return film
        return _film(path, size, container, tracks, survey, settings)


def _is_doubtful(film: DecodedClip, survey: "_Survey", settings: DecodeSettings) -> bool:
    """Whether a film that was only sought in lacks half of its length, or shows a picture for long."""
    moments = frames.centres(film.duration_s, settings.frames)
    shown = (max((t for t in film.frame_times if t <= moment), default=0.0) for moment in moments)
    stands_still = any(moment - begins > _STILL_S for moment, begins in zip(moments, shown, strict=True))
    return stands_still or _is_short_of(survey.promised_s or 0.0, film)


def _is_short_of(length_s: float, film: DecodedClip) -> bool:
    return length_s > _TRUSTED_LENGTH * film.duration_s


def _film(
    path: str, size: int, container: Any, tracks: probe.Tracks, survey: "_Survey", settings: DecodeSettings
) -> DecodedClip:
    """The clip of a file with moving pictures."""
    notes = [*tracks.ignored, *_check_length(path, size, survey)]
    if not display.is_plausible(survey.index.stream.sample_aspect_ratio):
        aspect = survey.index.stream.sample_aspect_ratio
        notes.append(f"video: a pixel aspect of {aspect} is none; the pixels count as square")
    pictures = _pictures(path, container, survey, settings)
    sound = Sound(None, 0.0, [])
    if survey.audio is not None and settings.audio:
        sound = survey.audio.close(survey.start_s, settings.max_audio_s, survey.index.jumps)
    return DecodedClip(
        duration_s=survey.duration_s,
        width=pictures.shape.width,
        height=pictures.shape.height,
        fps=survey.fps,
        frame_times=tuple(survey.seconds(tick) for tick in pictures.ticks),
        frames=pictures.jpegs,
        audio=sound.flac,
        subtitles=survey.subtitles.text() if survey.subtitles else None,
        subtitles_language=survey.subtitles.language if survey.subtitles else None,
        decoder=pictures.decoder,
        notes=(*notes, *sound.notes, *pictures.notes, *(survey.subtitles.notes if survey.subtitles else ())),
    )


def _sound_alone(
    path: str, size: int, container: Any, tracks: probe.Tracks, settings: DecodeSettings
) -> DecodedClip:
    """The clip of a file without moving pictures; raises RowError where there is no sound either."""
    if not settings.audio:
        raise RowError("no_video_stream", "the file has no moving pictures, and the sound is not asked for")
    promised_s = probe.announced_duration(container, tracks.audio)
    audio = AudioTrack(
        settings.max_audio_s, (container.start_time or 0) / av.time_base + settings.max_audio_s
    )
    collectors: dict[Any, Any] = {tracks.audio: audio}
    if tracks.subtitles is not None:
        collectors[tracks.subtitles] = SubtitleTrack(tracks.subtitles)
    _collect(container, collectors)
    sound = audio.close(None, settings.max_audio_s, None)
    if sound.flac is None or audio.mostly_broken:
        why = "; ".join(sound.notes)
        raise RowError(
            "no_video_stream", f"the file has no moving pictures, and its sound cannot be used: {why}"
        )
    whole = sound.seconds < settings.max_audio_s
    notes = _check_cut(path, size, promised_s, sound.seconds) if whole else []
    words = collectors.get(tracks.subtitles)
    return DecodedClip(
        duration_s=sound.seconds if whole else max(sound.seconds, promised_s or 0.0),
        width=None,
        height=None,
        fps=None,
        frame_times=(),
        frames=(),
        audio=sound.flac,
        subtitles=words.text() if words else None,
        subtitles_language=words.language if words else None,
        decoder="pyav",
        notes=(
            "video: the file has no moving pictures, only sound",
            *(*tracks.ignored, *notes, *sound.notes, *(words.notes if words else ())),
        ),
    )


@dataclass(frozen=True)
class _Survey:
    """What the packets of a file tell: when its frames are shown, its sound, its subtitles.

    complete: the index has every frame, not only the first and the last ones.
    """

    index: frames.PacketIndex
    complete: bool
    promised_s: float | None
    audio: AudioTrack | None
    subtitles: SubtitleTrack | None

    @property
    def start_s(self) -> float:
        return float(self.index.start * self.index.stream.time_base)

    @property
    def duration_s(self) -> float:
        return self.seconds(self.index.end)

    @property
    def fps(self) -> float:
        if self.complete and self.duration_s:
            return len(self.index.ticks) / self.duration_s
        return float(self.index.stream.average_rate or 0)

    def seconds(self, tick: int) -> float:
        """Seconds from the first frame."""
        return float((tick - self.index.start) * self.index.stream.time_base)


@dataclass(frozen=True)
class Pictures:
    """Frames as JPEG, with their ticks; shape: of the first."""

    ticks: tuple[int, ...]
    jpegs: tuple[bytes, ...]
    shape: display.Geometry
    decoder: str
    notes: tuple[str, ...] = ()


def _is_short(path: str, container: Any, video: Any, size: int) -> bool:
    """Whether all packets of a file are to be read."""
    promised_s = probe.announced_duration(container, video)
    if promised_s is None:
        return True
    if size > _WHOLE_BYTES:
        return False
    return promised_s <= _WHOLE_S or (
        container.format.name in _BROADCAST and promised_s > _TRUSTED_LENGTH * _length_by_rate(path, size)
    )


def _length_by_rate(path: str, size: int) -> float:
    """How many seconds a file has if all of it is like its beginning."""
    with probe.open_container(path) as container:
        video = container.streams.video[0]
        packets = itertools.islice(frames.readable(container, [video]), _PACKETS_OF_RATE)
        places = [(packet.pos, packet.dts) for packet in packets if packet.pos and packet.dts is not None]
        if len(places) < 2:
            return math.inf
        (first, begin), (last, end) = places[0], places[-1]
        seconds = float((end - begin) * video.time_base)
    return math.inf if last <= first or seconds <= 0 else size * seconds / (last - first)


def _survey(container: Any, tracks: probe.Tracks, complete: bool, settings: DecodeSettings) -> _Survey:
    video: Any = tracks.video
    promised_s = probe.announced_duration(container, video)
    name = container.format.name
    index = frames.PacketIndex(video, name == "avi", stored_dts=name.startswith(_STORED_DTS))
    side: dict[Any, Any] = {}
    if tracks.audio is not None and (settings.audio or complete):
        until_s = float((video.start_time or 0) * video.time_base) + settings.max_audio_s
        most_s = settings.max_audio_s if settings.audio else 0.0
        side[tracks.audio] = AudioTrack(most_s, math.inf if complete else until_s)
    if tracks.subtitles is not None:
        side[tracks.subtitles] = SubtitleTrack(tracks.subtitles)

    audio = side.get(tracks.audio)
    if complete:
        _collect(container, {video: index, **side})
        index.join(audio.shown if audio else None, container.format.name in _BROADCAST)
    else:
        if side:
            _collect(container, side)
        _collect_ends(container, index, promised_s or 0.0)
    index.close()
    return _Survey(index, complete, promised_s, audio, side.get(tracks.subtitles))


def _collect(container: Any, collectors: dict[Any, Any]) -> None:
    """Hand the packets of some streams to what collects them."""
    for packet in frames.readable(container, list(collectors)):
        collectors[packet.stream].add(packet)
        if all(collector.done for collector in collectors.values()):
            return


def _collect_ends(container: Any, index: frames.PacketIndex, promised_s: float) -> None:
    """Read the packets up to the first that is shown, and those after the last keyframe."""
    video = index.stream
    start = video.start_time or 0
    frames.rewind(container, video, start)
    for packet in frames.readable(container, [video]):
        index.add(packet)
        if index.ticks:
            break
    frames.rewind(container, video, start + int(promised_s / video.time_base))
    for packet in frames.readable(container, [video]):
        index.add(packet)


def _check_length(path: str, size: int, survey: _Survey) -> list[str]:
    """Raises RowError where the file was cut, or has no frames; a note where next to nothing is missing."""
    if not survey.index.ticks:
        cut = is_cut(path, size)
        raise RowError("truncated" if cut else "damaged", "the file ends before the first frame")
    if survey.index.jumps is not None:
        return [survey.index.jumps.note()]
    return _check_cut(path, size, survey.promised_s, survey.duration_s)


def _check_cut(path: str, size: int, promised_s: float | None, duration_s: float) -> list[str]:
    """Raises RowError (`truncated`) where the file was cut; a note where next to nothing is missing."""
    missing_s = (promised_s or 0.0) - duration_s
    if missing_s <= 0 or not is_cut(path, size):
        return []
    missing = f"the file was cut: the last {missing_s:.1f} of {promised_s:.1f} s are missing"
    if missing_s > probe.TRUNCATED_SHARE * (promised_s or 0.0):
        raise RowError("truncated", missing)
    return [missing]


def is_cut(path: File, size: int) -> bool:
    """Whether a file announces more bytes than it has."""
    found = probe.announced(path)
    return found is not None and found.size is not None and found.size > size


def _pictures(path: str, container: Any, survey: _Survey, settings: DecodeSettings) -> Pictures:
    """Raises RowError (`damaged`) where most of the frames cannot be decoded."""
    pictures = _with_decord(path, survey, settings) if settings.reader == "decord" else None
    return pictures or _with_pyav(path, container, survey, settings)


def _with_decord(path: str, survey: _Survey, settings: DecodeSettings) -> Pictures | None:
    index = survey.index
    first = by_decord.first_frame(path) if survey.complete and index.jumps is None else None
    if first is None:
        return None
    times = [survey.seconds(tick) for tick in index.ticks]
    wanted = frames.sample(times, survey.duration_s, settings.frames)
    shape = _shape(index.stream, first, settings)
    batch = by_decord.read(path, wanted, times, shape, _DECORD_SHARE * settings.deadline_s)
    if batch is None:
        return None
    jpegs = tuple(display.jpeg(picture, settings.jpeg_quality) for picture in batch)
    return Pictures(tuple(index.ticks[i] for i in wanted), jpegs, shape, "decord")


def _with_pyav(path: str, container: Any, survey: _Survey, settings: DecodeSettings) -> Pictures:
    """Raises RowError (`damaged`) where most of the frames cannot be decoded."""
    index = survey.index
    moments = _moments(survey, settings)
    set_filter(index.stream, settings)
    if index.jumps is None:
        reader = frames.FrameReader(
            container, index.stream, index.by_decoding_time, index.start, survey.complete and index.skippable
        )
        return painted(index.stream, reader.read(moments), len(moments), settings)
    with probe.open_container(path) as again:
        probe.choose(again)
        set_filter(again.streams[index.stream.index], settings)
        return painted(
            index.stream, frames.on_show(index.in_file_order(again), moments), len(moments), settings
        )


def set_filter(video: Any, settings: DecodeSettings) -> None:
    """Set up the decoder of a stream that nothing was decoded of."""
    if not settings.loop_filter:
        video.codec_context.options = {"skip_loop_filter": "all"}


def painted(
    stream: Any, found: Iterable[tuple[int, Any, bool]], wanted: int, settings: DecodeSettings
) -> Pictures:
    """The frames that were found as JPEG, each once and in its own shape.

    found: as of `FrameReader.read`, for `wanted` moments. Raises RowError (`damaged`) where most are missing.
    """
    reformatter = VideoReformatter()
    first: display.Geometry | None = None
    shapes: set[tuple[int, int]] = set()
    pictures: dict[int, bytes] = {}
    lost = 0
    for tick, frame, stale in found:
        lost += stale
        if frame is None or tick in pictures:
            continue
        shape = _shape(stream, frame, settings)
        first = first or shape
        shapes.add((shape.width, shape.height))
        stored = display.pixels(frame, shape, reformatter)
        pictures[tick] = display.jpeg(display.upright(stored, shape.turn), settings.jpeg_quality)
    problem = f"{lost} of {wanted} frames could not be decoded"
    if first is None or lost > wanted / 2:
        raise RowError("damaged", problem)
    notes = [f"{problem}; earlier ones stand in for them"] if lost else []
    if len(shapes) > 1:
        sizes = ", ".join(f"{width}x{height}" for width, height in sorted(shapes))
        notes.append(f"video: the picture changes its size ({sizes}); each frame has its own")
    return Pictures(tuple(pictures), tuple(pictures.values()), first, "pyav", tuple(notes))


def _moments(survey: _Survey, settings: DecodeSettings) -> Sequence[int]:
    """The ticks whose frames are wanted: those of the frames themselves where they are known."""
    index = survey.index
    if survey.complete:
        times = [survey.seconds(tick) for tick in index.ticks]
        return [index.ticks[i] for i in frames.sample(times, survey.duration_s, settings.frames)]
    centres = frames.centres(survey.duration_s, settings.frames)
    return [index.start + int(centre / index.stream.time_base) for centre in centres]


def _shape(stream: Any, frame: Any, settings: DecodeSettings) -> display.Geometry:
    return display.geometry(
        frame.width,
        frame.height,
        stream.sample_aspect_ratio,
        display.turn_of(frame),
        settings.longest_side,
    )
