"""What all sections of the configuration have in common."""

import ast
import inspect
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict


def _at_least_one(value: int | str) -> int | str:
    if isinstance(value, int) and value < 1:
        raise ValueError("expected auto or a whole number of at least 1")
    return value


Workers = Annotated[int | Literal["auto"], AfterValidator(_at_least_one)]
"""How many workers a step has; `auto` leaves it to the cluster."""


class Section(BaseModel):
    """Settings that stand beside the code that they set.

    An unknown key is refused. What a key means stands below it, in one or more whole sentences: the page of
    all keys, `emo config` and the JSON schema are made of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for key, meaning in meanings(cls).items():
            properties[key]["description"] = meaning
        return schema


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the keys of a section mean, those included that it has from another: key -> one text.

    Read from the source when somebody asks: every process of a run would pay for it otherwise.
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not issubclass(one, Section) or one is Section:
            continue
        (definition,) = ast.parse(dedent(inspect.getsource(one))).body
        assert isinstance(definition, ast.ClassDef)
        for key, below in pairwise(definition.body):
            if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name):
                found.pop(key.target.id, None)  # what it meant in another section
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                    found[key.target.id] = " ".join(str(below.value.value).split())
    return {key: found[key] for key in model.model_fields if key in found}


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field of this type holds, also where it may be null; None for a plain value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def opening(model: type[BaseModel]) -> str:
    """What a section is, as one text."""
    first = (model.__dict__.get("__doc__") or "").split("\n\n")[0]
    return " ".join(first.split())
