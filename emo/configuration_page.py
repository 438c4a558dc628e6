"""The page docs/configuration.md: every key of the configuration, read off the models that validate it.

`python -m emo.configuration_page > docs/configuration.md` writes it. What a key means stands once, below it.
"""

import json
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from emo import experts, extraction
from emo.config import Config, section_of
from emo.engines.settings import ModelSettings
from emo.experts import protocol
from emo.extraction import protocol as extraction_protocol

_INTRODUCTION = """\
# Keys of the configuration

One YAML file holds all keys (`--config FILE`); `--set key=value` sets one of them. A key is named here by its
path: `ingest.frames` is the key `frames` in the section `ingest`. A default holds where the file does not
have the key. A preset is a file too, and says more than the defaults: `emo label --preset NAME` uses it.
Unknown keys are refused.

Only `experts` is required. `null` is YAML for "nothing". Times that end in `_s` are seconds, sizes in `_mib`
are MiB.

This page is written by `python -m emo.configuration_page`; do not edit it by hand.
"""
_TYPES = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Any: "any value"}
# The configuration fills it in before the model sees it.
_DEFAULTS = {"name": "the kind"}
# Each beside another bound, and alone.
_BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("from", "at least"),
    Gt: ("above", "above"),
    Le: ("to", "at most"),
    Lt: ("to below", "below"),
}


class Key(NamedTuple):
    """One row of a table; all four are Markdown."""

    path: str
    allowed: str
    default: str
    meaning: str


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *_general(), *_experts(), *_extractors()])


def keys(model: type[BaseModel], prefix: str = "") -> list[Key]:
    """Every key of a section and of the sections in it; raises ValueError for a key without a meaning."""
    return [key for name, field in model.model_fields.items() for key in _keys(model, name, field, prefix)]


def _keys(model: type[BaseModel], name: str, field: FieldInfo, prefix: str) -> Iterator[Key]:
    path, inner = f"{prefix}{name}", section_of(field.annotation)
    meaning = field.description or (_opening(inner) if inner else "")
    if not meaning:
        raise ValueError(f"{model.__name__}.{name}: nothing below it says what it means")
    default = _DEFAULTS.get(path) or _default(field)
    yield Key(path, _allowed(field), default, _sentence(meaning))
    if inner:
        yield from keys(inner, f"{path}.")


def _general() -> Iterator[str]:
    plain = []
    for name, field in Config.model_fields.items():
        if model := section_of(field.annotation):
            yield from _part(f"`{name}`", _opening(model), keys(model, f"{name}."))
        else:
            plain += list(_keys(Config, name, field, ""))
    yield from _part("Keys outside a section", "", plain)


def _experts() -> Iterator[str]:
    text = (
        f"`experts` is a list. Each entry has a `kind` ({_names(experts.REGISTRY.own)}) and the keys of "
        "that kind. `--set experts.NAME.key=value` sets one key of the expert of that name. All kinds share "
        "these keys:"
    )
    common = keys(protocol.Settings)
    yield from _part("`experts`", text, common)
    text = (
        "Kinds that load a model into this process, experts and extractors, have these keys too. Where the "
        "table of a kind names one again, that line holds:"
    )
    yield from _part("Models in this process", text, keys(ModelSettings), level=3)
    for kind in sorted(experts.REGISTRY.own):
        model = experts.expert_class(kind).Settings
        yield from _kind("Expert", kind, model, common)


def _extractors() -> Iterator[str]:
    text = (
        "`extract` says how labels are taken from descriptions. It has a `kind` "
        f"({_names(extraction.REGISTRY.own)}) and the keys of that kind; all stand under `extract`, such as "
        "`extract.kind`."
    )
    common = keys(extraction_protocol.Settings)
    yield from _part("`extract`", text, common)
    for kind in sorted(extraction.REGISTRY.own):
        yield from _kind("Extractor", kind, extraction.extractor_class(kind).Settings, common)


def _kind(what: str, kind: str, model: type[BaseModel], common: list[Key]) -> Iterator[str]:
    shared = "the keys that all kinds share"
    known = common
    if issubclass(model, ModelSettings):
        shared += " and those of models in this process"
        known = [*common, *keys(ModelSettings)]
    own = [key for key in keys(model) if key not in known]
    also = f"It has {shared}{'. Its own keys:' if own else ', and no others.'}"
    yield from _part(f"{what} `{kind}`", also, own, level=3)


def _part(title: str, text: str, rows: list[Key], level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} {title}\n"
    if text:
        yield f"{text}\n"
    if rows:
        yield "| key | allowed | default | meaning |\n|---|---|---|---|"
        for row in rows:
            cells = (f"`{row.path}`", row.allowed, row.default, row.meaning)
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


def _names(registry: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(registry))


def _allowed(field: FieldInfo) -> str:
    limits = list(_limits(field))
    allowed = _type(field.annotation)
    if limits and allowed.endswith(" or `null`"):
        return f"{', '.join([allowed.removesuffix(' or `null`'), *limits])}; or `null`"
    return ", ".join([allowed, *limits])


def _limits(field: FieldInfo) -> Iterator[str]:
    bounds: list[Any] = [one for sort in _BOUNDS for one in field.metadata if isinstance(one, sort)]
    if bounds:
        alone = len(bounds) == 1
        yield " ".join(f"{_BOUNDS[type(one)][alone]} {astuple(one)[0]:g}" for one in bounds)
    for one in field.metadata:
        if isinstance(one, MinLen):
            yield f"at least {one.min_length}"
        if pattern := getattr(one, "pattern", None):
            yield f"pattern `{pattern}`"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if section_of(annotation) is annotation:
        return "section"
    if annotation is types.NoneType:
        return "`null`"
    if annotation is SecretStr:
        return "text (secret)"
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if annotation == tuple[SecretStr, ...]:
        return "list of texts (secret)"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {'mappings' if get_origin(arguments[0]) is dict else f'{_type(arguments[0])}s'}"
    if origin is tuple:
        return f"list of {len(arguments)} {_type(arguments[0])}s"
    if origin is dict:
        return f"mapping of names to {_type(arguments[1])}"
    return _TYPES[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def _opening(model: type[BaseModel]) -> str:
    """What a section is, as one text."""
    first = re.split(r"\n\s*\n", model.__dict__.get("__doc__") or "")[0]
    return " ".join(first.split())


def _sentence(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    print(page(), end="")
