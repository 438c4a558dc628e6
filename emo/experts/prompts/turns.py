"""The turns before a clip as a part of a prompt."""

from collections.abc import Sequence

from emo.experts.prompts import load_prompt, prompt_sha
from emo.experts.prompts.plain import as_text
from emo.experts.protocol import Turn

_SOMEBODY = "Somebody"
_UNKNOWN = "(the words are not known)"
_NEXT = "The next turn is this clip. The speaker is {}."


class PreviousTurns:
    """How turns are told; sha: the hash of all texts that it puts around them."""

    def __init__(self) -> None:
        self._text = load_prompt("previous-turns").text
        self.sha = prompt_sha(self._text, _SOMEBODY, _UNKNOWN, _NEXT)

    def told(self, turns: Sequence[Turn], speaker: str | None) -> str:
        """A line per turn, oldest first, and who speaks in the clip itself; empty where there is no turn.

        What comes from outside is text: no control token, and no line of its own.
        """
        if not turns:
            return ""
        lines = [f"{_plain(turn.speaker) or _SOMEBODY}: {_said(turn)}" for turn in turns]
        if name := _plain(speaker):
            lines.append(_NEXT.format(name))
        return self._text.replace("{turns}", "\n".join(lines))

    def above(self, question: str, turns: Sequence[Turn], speaker: str | None) -> str:
        """A question with the turns told before it."""
        return "\n\n".join(part for part in (self.told(turns, speaker), question) if part)


def _said(turn: Turn) -> str:
    text = _plain(turn.text)
    return f'"{text}"' if text else _UNKNOWN


def _plain(text: str | None) -> str:
    return as_text(" ".join((text or "").split()))
