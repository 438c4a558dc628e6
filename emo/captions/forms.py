"""The forms in which the field writes chats, each as the one form `messages`.

    messages                             role and content (ms-swift, and most hub data sets)
    conversations, or messages           from and value (sharegpt, LLaVA, LLaMA-Factory)
    query, response, history             one pair and those before it (older ms-swift)
    instruction, input, output, history  the same with other names (alpaca)

A key that would change what is trained is used or refused; others, such as an id, are named as not used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from emo.errors import RowError
from emo.sources.record import short

# Name of a medium -> names under which a row may list it; the second is for one of them.
MEDIA = {"images": ("images", "image"), "videos": ("videos", "video"), "audios": ("audios", "audio")}
FRAME_TIMES = "frame_times"
_SYSTEM = ("system", "system_prompt")
_PAIRS = {"query": ("query", None, "response"), "instruction": ("instruction", "input", "output")}
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# Keys of other kinds of training -> what they are for. Without them the same row would mean something else.
_REFUSED = {
    **dict.fromkeys(
        ("rejected_response", "rejected_messages", "rejected", "chosen", "rejected_images"),
        "training on preferences",
    ),
    "loss_scale": "weighing the tokens of a row",
    "tools": "calling tools",
    "objects": "places in a picture",
    "chat_template_kwargs": "another chat template",
}
_OF_A_TURN = {"role", "content", "from", "value", "loss", "loss_scale"}


def as_messages(record: Mapping[str, Any]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The messages of a row, with `loss` where a turn has it, and the keys of the row that are not used.

    Raises RowError `bad_messages` where the row is of no known form, or has a key that would be lost.
    """
    given = {key: value for key, value in record.items() if key == "messages" or not _is_nothing(value)}
    for key, what in _REFUSED.items():
        if key in given:
            raise RowError("bad_messages", f"the row has {key}, which is for {what}; emo does not do that")
    used = {*_SYSTEM, FRAME_TIMES, *(name for names in MEDIA.values() for name in names)}
    turns, keys = _turns(given)
    return _with_system(turns, given), tuple(sorted(given.keys() - used - keys - {"messages"}))


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _turns(given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], set[str]]:
    """The turns without the system's, and the keys that they stood under."""
    for key in ("messages", "conversations", "conversation"):
        if given.get(key) is not None:
            if not isinstance(given[key], list | tuple):
                raise RowError("bad_messages", f"{key} is not a list")
            return [_turn(turn) for turn in given[key]], {key}
    for first, (asked, more, answered) in _PAIRS.items():
        if first in given:
            keys = {asked, answered, "history", *([more] if more else [])}
            pairs = [*_history(given), (_text(given, asked, more), _text(given, answered))]
            return [
                {"role": role, "content": text}
                for pair in pairs
                for role, text in zip(("user", "assistant"), pair, strict=True)
            ], keys
    named = [key for key, value in given.items() if value is not None]
    forms = "messages; conversations; query and response; instruction and output"
    raise RowError(
        "bad_messages", f"the row has {', '.join(named) or 'nothing'}; expected one of the forms: {forms}"
    )


def _turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        raise RowError("bad_messages", f"a message needs role and content, not {short(turn)}")
    given = {key: value for key, value in turn.items() if value is not None}
    names = ("from", "value") if "from" in given else ("role", "content")
    if not set(names) <= given.keys():
        raise RowError("bad_messages", f"a message needs {' and '.join(names)}, not {short(given)}")
    if unknown := sorted(given.keys() - _OF_A_TURN):
        raise RowError("bad_messages", f"a message has {', '.join(unknown)}, which nothing is done with")
    role = given[names[0]]
    made = {"role": _ROLES.get(role, role) if names[0] == "from" else role, "content": given[names[1]]}
    loss = given.get("loss")
    if "loss_scale" in given:
        scale = given["loss_scale"]
        if isinstance(scale, bool) or scale not in (0, 1):
            raise RowError(
                "bad_messages",
                f"loss_scale is {short(scale)}; expected 1 or 0: an answer is trained on or it is not",
            )
        if loss is not None and loss is not bool(scale):
            raise RowError("bad_messages", f"loss is {loss} and loss_scale is {short(scale)}")
        loss = bool(scale)
    return made if loss is None else {**made, "loss": loss}


def _history(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = given.get("history", [])
    fits = isinstance(pairs, list) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in pairs
    )
    if not fits:
        raise RowError("bad_messages", f"history is {short(pairs)}, expected pairs of question and answer")
    return [tuple(pair) for pair in pairs]


def _text(given: Mapping[str, Any], key: str, more: str | None = None) -> str:
    texts = [given.get(name, "") for name in (key, more) if name]
    for name, text in zip((key, more), texts, strict=False):
        if not isinstance(text, str):
            raise RowError("bad_messages", f"{name} is {short(text)}, expected text")
    return "\n".join(filter(None, texts))


def _with_system(turns: list[dict[str, Any]], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    named = [key for key in _SYSTEM if key in given]
    own = [turn["content"] for turn in turns[:1] if turn["role"] == "system"]
    texts = [*(given[key] for key in named), *own]
    if any(text != texts[0] for text in texts):
        raise RowError("bad_messages", f"the row has several system turns: {', '.join(map(short, texts))}")
    return turns if own or not named else [{"role": "system", "content": texts[0]}, *turns]
