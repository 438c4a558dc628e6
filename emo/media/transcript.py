"""What is said in a clip: from a sidecar file or an embedded subtitle track, as plain text."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from emo.errors import RowError
from emo.languages import iso_639_1
from emo.media import cues as cue_files
from emo.media import encoding
from emo.media.cues import Cue

# In the order in which they are preferred.
SIDECARS = (".srt", ".vtt", ".ass", ".ssa", ".txt")
# A feature film has a tenth of a megabyte of subtitles.
MAX_SIDECAR_BYTES = 8 * 2**20

# Cues of rolling captions touch; a sentence that somebody repeats comes after a pause.
_ROLLING_GAP_S = 0.15

# Frequent words of English that are no words of the other large languages in Latin script.
_ENGLISH = {
    "the", "you", "your", "yours", "and", "with", "what", "this", "that", "they", "them", "their",
    "there", "these", "those", "would", "should", "could", "because", "she", "who", "why", "how",
    "know", "think", "just", "about", "when", "where", "which", "been", "being", "doing", "going",
    "from", "have", "it's", "i'm", "don't", "can't", "didn't", "isn't", "that's", "you're", "we're",
    "i'll", "i've", "never", "always", "something", "nothing",
}  # fmt: skip
_SCRIPTS = (
    ("kana", re.compile(r"[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")),
    ("hangul", re.compile(r"[\uac00-\ud7af\u1100-\u11ff\u3130-\u318f]")),
    ("han", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")),
)


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says, empty where it says nothing; notes: what was guessed or could not be used."""

    text: str
    notes: tuple[str, ...] = ()


def read_sidecar(
    name: str,
    data: bytes,
    language: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> Sidecar:
    """The text of a subtitle file, or of a plain text (`.txt`) that holds no times.

    start_s, end_s: of a clip that is a part of its file: the cues of which most lies in it.

    What kind of subtitles it is tells the content, not the name. Unicode is recognised with a mark and
    without; what other encoding it may be is told by its letters, and language (ISO 639-1, where the source
    names one) helps. Cue numbers, times, settings, tags, drawings and notes are left out; what rolling
    captions repeat is written once. Raises RowError (`bad_subtitle`) for what is no text or has no cues.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        raise RowError("bad_subtitle", f"{name}: {too_long(len(data))}")
    read = read_cues(name, data, language)
    if start_s is not None:
        return part_of(name, read, start_s, end_s)
    return Sidecar(read.text if read.cues is None else join(read.cues), read.notes)


@dataclass(frozen=True)
class Cues:
    """What a subtitle file holds: its cues in their order; None: it is a plain text, in `text`."""

    cues: tuple[Cue, ...] | None
    text: str = ""
    notes: tuple[str, ...] = ()


def read_cues(name: str, data: bytes, language: str | None = None) -> Cues:
    """The cues of a subtitle file; raises RowError as `read_sidecar`."""
    decoded = encoding.decode(data, language)
    if decoded is None:
        raise RowError("bad_subtitle", f"{name}: not a text in any encoding that is known")
    text = re.sub(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n", decoded.text)
    parsed = cue_files.parse(text)
    if parsed is None and PurePosixPath(name).suffix.lower() != ".txt" and text.strip():
        raise RowError("bad_subtitle", f"{name}: no line of the form 00:00:01,000 --> 00:00:02,000")
    notes = []
    if decoded.guessed:
        notes.append(
            f"subtitles: {name} does not name its encoding; it was read as {decoded.encoding}, a guess"
        )
    if decoded.lost:
        notes.append(f"subtitles: {decoded.lost} bytes of {name} are broken")
    if parsed is None:
        return Cues(None, " ".join(text.split()), tuple(notes))
    if parsed.unused:
        notes.append(f"subtitles: {parsed.unused} lines of {name} have no times and were left out")
    return Cues(parsed.cues, "", tuple(notes))


def part_of(name: str, read: Cues, start_s: float, end_s: float | None) -> Sidecar:
    """What a subtitle file says in a part of its video. Raises RowError (`bad_subtitle`) without times."""
    if read.cues is None:
        raise RowError("bad_subtitle", f"{name}: holds no times, and the clip is a part of its file")
    return Sidecar(join(cut(read.cues, start_s, end_s)), read.notes)


def cut(cues: Iterable[Cue], start_s: float, end_s: float | None) -> list[Cue]:
    """The cues of which most lies in a stretch. Stretches that follow each other have each cue once."""
    end = math.inf if end_s is None else end_s
    return [cue for cue in cues if start_s <= (cue.start + cue.end) / 2 < end]


@dataclass(frozen=True)
class SidecarFile:
    """A sidecar to be read: a local path, its name for a person, the language that the source names, and the
    times of the clip where it is a part of its file.
    """

    path: str
    name: str
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None


def read_file(sidecar: SidecarFile) -> Sidecar:
    """Read a local sidecar; raises RowError (`bad_subtitle`)."""
    data = _bytes_of(sidecar)
    return read_sidecar(sidecar.name, data, sidecar.language, sidecar.start_s, sidecar.end_s)


def cues_of(sidecar: SidecarFile) -> Cues:
    """The cues of a local sidecar, whatever its clip's times; raises RowError (`bad_subtitle`)."""
    return read_cues(sidecar.name, _bytes_of(sidecar), sidecar.language)


def _bytes_of(sidecar: SidecarFile) -> bytes:
    path = Path(sidecar.path)
    try:
        if not path.is_file():
            raise RowError("bad_subtitle", f"{sidecar.name}: not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_SIDECAR_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        raise RowError("bad_subtitle", f"{sidecar.name}: cannot be opened: {error.strerror}") from None
    if len(data) > MAX_SIDECAR_BYTES:
        raise RowError("bad_subtitle", f"{sidecar.name}: {too_long(size)}")
    return data


def too_long(size: int) -> str:
    """What is said of a sidecar of so many bytes."""
    return f"{size / 2**20:.0f} MiB are no subtitles, {MAX_SIDECAR_BYTES // 2**20} MiB are read at most"


def join(cues: Iterable[Cue]) -> str:
    """One text of many cues, what rolling captions show again left out."""
    spoken: list[str] = []
    previous = Cue(0.0, float("-inf"), ())
    for cue in cues:
        if not cue.lines:
            continue
        lines = list(cue.lines)
        if cue.start - previous.end <= _ROLLING_GAP_S and previous.lines:
            repeated = _overlap(previous.lines, cue.lines)
            lines = lines[repeated:]
            if not repeated and lines[0].startswith(previous.lines[-1]):
                # The caption grew by some words.
                spoken.pop()
        spoken += lines
        previous = cue
    return " ".join(spoken)


def guess_language(text: str) -> str | None:
    """`zh`, `ja`, `ko` by the script, `en` by its commonest words; None where neither decides.

    An Asian script decides if more than half of the letters are of it. English needs nine letters in ten
    to be Latin, and among the words three, two of them different, and one in eight that are frequent in it
    and in no other large language.
    """
    letters = sum(character.isalpha() for character in text)
    if not letters:
        return None
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS}
    if counts["kana"] + counts["han"] > letters / 2:
        if not counts["kana"]:
            return "zh"
        return "ja" if counts["kana"] * 5 >= counts["han"] else None
    if counts["hangul"] > letters / 2:
        return "ko"
    if len(re.findall(r"[A-Za-z]", text)) < 0.9 * letters:
        return None
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower().replace("’", "'"))
    found = Counter(word for word in words if word in _ENGLISH)
    if len(found) >= 2 and found.total() >= max(3, len(words) / 8):
        return "en"
    return None


@dataclass
class SubtitleTrack:
    """Collects one embedded text track of a container packet by packet."""

    stream: Any
    done: bool = False
    _cues: list[Cue] = field(default_factory=list)
    _unread: int = 0

    def add(self, packet: Any) -> None:
        """Take one packet of the track, in the order of the file."""
        # Whoever only asks for the language of a text loads no decoder.
        from av import FFmpegError

        if packet.size == 0 or packet.pts is None:
            return
        try:
            shown = self._shown(packet)
        except MemoryError:
            raise
        except FFmpegError:
            return
        start = float(packet.pts * packet.time_base)
        end = start + float((packet.duration or 0) * packet.time_base)
        self._cues += [Cue(start, end, lines, speaker) for lines, speaker in shown]

    def _shown(self, packet: Any) -> list[tuple[tuple[str, ...], str | None]]:
        """The lines of each cue in a packet, and who says them."""
        data = bytes(packet)
        if data[4:8] in cue_files.WEBVTT_BOXES:
            cues = list(cue_files.webvtt_in_boxes(data))
            return [(cue_files.lines_of(text), cue_files.voice_of(text)) for text in cues]
        if self.stream.codec_context is None:
            return self._undecoded(data)
        # Number, layer, style, name, three margins and an effect come before the text.
        events = (event.ass.decode("utf-8", "replace").split(",", 8) for event in packet.decode())
        return [
            (cue_files.lines_of_ass(one[-1]), (one[3].strip() or None) if one[8:] else None) for one in events
        ]

    def _undecoded(self, data: bytes) -> list[tuple[tuple[str, ...], str | None]]:
        """For TTML and some names of WebVTT FFmpeg has no decoder: a packet is a document, or text."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = "\0"
        if encoding.CONTROL.search(text):
            self._unread += 1
            return []
        parsed = cue_files.parse(text)
        if parsed is None:
            return [(cue_files.lines_of(text), cue_files.voice_of(text))]
        return [(cue.lines, cue.speaker) for cue in parsed.cues]

    @property
    def notes(self) -> list[str]:
        """What of the track could not be read."""
        if not self._unread:
            return []
        return [f"subtitles: {self._unread} packets of the track are of a kind that cannot be read"]

    def text(self, start_s: float | None = None, end_s: float | None = None) -> str | None:
        """What the track says, of a part as `cut` gives it, on the file's clock; None for nothing."""
        cues = self.cues if start_s is None else cut(self.cues, start_s, end_s)
        return join(cues) or None

    @property
    def cues(self) -> list[Cue]:
        """The cues, sorted by when they begin on the file's clock."""
        return sorted(self._cues, key=lambda cue: cue.start)

    @property
    def language(self) -> str | None:
        """ISO 639-1 where there is such a code, else what the file names, or None."""
        named = (self.stream.language or "und").lower()
        return None if named in {"und", "mis", "mul", "zxx"} else iso_639_1(named)


def _overlap(shown: tuple[str, ...], lines: tuple[str, ...]) -> int:
    """How many of the first lines are the last ones of what was shown, in time linear in their number."""
    # Knuth, Morris and Pratt: matched[n] is the longest beginning of the lines that ends before n.
    matched = [0]
    for line in lines[1:]:
        matched.append(_longer(lines, matched, matched[-1], line))
    length = 0
    for line in shown[-len(lines) :]:
        length = _longer(lines, matched, length, line)
    return length


def _longer(lines: tuple[str, ...], matched: list[int], length: int, line: str) -> int:
    """The longest beginning of the lines that ends with `line`, where one of `length` ended before it."""
    while length and (length == len(lines) or lines[length] != line):
        length = matched[length - 1]
    return length + (lines[length] == line)
