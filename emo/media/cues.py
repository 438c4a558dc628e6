"""The cues of subtitle files, of whatever kind: when something is shown, and which lines.

SubRip, WebVTT and TTML are read here, because pysubs2 (1.8) drops words of files that people have: it joins a
cue whose times it does not know to the one before or loses it, takes a spoken number for a cue's, shows notes
of WebVTT, and refuses TTML whose times count frames, whose namespace is older or whose paragraphs lie deeper.
The other kinds it reads well, once times that it would stumble over are mended.
"""

import html
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pysubs2

# A number with more digits is no time.
_DIGITS = 9

# Possessive throughout: a line that is no line of times is known for it in one go, however long it is.
_TIME = r"[-−+]?\s*+\d++(?:\s*+[:.,;]\s*+\d++)*+"
# An arrow may be typed by hand, or by a word processor.
_ARROW = r"(?:-++\s*+(?:>|&gt;)|=++>|[–—―]\s*+>?|[→⇒➔])"
_TIMING = re.compile(rf"\s*+({_TIME})\s*+{_ARROW}\s*+({_TIME})(.*)", re.DOTALL)
_SIGN = re.compile(r"[>:–—→⇒：＞]|&gt;")
_NARROW = str.maketrans("：，．；＞－", ":,.;>-")
_DIGIT_GROUPS = re.compile(r"\d[^\w\d]*(?:\w[^\w\d]*)?\d")
_WORD = re.compile(r"[^\W\d_]{2,}")
_CLOCK = r"\d+:\d\d?:\d\d?(?:[.,:]\d+)?"
_TWO_CLOCKS = re.compile(rf"\s*({_CLOCK})\s*(?:[^\w\s]{{1,3}})?\s*({_CLOCK})\s*")
_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9]*:[^\s]*|-?[\d.]+%")
_NUMBER = re.compile(r"\s*#?(\d{1,9})[.:)]?\s*")
_NOTE = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>")
_OVERRIDE = re.compile(r"\{(\\[^{}]*)\}")
_COMMENT = re.compile(r"\{[^{}]*\}")
_DRAWING = re.compile(r"\\p(\d+)")
_BREAK = re.compile(r"\\[Nn]")

# A cue, none, and what stands between cues.
WEBVTT_BOXES = (b"vttc", b"vtte", b"vtta")

_ASS = re.compile(
    r"^(?:\[Script Info\]|\[Events\]|Dialogue:[ \t]*(?:Marked=)?\d+,[ \t]*\d+:)", re.MULTILINE | re.IGNORECASE
)
_FRAMED = re.compile(r"^\{-?\d+\}\{-?\d*\}", re.MULTILINE)
_TENTHS = re.compile(r"^\[-?\d+\]\[-?\d*\]", re.MULTILINE)
# Frames are counted in MicroDVD; without a rate in the file the times are only an order.
_USUAL_RATE = 25.0


@dataclass(frozen=True)
class Cue:
    """A piece of a subtitle track: seconds (NaN where they are not known), and its lines.

    speaker: who says it, where the format has a place for that: a voice of WebVTT, a name of ASS.
    """

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None = None


@dataclass(frozen=True)
class Parsed:
    """The cues of a file, in its order; unused: how many lines with words belong to no cue."""

    cues: tuple[Cue, ...]
    unused: int = 0


def parse(text: str) -> Parsed | None:
    """The cues of a text, told by what it holds and not by its name; None where it holds none.

    text: with `\\n` at the ends of lines.
    """
    head = text.lstrip("\ufeff \t\n")
    if head.startswith("WEBVTT"):
        return _timed(head, webvtt=True)
    if head.startswith("<") and (found := _xml(head)) is not None:
        return found
    if _ASS.search(head):
        return Parsed(tuple(_ass(head)))
    timed = _timed(head, webvtt=False)
    if timed.cues:
        return timed
    for pattern, kind in ((_FRAMED, "microdvd"), (_TENTHS, "mpl2")):
        if pattern.search(head):
            return _by_library(head, kind)
    return None


def lines_of(text: str) -> tuple[str, ...]:
    """Lines without tags, drawings and overrides, breaks and entities resolved, empty ones left out."""
    if "{" in text:
        text = _without_drawings(text)
    if "\\" in text:
        text = _BREAK.sub("\n", text).replace("\\h", " ")
    if "<" in text:
        text = _TAG.sub("", text)
    if "&" in text:
        text = html.unescape(text)
    return tuple(line for line in (" ".join(line.split()) for line in text.split("\n")) if line)


def voice_of(text: str) -> str | None:
    """The name in the voice tags of a cue of WebVTT (`<v Anna>`); None without one, or with several."""
    names = {" ".join(html.unescape(name).split()) for name in _VOICE.findall(text)}
    return names.pop() if len(names) == 1 else None


def lines_of_ass(text: str) -> tuple[str, ...]:
    """The lines of an event of ASS, in which everything in braces is not shown."""
    return lines_of(_COMMENT.sub("", _without_drawings(text)))


def _without_drawings(text: str) -> str:
    """Overrides left out, and what stands where drawing is on: coordinates, no words."""
    parts = _OVERRIDE.split(text)
    shown, drawing = [parts[0]], False
    for override, following in zip(parts[1::2], parts[2::2], strict=True):
        modes = _DRAWING.findall(override)
        drawing = modes[-1].strip("0") != "" if modes else drawing
        if not drawing:
            shown.append(following)
    return "".join(shown)


def _timed(text: str, webvtt: bool) -> Parsed:
    """SubRip or WebVTT: lines of times, and after each the lines that are shown."""
    lines = text.split("\n")
    timings = [(place, timing) for place, line in enumerate(lines) if (timing := _timing(line))]
    if not timings:
        return Parsed(())
    ends = [place for place, _ in timings[1:]] + [len(lines)]
    bodies = [lines[place + 1 : end] for (place, _), end in zip(timings, ends, strict=True)]
    before = lines[: timings[0][0]]
    numbers = _Numbers([before, *bodies[:-1]])
    unused = 0 if webvtt else sum(bool(line.strip()) for line in before[: numbers.cut(0)])
    cues = []
    for place, ((_, timing), body) in enumerate(zip(timings, bodies, strict=True), start=1):
        if place < len(timings):
            body = body[: numbers.cut(place)]
        if webvtt:
            # What stands alone right before the next times is their name, unless a number is it.
            named = place < len(timings) and len(body) == ends[place - 1] - timings[place - 1][0] - 1
            body = _without_notes(body, named)
        start, end, beside = timing
        shown = "\n".join([beside, *body])
        cues.append(Cue(start, end, lines_of(shown), voice_of(shown) if webvtt else None))
    return Parsed(tuple(cues), unused)


def _timing(line: str) -> tuple[float, float, str] | None:
    """Start, end and the words on the same line, where it is a line of times; seconds are NaN if unknown."""
    if not _SIGN.search(line):
        return None
    line = line.translate(_NARROW)
    found = _TIMING.match(line)
    exact = "-->" in line
    if found and (exact or (":" in found[1] and ":" in found[2])):
        words = "" if all(map(_SETTING.fullmatch, found[3].split())) else found[3]
        return _seconds(found[1]), _seconds(found[2]), words
    if found := _TWO_CLOCKS.fullmatch(line[:200]):
        return _seconds(found[1]), _seconds(found[2]), ""
    if exact:
        left, _, right = line.partition("-->")
        # Times that nobody can read, but times: groups of digits, and nothing that is a word.
        if all(_DIGIT_GROUPS.search(side) for side in (left, right) if side.strip()) and not _WORD.search(
            left
        ):
            return math.nan, math.nan, ""
    return None


def _seconds(time: str) -> float:
    """Hours, minutes and seconds of a time with any separators, with a fraction or without."""
    sign = -1.0 if time.strip()[0] in "-−" else 1.0
    parts = re.findall(r"\d+", time)
    signs = re.findall(r"[:.,;]", time)
    if any(len(part) > _DIGITS for part in parts[:-1]) or len(parts) > 4:
        return math.nan
    fraction = 0.0
    if len(parts) > 1 and (signs[-1] != ":" or len(parts) == 4):
        fraction = float(f"0.{parts.pop()[:_DIGITS]}")
    elif len(parts[-1]) > _DIGITS:
        return math.nan
    whole = 0.0
    for part in parts:
        whole = whole * 60 + int(part)
    return sign * (whole + fraction)


class _Numbers:
    """Tells the numbers of cues from numbers that are said.

    before: for each cue the lines between the times before it and its own.
    """

    def __init__(self, before: list[list[str]]) -> None:
        self._before = before
        found = [self._candidate(lines) for lines in before]
        standing = sum(one is not None and one[2] for one in found)
        self._numbered = standing * 2 >= len(before)
        self._cuts: list[int] = []
        last: int | None = None
        for place, (lines, one) in enumerate(zip(before, found, strict=True), start=1):
            cut = len(lines)
            if one is not None:
                number, at, alone = one
                expected = number == place or number == (place - 1 if last is None else last + 1)
                if expected or (alone and self._numbered):
                    cut, last = at, number
            self._cuts.append(cut)

    def cut(self, place: int) -> int:
        """Where the lines before the cue end, its number left out."""
        return self._cuts[place]

    @staticmethod
    def _candidate(lines: list[str]) -> tuple[int, int, bool] | None:
        """The number in the last line that is not empty, its place, and whether an empty line precedes it."""
        at = len(lines) - 1
        while at >= 0 and not lines[at].strip():
            at -= 1
        number = _NUMBER.fullmatch(lines[at]) if at >= 0 else None
        if number is None:
            return None
        return int(number[1]), at, at == 0 or not lines[at - 1].strip()


def _without_notes(body: list[str], named: bool) -> list[str]:
    """The lines after a line of times without notes, styles and a name of the cue that follows."""
    kept: list[str] = []
    noted = False
    for place, line in enumerate(body):
        begins = place > 0 and not body[place - 1].strip()
        noted = bool(_NOTE.match(line)) if begins else noted and bool(line.strip())
        if not noted and not (named and begins and place == len(body) - 1):
            kept.append(line)
    return kept


def _ass(text: str) -> Iterator[Cue]:
    """ASS and SSA through pysubs2, of which it is given the events alone, in its order and with its times."""
    names = ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text"]
    events = []
    for line in text.split("\n"):
        kind, colon, rest = line.strip().partition(":")
        if kind.lower() == "format" and "text" in rest.lower():
            names = [name.strip().lower() for name in rest.split(",")]
        elif kind.lower() == "dialogue" and colon:
            fields = dict(zip(names, rest.strip().split(",", len(names) - 1), strict=False))
            if "text" in fields:
                times = (_centiseconds(fields.get(name, "")) for name in ("start", "end"))
                name = fields.get("name") or fields.get("actor") or ""
                events.append(f"Dialogue: 0,{','.join(times)},,{name.strip()},0,0,0,,{fields['text']}")
    read = pysubs2.SSAFile.from_string("\n".join(["[Events]", *events]), format_="ass")
    for event in read.events:
        yield Cue(event.start / 1000, event.end / 1000, lines_of_ass(event.text), event.name.strip() or None)


def _centiseconds(time: str) -> str:
    seconds = _seconds(time) if re.fullmatch(rf"\s*{_TIME}\s*", time) else 0.0
    total = round(100 * min(max(0.0, seconds if math.isfinite(seconds) else 0.0), 99 * 3600))
    return f"{total // 360000}:{total // 6000 % 60:02d}:{total // 100 % 60:02d}.{total % 100:02d}"


def _by_library(text: str, kind: str) -> Parsed | None:
    try:
        read = pysubs2.SSAFile.from_string(text, format_=kind)
    except pysubs2.UnknownFPSError:
        read = pysubs2.SSAFile.from_string(text, format_=kind, fps=_USUAL_RATE)
    except (ValueError, pysubs2.Pysubs2Error):
        return None
    events = read.events
    return Parsed(tuple(Cue(one.start / 1000, one.end / 1000, lines_of_ass(one.text)) for one in events))


def _xml(text: str) -> Parsed | None:
    """TTML of any profile, or SAMI."""
    if text[:6].lower() == "<sami>" or text[:5].lower() == "<sami":
        return _by_library(text, "sami")
    cues = ttml(text)
    return None if cues is None else Parsed(tuple(cues))


def ttml(text: str) -> list[Cue] | None:
    """The paragraphs of a TTML document, whatever its namespace; None where it is none."""
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError:
        return None
    if _local(root) != "tt":
        return None
    return [
        Cue(_ttml_seconds(one.get("begin")), _ttml_seconds(one.get("end")), lines_of_plain(_shown(one)))
        for one in root.iter()
        if _local(one) == "p"
    ]


def webvtt_in_boxes(data: bytes) -> Iterator[str]:
    """The cues in a sample of WebVTT in MP4 (ISO/IEC 14496-30): boxes `vttc` that hold one `payl` each."""
    for kind, body in _boxes(data):
        if kind == b"vttc":
            yield from (text.decode("utf-8", "replace") for name, text in _boxes(body) if name == b"payl")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:
            return
        yield data[place + 4 : place + 8], data[place + 8 : place + size]
        place += size


def lines_of_plain(texts: Iterable[str]) -> tuple[str, ...]:
    """Lines of a text in which nothing but line ends has a meaning."""
    return tuple(line for line in (" ".join(line.split()) for line in "".join(texts).split("\n")) if line)


def _shown(element: ElementTree.Element) -> Iterator[str]:
    """What a paragraph says; white space in its source is no line break."""
    yield re.sub(r"\s+", " ", element.text or "")
    for child in element:
        if _local(child) == "br":
            yield "\n"
        elif _local(child) not in {"metadata", "set", "rt", "rp"}:
            yield from _shown(child)
        yield re.sub(r"\s+", " ", child.tail or "")


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def _ttml_seconds(time: str | None) -> float:
    if time is None:
        return math.nan
    if metric := re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)(h|m|s|ms)\s*", time):
        return float(metric[1]) * {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}[metric[2]]
    clock = re.fullmatch(r"\s*(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,9})?)(?::\d+)?\s*", time)
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else math.nan
