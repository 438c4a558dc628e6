"""Marks on settings, where they are defined: which of them decide what comes out, and which only how."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel

from emo.section import section_of

_T = TypeVar("_T")
_MARK = object()

NoResult = Annotated[_T, _MARK]
"""The type of a setting that says where and how fast the work is done, and changes no row."""


def deciding(settings: Mapping[str, Any], model: type[BaseModel] | None) -> dict[str, Any]:
    """The settings (`model_dump`) that decide what comes out, nested as `a.b`, by the marks of the model.

    model: what the settings are of; of keys that it does not have, and without one, all decide.
    """
    return dict(_deciding(settings, model, ""))


def _deciding(
    settings: Mapping[str, Any], model: type[BaseModel] | None, before: str
) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        field = model.model_fields.get(key) if model else None
        if field is not None and _MARK in field.metadata:
            continue
        if isinstance(value, dict):
            yield from _deciding(value, section_of(field.annotation) if field else None, f"{before}{key}.")
        else:
            yield before + key, value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two sets of deciding settings, one text each.

    A setting that only one of them has does not count: another version did not know it. A whole section that
    one of them has and the other has as null does.
    """
    changed = {key: (before[key], now[key]) for key in before.keys() & now.keys() if before[key] != now[key]}
    for one, other, turned in ((before, now, False), (now, before, True)):
        for key in one.keys() - other.keys():
            section = {name: value for name, value in other.items() if name.startswith(f"{key}.")}
            if one[key] is None and section:
                changed[key] = (section, None) if turned else (None, section)
    return [f"{key} was {was!r} and is {value!r}" for key, (was, value) in sorted(changed.items())]
