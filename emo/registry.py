"""Names of kinds and the classes behind them: emo's own, and those of packages from outside."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module, resources
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from emo.errors import InputError, one_line

T = TypeVar("T")


class OfKind(Protocol):
    """Validated settings, which say what kind of thing they are of."""

    @property
    def kind(self) -> str: ...


def is_place(kind: str) -> bool:
    """Whether a kind is written as the place of a class, `package.module:Class`."""
    return ":" in kind


def by_file(package: str, ending: str, bases: Collection[str] = ()) -> dict[str, str]:
    """Kind -> the place of its class, of a package with one kind in each file.

    The name of a file is its kind, with a dash for each underscore; its last class whose name ends in
    `ending` is the kind's. bases: files whose classes others extend. The files are read and not imported:
    they load heavy libraries.
    """
    named = re.compile(rf"^class (\w+{ending})\(", re.MULTILINE)
    found = {}
    for file in resources.files(package).iterdir():
        stem = file.name.removesuffix(".py")
        if stem == file.name or stem in bases:
            continue
        if classes := named.findall(file.read_text(encoding="utf-8")):
            found[stem.replace("_", "-")] = f"{package}.{stem}:{classes[-1]}"
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The kinds of one protocol.

    what: `expert`, `extractor` or `metric`; protocol: the class that each of them extends; own: the kinds of
    emo, name to `module:Class`. Packages from outside add names by entry points of the group `emo.experts`
    (or `emo.extractors`, `emo.metrics`). A name of emo is never another package's.

    A class is found by its name wherever it is used, so a worker on another machine finds it too.
    """

    what: str
    protocol: type
    own: Mapping[str, str]

    def names(self) -> list[str]:
        """All kinds that have a name here, sorted."""
        return sorted({*self.own, *(point.name for point in self._outside())})

    def named(self, kind: str) -> type[T]:
        """The class of a kind: a name, or a place such as `package.module:Class`.

        Raises InputError where there is none, where it cannot be imported, and where it does not keep to the
        protocol.
        """
        place = kind if is_place(kind) else self.own.get(kind) or self._outside_place(kind)
        module, _, name = place.partition(":")
        try:
            found: Any = getattr(import_module(module), name)
        except Exception as error:  # the code of another package may raise whatever it likes
            told = f"{self.what} kind {kind!r} cannot be imported from {place!r}: {one_line(error)}"
            raise InputError(told) from error
        if fault := self._fault(found):
            raise InputError(f"{self.what} kind {kind!r}: {place} {fault}")
        return found

    def settings(self, entry: Mapping[str, Any]) -> Any:
        """The settings of an entry of a configuration, validated by its kind.

        Raises InputError where there is no such kind, and pydantic's ValidationError.
        """
        cls: Any = self.named(entry["kind"])
        return cls.Settings(**entry)

    def make(self, settings: OfKind) -> T:
        """The thing that settings describe; its kind is theirs."""
        cls: Any = self.named(settings.kind)
        return cls(settings)

    def _outside(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=f"emo.{self.what}s"))

    def _outside_place(self, kind: str) -> str:
        # A package on two folders of the path is listed twice, with the same place.
        places = sorted({point.value for point in self._outside() if point.name == kind})
        if len(places) > 1:
            raise InputError(
                f"{self.what} kind {kind!r} means {' and '.join(places)}; write the place itself"
            )
        if not places:
            known = ", ".join(self.names())
            raise InputError(
                f"unknown {self.what} kind {kind!r}; expected one of: {known}; or the place of a class as "
                "package.module:Class"
            )
        return places[0]

    def _fault(self, found: Any) -> str | None:
        """What keeps a class from being one of this protocol."""
        if not (isinstance(found, type) and issubclass(found, self.protocol)):
            return f"is no class that extends {_place(self.protocol)}"
        if lacking := getattr(found, "__abstractmethods__", None):
            return f"lacks {', '.join(sorted(lacking))}, which {_place(self.protocol)} asks for"
        settings, needed = (getattr(cls, "Settings", None) for cls in (found, self.protocol))
        if needed and not (isinstance(settings, type) and issubclass(settings, needed)):
            return f"has Settings that do not extend {_place(needed)}"
        return None


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
