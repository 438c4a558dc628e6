"""What is wrong with settings, in one line that shows no credential."""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from emo.section import section_of

# What may hold a credential: no run file shows it, and no command line may have it.
SECRET_KEYS = frozenset(
    {"s3.key", "s3.secret", "s3.token", "nightly.webhook", "nightly.command", "split.diarise.command"}
)
# Of a value in a message.
_LONGEST_SHOWN = 200


def is_secret(path: str) -> bool:
    """Whether a key, or what is below it, may hold a credential."""
    return any(path == key or path.startswith(f"{key}.") for key in SECRET_KEYS)


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Every fault in one line: the path of the key, what was expected, what was there.

    model: what was validated; with it an unknown key is told with the known ones that it resembles.
    """
    faults = []
    for fault in error.errors():
        path = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"unknown key{_near(fault['loc'], model)}"
        elif fault["type"] == "missing":
            message = "is missing"
        elif fault["type"] != "value_error":
            # What was meant as a credential is not shown, whatever is wrong with it.
            shown = type(fault["input"]).__name__ if is_secret(path) else _shown(fault["input"])
            message = f"{message[0].lower()}{message[1:]}, not {shown}"
        faults.append(f"{path}: {message}" if path else message)
    return "; ".join(faults)


def _near(path: tuple[int | str, ...], model: type[BaseModel] | None) -> str:
    *parents, key = map(str, path)
    for parent in parents:
        field = model.model_fields.get(parent) if model else None
        model = section_of(field.annotation) if field else None
    near = get_close_matches(key, model.model_fields) if model else []
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _shown(value: Any) -> str:
    if not isinstance(value, str | int | float | bool | None):
        return type(value).__name__
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
