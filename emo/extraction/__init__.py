"""Labels from descriptions: the extractors, and the registry that names them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from emo.errors import InputError
from emo.extraction.protocol import Extractor

REGISTRY: dict[str, str] = {
    "model": "emo.extraction.model:ModelExtractor",
    "openai": "emo.extraction.model:ServerExtractor",
    "rules": "emo.extraction.by_rules:RulesExtractor",
}


def extractor_class(kind: str) -> type[Extractor]:
    """The class behind one entry of the registry; raises InputError for an unknown kind."""
    try:
        module, _, name = REGISTRY[kind].partition(":")
    except KeyError:
        raise InputError(
            f"unknown extractor kind {kind!r}; expected one of: {', '.join(sorted(REGISTRY))}"
        ) from None
    return getattr(import_module(module), name)


def load(settings: Mapping[str, Any]) -> Extractor:
    """Make the extractor that validated settings describe."""
    cls = extractor_class(settings["kind"])
    return cls(cls.Settings(**settings))
