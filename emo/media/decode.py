"""One file → one decoded clip. Runs in the sandbox, because the libraries below crash, hang and leak."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from av.video.reformatter import VideoReformatter

from emo.errors import RowError
from emo.media import frames, probe
from emo.media.audio import AudioTrack
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.transcript import SubtitleTrack

# Up to here all packets of a file are read for a full index of its frames; a longer file is only sought in.
_WHOLE_BYTES = 256 * 2**20
_WHOLE_S = 900.0
# How much of the deadline decord may use before PyAV takes over.
_DECORD_SHARE = 0.4


def decode_file(path: str, settings: DecodeSettings) -> DecodedClip:
    """Decode a local file; raises RowError with a code of `emo.media.decoded.ERRORS`."""
    size = probe.size_of(path)
    with probe.open_container(path) as container:
        tracks = probe.choose(container)
        survey = _survey(container, tracks, size, settings)
        notes = [*tracks.ignored, *_check_length(path, size, survey)]
        pictures = _with_decord(path, container, survey, settings)
        if pictures is None:
            pictures = _with_pyav(container, survey, settings)
        audio, audio_notes = None, list[str]()
        if survey.audio is not None:
            audio, audio_notes = survey.audio.close(survey.start_s, settings.max_audio_s)
        return DecodedClip(
            duration_s=survey.duration_s,
            width=pictures.shape.width,
            height=pictures.shape.height,
            fps=survey.fps,
            frame_times=tuple(survey.seconds(tick) for tick in pictures.ticks),
            frames=pictures.jpegs,
            audio=audio,
            subtitles=survey.subtitles.text() if survey.subtitles else None,
            subtitles_language=survey.subtitles.language if survey.subtitles else None,
            decoder=pictures.decoder,
            notes=(*notes, *audio_notes, *pictures.notes),
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
class _Pictures:
    ticks: tuple[int, ...]
    jpegs: tuple[bytes, ...]
    shape: frames.Geometry
    decoder: str
    notes: tuple[str, ...] = ()


def _survey(container: Any, tracks: probe.Tracks, size: int, settings: DecodeSettings) -> _Survey:
    video = tracks.video
    promised_s = probe.announced_duration(container, video)
    index = frames.PacketIndex(video, by_decoding_time=container.format.name == "avi")
    side: dict[Any, Any] = {}
    if tracks.audio is not None and settings.audio:
        start_s = float((video.start_time or 0) * video.time_base)
        side[tracks.audio] = AudioTrack(start_s + settings.max_audio_s)
    if tracks.subtitles is not None:
        side[tracks.subtitles] = SubtitleTrack(tracks.subtitles)

    complete = promised_s is None or (size <= _WHOLE_BYTES and promised_s <= _WHOLE_S)
    if complete:
        _collect(container, {video: index, **side})
    else:
        if side:
            _collect(container, side)
        _collect_ends(container, index, promised_s or 0.0)
    index.close()
    return _Survey(index, complete, promised_s, side.get(tracks.audio), side.get(tracks.subtitles))


def _collect(container: Any, collectors: dict[Any, Any]) -> None:
    """Hand the packets of some streams to what collects them."""
    for packet in frames.readable(container, list(collectors)):
        collectors[packet.stream].add(packet)
        if all(collector.done for collector in collectors.values()):
            return


def _collect_ends(container: Any, index: frames.PacketIndex, promised_s: float) -> None:
    """Read the packets up to the first frame that can be decoded, and those after the last keyframe."""
    video = index.stream
    start = video.start_time or 0
    frames.rewind(container, video, start)
    for packet in frames.readable(container, [video]):
        index.add(packet)
        if index.first is not None:
            break
    frames.rewind(container, video, start + int(promised_s / video.time_base))
    for packet in frames.readable(container, [video]):
        index.add(packet)


def _check_length(path: str, size: int, survey: _Survey) -> list[str]:
    """Raises RowError where the file was cut, or has no frames; a note where next to nothing is missing."""
    found = probe.announced(path)
    cut = found is not None and found.size is not None and found.size > size
    if not survey.index.ticks:
        raise RowError("truncated" if cut else "damaged", "the file ends before the first frame")
    missing_s = (survey.promised_s or 0.0) - survey.duration_s
    if not cut or missing_s <= 0:
        return []
    missing = f"the file was cut: the last {missing_s:.1f} of {survey.promised_s:.1f} s of video are missing"
    if missing_s > probe.TRUNCATED_SHARE * (survey.promised_s or 0.0):
        raise RowError("truncated", missing)
    return [missing]


def _with_decord(path: str, container: Any, survey: _Survey, settings: DecodeSettings) -> _Pictures | None:
    index = survey.index
    if not (survey.complete and frames.decord_may_read(container, index)):
        return None
    times = [survey.seconds(tick) for tick in index.ticks]
    wanted = frames.sample(times, survey.duration_s, settings.frames)
    shape = _shape(index.stream, index.first, settings)
    patience_s = _DECORD_SHARE * settings.deadline_s
    batch = frames.read_with_decord(path, wanted, times, shape, patience_s)
    if batch is None:
        return None
    jpegs = tuple(frames.jpeg(picture, settings.jpeg_quality) for picture in batch)
    return _Pictures(tuple(index.ticks[i] for i in wanted), jpegs, shape, "decord")


def _with_pyav(container: Any, survey: _Survey, settings: DecodeSettings) -> _Pictures:
    """Raises RowError (`damaged`) where most of the frames cannot be decoded."""
    index = survey.index
    moments = _moments(survey, settings)
    reader = frames.FrameReader(
        container, index.stream, index.by_decoding_time, index.start, exact=survey.complete
    )
    reformatter = VideoReformatter()
    shape: frames.Geometry | None = None
    pictures: dict[int, bytes] = {}
    lost = 0
    for tick, frame, stale in reader.read(moments):
        lost += stale
        if frame is None or tick in pictures:
            continue
        shape = shape or _shape(index.stream, frame, settings)
        stored = frames.pixels(frame, shape, reformatter)
        pictures[tick] = frames.jpeg(frames.upright(stored, shape.turn), settings.jpeg_quality)
    problem = f"{lost} of {len(moments)} frames could not be decoded"
    if shape is None or lost > len(moments) / 2:
        raise RowError("damaged", problem)
    notes = (f"{problem}; earlier ones stand in for them",) if lost else ()
    return _Pictures(tuple(pictures), tuple(pictures.values()), shape, "pyav", notes)


def _moments(survey: _Survey, settings: DecodeSettings) -> Sequence[int]:
    """The ticks whose frames are wanted: those of the frames themselves where they are known."""
    index = survey.index
    if survey.complete:
        times = [survey.seconds(tick) for tick in index.ticks]
        return [index.ticks[i] for i in frames.sample(times, survey.duration_s, settings.frames)]
    centres = frames.centres(survey.duration_s, settings.frames)
    return [index.start + int(centre / index.stream.time_base) for centre in centres]


def _shape(stream: Any, frame: Any, settings: DecodeSettings) -> frames.Geometry:
    return frames.geometry(
        frame.width,
        frame.height,
        stream.sample_aspect_ratio,
        frames.display_turn(frame),
        settings.longest_side,
    )
