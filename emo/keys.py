"""Every key of the configuration, read off the models that validate it: what it holds, and what it means."""

import json
import types
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from emo import experts, extraction
from emo.config import KINDS, Config
from emo.section import meanings, opening, section_of

_TYPES = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Any: "any value"}
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


def keys(model: type[BaseModel], prefix: str = "") -> list[Key]:
    """Every key of a section and of the sections in it; raises ValueError for a key without a meaning."""
    return [key for name, field in model.model_fields.items() for key in key_of(model, name, field, prefix)]


def key_of(model: type[BaseModel], name: str, field: FieldInfo, prefix: str = "") -> Iterator[Key]:
    """One key of a section, and those below it."""
    path, inner = f"{prefix}{name}", section_of(field.annotation)
    meaning = meanings(model).get(name) or (opening(inner) if inner else "")
    if not meaning:
        raise ValueError(f"{model.__name__}.{name}: nothing below it says what it means")
    default = (
        "the kind" if path == "name" or (path.startswith("experts.") and name == "name") else _default(field)
    )
    yield Key(path, _allowed(field), default, meaning)
    if inner:
        yield from keys(inner, f"{path}.")


def every_key() -> list[Key]:
    """All keys: of sections as `ingest.frames`, of experts and extractors as `experts.KIND.prompt`."""
    found = [
        key
        for name, field in Config.model_fields.items()
        if name not in KINDS
        for key in key_of(Config, name, field)
    ]
    for kind in sorted(experts.REGISTRY.own):
        found += keys(experts.expert_class(kind).Settings, f"experts.{kind}.")
    for kind in sorted(extraction.REGISTRY.own):
        found += keys(extraction.extractor_class(kind).Settings, f"extract.{kind}.")
    return found


def schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors: all sections, and the keys of each kind."""
    whole = Config.model_json_schema(ref_template="#/$defs/{model}")
    kinds = {
        "experts": [_schema_of(kind, experts.expert_class(kind).Settings) for kind in experts.REGISTRY.own],
        "extract": [
            _schema_of(kind, extraction.extractor_class(kind).Settings) for kind in extraction.REGISTRY.own
        ],
    }
    for of in kinds.values():
        for one in of:
            whole["$defs"].update(one.pop("$defs", {}))
    whole["properties"]["experts"]["items"] = {"anyOf": kinds["experts"]}
    whole["properties"]["extract"] = {"anyOf": kinds["extract"]}
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return whole


def _schema_of(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    found = model.model_json_schema(ref_template="#/$defs/{model}")
    found["properties"]["kind"] = {"const": kind}
    # The configuration fills it in.
    found["required"] = [key for key in found.get("required", []) if key != "name"]
    return found


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
