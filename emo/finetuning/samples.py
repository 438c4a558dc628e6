"""Training samples: a chat about one clip, and which of its answers are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emo.captions.messages import TAGS, Turn
from emo.errors import RowError


@dataclass(frozen=True)
class Sample:
    """system: None for what the chat template does without one; turns: begins with a user's turn, turns of
    user and assistant alternate, the last is an assistant's; has_media: whether the first turn shows a clip;
    pictures: whether its frames are pictures that stand where the first turn has their tags, and no video.
    """

    sample_id: str
    system: str | None
    turns: tuple[Turn, ...]
    has_media: bool
    pictures: bool = False


def from_turns(
    sample_id: str, turns: Sequence[Turn], system: str | None, has_media: bool, pictures: bool = False
) -> Sample:
    """A sample from a chat with tags for its media; system: where the chat has no system turn of its own.

    The clip stands before the text of the first turn, where the experts show it; the tags go. Those of
    `pictures` stay: a set of pictures is shown as the chat is written. Raises RowError
    `bad_messages` where roles do not alternate or a later turn has media, `untrained` where no answer is to
    be trained.
    """
    left = list(turns)
    if left and left[0].role == "system":
        system = left.pop(0).content
    if left and left[-1].role == "user":
        left.pop()
    tags = tuple(TAGS.values())
    for number, turn in enumerate(left):
        expected = "assistant" if number % 2 else "user"
        if turn.role != expected:
            raise RowError("bad_messages", f"turn {number} is of {turn.role!r}, expected {expected!r}")
        # Few texts hold the first letter of a tag, and a million rows pass here.
        tagged = "<" in turn.content and any(tag in turn.content for tag in tags)
        if number and tagged:
            raise RowError(
                "bad_messages", f"turn {number} has media; only the first user's turn can show any"
            )
        if number or not pictures:
            content = _untagged(turn.content) if tagged else turn.content.strip()
            left[number] = Turn(turn.role, content, turn.loss)
    if not any(turn.trained and turn.content for turn in left):
        raise RowError("untrained", "no answer of the assistant is trained")
    return Sample(sample_id, system, tuple(left), has_media, pictures)


def _untagged(text: str) -> str:
    for tag in TAGS.values():
        text = text.replace(tag, "")
    return text.strip()
