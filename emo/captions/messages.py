"""Chats with media as JSON Lines, the `messages` form that ms-swift reads: one sample per line.

    {"messages": [{"role": "user", "content": "<image><image>\\nWhat does she feel?"},
                  {"role": "assistant", "content": "..."}], "images": ["a.jpg", "b.jpg"]}

A tag (`<image>`, `<video>`, `<audio>`) stands where a medium goes, in the order of the lists `images`,
`videos` and `audios`. A video may be a list of its frames; `frame_times` then says at which second each of
them stands. A line whose tags and media differ in number is refused: to guess which medium is
missing would show a model one clip and tell it of another.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from emo.captions import forms
from emo.errors import InputError, RowError

# How the frames of a clip are written: as one medium, or each as one.
FramesAs = Literal["video", "images"]
# Addresses of what lies in the row itself or on a web server.
_NO_FILES = ("data", "http", "https")
_BOM = b"\xef\xbb\xbf"
ROLES = ("system", "user", "assistant")
# Medium -> its tag.
TAGS = {"images": "<image>", "videos": "<video>", "audios": "<audio>"}


@dataclass(frozen=True)
class Turn:
    """One message. loss: whether it is trained on; None is the rule, which trains on the assistant alone."""

    role: str
    content: str
    loss: bool | None = None

    @property
    def trained(self) -> bool:
        """Whether its tokens are trained on."""
        return self.role == "assistant" and self.loss is not False


Video = str | tuple[str, ...]
"""A file, or its frames in their order."""


@dataclass(frozen=True)
class Sample:
    """One chat with its media: paths or URLs, each list in the order of its tags.

    A video may be the tuple of its frames. frame_times: seconds, for each video one tuple that is as long as
    its frames; () where nobody said. where: names the line. unused: keys of the line that say nothing here.
    """

    turns: tuple[Turn, ...]
    images: tuple[str, ...] = ()
    videos: tuple[Video, ...] = ()
    audios: tuple[str, ...] = ()
    where: str = ""
    frame_times: tuple[tuple[float, ...], ...] = ()
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises RowError `bad_messages`, `media_mismatch` or `untrained`."""
        _check_turns(self.turns)
        if self.frame_times:
            shapes = [len(video) if isinstance(video, tuple) else None for video in self.videos]
            if [len(times) for times in self.frame_times] != shapes:
                raise RowError("media_mismatch", "frame_times does not name a time for each frame of a video")
        for medium, tag in TAGS.items():
            tags = sum(turn.content.count(tag) for turn in self.turns)
            media = len(getattr(self, medium))
            if tags != media:
                raise RowError(
                    "media_mismatch", f"{tags} {tag} in the text and {media} {medium}; expected as many"
                )
        if not any(turn.trained and turn.content.strip() for turn in self.turns):
            raise RowError("untrained", "no turn of the assistant has a text to train on")


def _check_turns(turns: Sequence[Turn]) -> None:
    if not turns:
        raise RowError("bad_messages", "messages is empty")
    for place, turn in enumerate(turns):
        if turn.role not in ROLES:
            raise RowError("bad_messages", f"unknown role {turn.role!r}; expected one of {', '.join(ROLES)}")
        if turn.role == "system" and place:
            raise RowError("bad_messages", "only the first message can be the system's")
        try:
            check_characters(turn.content)
        except ValueError as error:
            raise RowError("bad_messages", str(error)) from None


def check_characters(text: str) -> None:
    """Raise ValueError where a text holds half a character: JSON can write one, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"\\u{ord(text[error.start]):04x} at character {error.start} is half a character"
        ) from None


def tagged(question: str, images: int = 0, audios: int = 0, videos: int = 0) -> str:
    """What a user says: the tags of so many media, then the question."""
    tags = TAGS["videos"] * videos + TAGS["images"] * images + TAGS["audios"] * audios
    return f"{tags}\n{question}" if tags else question


def chat(question: str, answer: str, images: int = 0, audio: bool = False) -> str:
    """The `messages` of one caption as JSON, for the `captions` table.

    Raises RowError `media_tag` where the texts themselves hold a tag, `empty` where there is no answer.
    """
    if not answer.strip():
        raise RowError("empty", "the caption has no text")
    for text in (question, answer):
        for tag in TAGS.values():
            if tag in text:
                raise RowError("media_tag", f"the text holds {tag}, which would stand for a medium")
    turns = [Turn("user", tagged(question, images, int(audio))), Turn("assistant", answer)]
    return json.dumps([_turn_object(turn) for turn in turns], ensure_ascii=False)


def turns_of(messages: str | Sequence[Any]) -> tuple[Turn, ...]:
    """The turns of a `messages` value, parsed or as JSON; raises RowError `bad_messages`."""
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError) as error:
            raise RowError("bad_messages", f"messages is not JSON: {error}") from None
    if not isinstance(messages, list | tuple):
        raise RowError("bad_messages", "messages is not a list")
    return tuple(_turn(message) for message in messages)


def _turn(message: Any) -> Turn:
    if not isinstance(message, dict) or "role" not in message or "content" not in message:
        raise RowError("bad_messages", f"a message needs role and content, not {_short(message)}")
    if not isinstance(message["content"], str):
        raise RowError(
            "bad_messages",
            f"content is {_short(message['content'])}, expected text with tags such as <image>",
        )
    loss = message.get("loss")
    if not isinstance(loss, bool | None):
        raise RowError("bad_messages", f"loss is {_short(loss)}, expected true or false")
    return Turn(str(message["role"]), message["content"], loss)


def read_messages(data: bytes, place: str, folder: str = "") -> Iterator[Sample | RowError]:
    """The samples of a JSON Lines file: one entry per line that is not blank, in their order.

    A line that is no sample gives its RowError (`not_json`, `bad_messages`, `media_mismatch`, `untrained`)
    with `place` and the line's number, and the others stay: the caller counts. folder: what relative paths
    of media are relative to. Raises InputError where the file holds no line at all.
    """
    return (read_line(line, number, place, folder) for number, line in lines_of(data, place))


def lines_of(data: bytes, place: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a JSON Lines file that are not blank, with their numbers; raises as read_messages."""
    lines = io.BytesIO(data)
    if data.startswith(_BOM):
        lines.seek(len(_BOM))
    empty = True
    for number, line in enumerate(lines, start=1):
        if line.strip():
            empty = False
            yield number, line
    if empty:
        raise InputError(f"{place} is empty; expected one JSON object with messages per line")


def read_line(line: bytes, number: int, place: str, folder: str = "") -> Sample | RowError:
    """The sample of one line, as `read_messages` gives it."""
    where = f"{place} line {number}"
    try:
        return _sample(line, where, folder)
    except RowError as error:
        return RowError(error.code, f"{where}: {error.message}")


def _sample(line: bytes, where: str, folder: str) -> Sample:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RowError("not_json", f"not JSON in UTF-8: {error}") from None
    return sample_of(record, where, folder)


def sample_of(record: Any, where: str, folder: str = "") -> Sample:
    """The sample of one row of any form that `forms` knows; raises RowError as Sample and forms do."""
    if not isinstance(record, dict):
        raise RowError("bad_messages", 'expected an object with "messages"')
    chat, unused = forms.as_messages(record)
    media: dict[str, Any] = {medium: _media(record, medium, folder) for medium in TAGS}
    return Sample(turns_of(chat), **media, where=where, frame_times=_frame_times(record), unused=unused)


def _media(record: dict[str, Any], medium: str, folder: str) -> tuple[Any, ...]:
    named = [name for name in forms.MEDIA[medium] if record.get(name)]
    if not named:
        return ()
    if len(named) > 1:
        raise RowError("bad_messages", f"the row has {' and '.join(named)}; expected one of them")
    value = record[named[0]]
    entries = [value] if isinstance(value, str | dict) else value
    if not isinstance(entries, list):
        raise RowError("bad_messages", f"{medium} is {_short(value)}, expected a list of paths")
    return tuple(
        tuple(_path(frame, medium, folder) for frame in entry)
        if medium == "videos" and isinstance(entry, list) and entry
        else _path(entry, medium, folder)
        for entry in entries
    )


def _frame_times(record: dict[str, Any]) -> tuple[tuple[float, ...], ...]:
    value = record.get(forms.FRAME_TIMES) or []
    fits = isinstance(value, list) and all(
        isinstance(times, list)
        and all(isinstance(time, int | float) and not isinstance(time, bool) for time in times)
        and all(0 <= before <= after for before, after in pairwise([0, *times]))
        for times in value
    )
    if not fits:
        raise RowError("bad_messages", f"frame_times is {_short(value)}, expected seconds that grow")
    return tuple(tuple(map(float, times)) for times in value)


def _path(entry: Any, medium: str, folder: str) -> str:
    path = entry.get("path") if isinstance(entry, dict) else entry
    if not isinstance(path, str) or not path:
        held = "bytes" if isinstance(entry, dict) and entry.get("bytes") else _short(entry)
        raise RowError("bad_messages", f"{medium} holds {held}, expected a path")
    scheme, _, rest = path.partition(":")
    if rest and scheme in _NO_FILES:
        raise RowError("bad_messages", f"{medium} holds {_short(path)}; expected a file, or one on S3")
    return _resolve(path, folder)


def _resolve(path: str, folder: str) -> str:
    if not folder or path.startswith("/") or "://" in path:
        return path
    return f"{folder.rstrip('/')}/{path.removeprefix('./')}"


def write_messages(samples: Iterable[Sample]) -> bytes:
    """The samples as JSON Lines; what read_messages reads back."""
    lines = []
    for sample in samples:
        record: dict[str, Any] = {"messages": [_turn_object(turn) for turn in sample.turns]}
        record |= {medium: list(getattr(sample, medium)) for medium in TAGS if getattr(sample, medium)}
        if sample.frame_times:
            record[forms.FRAME_TIMES] = sample.frame_times
        lines.append(json.dumps(record, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines).encode()


def _turn_object(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    return message if turn.loss is None else {**message, "loss": turn.loss}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
