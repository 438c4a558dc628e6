"""Rows of a manifest that are turns of a dialogue: which dialogue, which turn, and whose."""

from collections.abc import Iterable
from typing import Any

from emo.errors import InputError
from emo.sources.record import is_missing, short, text_of

DIALOGUE = ("dialogue_id", "turn", "speaker")
_LARGEST = 2**31 - 1


def read_turn(values: dict[str, Any], where: str) -> tuple[str | None, int | None, str | None]:
    """Dialogue, turn and speaker of a row, each None where it says nothing.

    Raises InputError, which names the row, where a turn is no whole number from 0, or there is a dialogue
    without a turn or a turn without a dialogue. A speaker may stand alone.
    """
    dialogue, speaker = (_name(values.get(name), where, name) for name in ("dialogue_id", "speaker"))
    turn = None if is_missing(values.get("turn")) else _number(values["turn"], where)
    if (dialogue is None) != (turn is None):
        given, lacking = ("dialogue_id", "turn") if turn is None else ("turn", "dialogue_id")
        raise InputError(f"{where} has {given} and no {lacking}; expected both or neither")
    return dialogue, turn, speaker


def refuse_doubled(turns: Iterable[tuple[str | None, int | None, str]], place: str) -> None:
    """Raise InputError where a turn of a dialogue is there twice; turns: dialogue, turn, and what has it."""
    first: dict[tuple[str | None, int | None], str] = {}
    for dialogue, turn, what in turns:
        if dialogue is None:
            continue
        other = first.setdefault((dialogue, turn), what)
        if other != what:
            raise InputError(
                f"{place}: {other} and {what} are both turn {turn} of the dialogue {dialogue!r}; which comes "
                "first cannot be told"
            )


def _name(value: Any, where: str, column: str) -> str | None:
    """A name; a whole number that stands for one, as in many data sets, is taken as its digits."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_missing(value):
        if not float(value).is_integer():
            raise InputError(f"{where}: {column} is {short(value)}, expected text")
        return str(int(value))
    text = text_of(value, where, column)
    return None if text is None else text.strip()


def _number(value: Any, where: str) -> int:
    try:
        # As a float, because pandas writes 3.0 where another row has no turn.
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not number.is_integer() or not 0 <= number <= _LARGEST:
        raise InputError(f"{where}: turn is {short(value)}, expected a whole number from 0")
    return int(number)
