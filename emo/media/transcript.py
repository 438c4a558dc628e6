"""What is said in a clip: from a sidecar file or an embedded subtitle track, as plain text."""

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import av

from emo.errors import RowError

# In the order in which they are preferred.
SIDECARS = (".srt", ".vtt", ".txt")

# Cues of rolling captions touch; a sentence that somebody repeats comes after a pause.
_ROLLING_GAP_S = 0.15

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]")
# One Chinese character between two Latin letters: an accented letter of Latin-1 that GB18030 took for half
# of a character.
_MISREAD = re.compile(r"[A-Za-z][\u4e00-\u9fff][a-z]|[A-Za-z][\u4e00-\u9fff]\s")

# ISO 639-2, as containers name languages, to ISO 639-1.
_LANGUAGES = {
    "ara": "ar", "chi": "zh", "cmn": "zh", "cze": "cs", "ces": "cs", "dan": "da", "deu": "de", "dut": "nl",
    "ell": "el", "eng": "en", "fin": "fi", "fra": "fr", "fre": "fr", "ger": "de", "gre": "el", "heb": "he",
    "hin": "hi", "hun": "hu", "ind": "id", "ita": "it", "jpn": "ja", "kor": "ko", "may": "ms", "msa": "ms",
    "nld": "nl", "nor": "no", "per": "fa", "fas": "fa", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro",
    "rus": "ru", "spa": "es", "swe": "sv", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip

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
class Cue:
    """A piece of a subtitle track: seconds, and its lines."""

    start: float
    end: float
    lines: tuple[str, ...]


def read_sidecar(name: str, data: bytes) -> str:
    """The text of a .srt, .vtt or .txt file; empty where nothing is said.

    UTF-8 and UTF-16 are recognised, other bytes count as GB18030. Cue numbers, times, settings, tags and
    notes are left out; what rolling captions repeat is written once. Raises RowError (`bad_subtitle`) for
    what is no text or has no cues, and ValueError for another file type.
    """
    kind = PurePosixPath(name).suffix.lower()
    if kind not in SIDECARS:
        raise ValueError(f"{name}: a sidecar is one of {', '.join(SIDECARS)}")
    text = _decode(name, data).replace("\r\n", "\n").replace("\r", "\n")
    if kind == ".txt":
        return " ".join(text.split())
    cues = list(_cues(text))
    if not cues and text.strip() and not text.startswith("WEBVTT"):
        raise RowError("bad_subtitle", f"{name}: no line of the form 00:00:01,000 --> 00:00:02,000")
    return join(cues)


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

    def add(self, packet: Any) -> None:
        """Take one packet of the track, in the order of the file."""
        if packet.size == 0 or packet.pts is None:
            return
        try:
            shown = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            return
        start = float(packet.pts * packet.time_base)
        end = start + float((packet.duration or 0) * packet.time_base)
        for line in shown:
            text = line.dialogue.decode("utf-8", "replace").replace(r"\N", "\n").replace(r"\n", "\n")
            self._cues.append(Cue(start, end, _lines(text)))

    def text(self) -> str | None:
        """What the track says, or None where it says nothing."""
        return join(sorted(self._cues, key=lambda cue: cue.start)) or None

    @property
    def language(self) -> str | None:
        """ISO 639-1 where there is such a code, else what the file names, or None."""
        named = (self.stream.language or "und").lower()
        return None if named in {"und", "mis", "mul", "zxx"} else _LANGUAGES.get(named, named)


def _decode(name: str, data: bytes) -> str:
    encodings = ["utf-8-sig", "gb18030"]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif len(data) >= 4 and len(data) % 2 == 0 and b"\x00" in data[:2]:
        # No byte order mark, but the first character is one of ASCII.
        encodings = ["utf-16-be" if data[0] == 0 else "utf-16-le"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if _CONTROL.search(text):
            break
        if encoding == "gb18030" and _MISREAD.search(text):
            break
        return text
    raise RowError("bad_subtitle", f"{name}: not a text in UTF-8, UTF-16 or GB18030")


def _cues(text: str) -> Iterable[Cue]:
    """The cues of SubRip or WebVTT: a line of times, then lines of text up to an empty one."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        timing = _TIMING.match(lines[at])
        at += 1
        if not timing:
            continue
        spoken = []
        while at < len(lines) and lines[at].strip() and not _TIMING.match(lines[at]):
            spoken.append(lines[at])
            at += 1
        if spoken and at < len(lines) and _TIMING.match(lines[at]):
            # No empty line before the next cue: the last line is its number.
            spoken.pop()
        times = timing.groups()
        yield Cue(_seconds(times[:4]), _seconds(times[4:]), _lines("\n".join(spoken)))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _lines(text: str) -> tuple[str, ...]:
    """Lines without tags, entities resolved, empty ones left out."""
    plain = html.unescape(_TAG.sub("", text))
    return tuple(line for line in (" ".join(line.split()) for line in plain.split("\n")) if line)


def _overlap(shown: tuple[str, ...], lines: tuple[str, ...]) -> int:
    """How many of the first lines are the last ones of what was shown."""
    longest = min(len(shown), len(lines))
    return next((n for n in range(longest, 0, -1) if shown[-n:] == lines[:n]), 0)
