"""The data sets of the field: how their names are written, and which share clips (`data_sets.yaml`)."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from emo.errors import InputError

_CHUNK = re.compile(r"[a-z]+|[0-9]+|\+")


@dataclass(frozen=True)
class DataSet:
    """name: as its makers write it; parts: whose clips it holds; spellings: how else it is written."""

    name: str
    parts: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()


@cache
def data_sets() -> dict[str, DataSet]:
    """All that are known, by their names."""
    text = (files("emo.evaluation") / "data_sets.yaml").read_text(encoding="utf-8")
    return {
        name: DataSet(name, tuple(entry.get("parts", ())), (name, *entry.get("also", ())))
        for name, entry in yaml.safe_load(text).items()
    }


def chosen(name: str) -> str:
    """The data set that a user names; raises InputError where emo knows none of that name."""
    if (found := _spelled().get(_plain(name))) is None:
        raise InputError(f"--data-set: emo knows no {name!r}; expected one of {', '.join(data_sets())}")
    return found


def written_in(path: str) -> tuple[str, ...]:
    """The data sets whose names stand in a path, as words of their own; the longest name wins."""
    found, left = [], path.lower()
    spelled = [(word, one.name) for one in data_sets().values() for word in one.spellings]
    for word, name in sorted(spelled, key=lambda pair: (-len(pair[0]), pair[0])):
        chunks = map(re.escape, _CHUNK.findall(word.lower()))
        pattern = rf"(?<![a-z0-9]){'[-_ .]?'.join(chunks)}(?![a-z0-9+])"
        if re.search(pattern, left):
            found.append(name)
            # `ch-sims-v2` is not `ch-sims` too.
            left = re.sub(pattern, "/", left)
    return tuple(dict.fromkeys(found))


def shared(one: str, other: str) -> tuple[str, ...]:
    """The data sets whose clips both hold: the largest of them. A name that emo does not know is its own."""
    both = _within(one) & _within(other)
    inner = {part for name in both for part in _within(name) if part != name}
    return tuple(sorted(both - inner))


def _within(name: str) -> set[str]:
    known = _spelled().get(_plain(name), name)
    found = {known}
    for part in data_sets()[known].parts if known in data_sets() else ():
        found |= _within(part)
    return found


@cache
def _spelled() -> dict[str, str]:
    return {_plain(word): one.name for one in data_sets().values() for word in one.spellings}


def _plain(name: str) -> str:
    """A name without what is written now one way and now another; of a hub id the last part."""
    return "".join(_CHUNK.findall(name.rpartition("/")[2].lower()))
