"""Emotion words: their forms in English and Chinese, clusters of near-synonyms, families, valence, arousal.

The data is `words.tsv` (one headword per line) and `clusters.tsv` (one cluster per line), written for this
project. A headword is an English word fit for a label set, mostly the adjective (`happy`, not `happiness`).
The vocabulary is open: what it does not know is a label all the same, and no function here drops one.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from emo.errors import InputError
from emo.vocabulary.degrees import without_adverb, without_degree
from emo.vocabulary.forms import expand
from emo.vocabulary.no_label import Entry, entry_kind

# Marks a form that is also an everyday word (`content`, `low`, `heavy`).
_EVERYDAY = "?"
AFFECT = "affect"
STANCE = "stance"
_SPACE = re.compile(r"\s+")
_PARTS = re.compile(r"[\s-]+")


@dataclass(frozen=True)
class Word:
    """One headword.

    forms: English, without the headword; chinese: words of the same meaning; everyday: those of headword,
    forms and chinese that name an emotion only where the text says so ("feels low", "a heavy mood");
    kind: AFFECT, or STANCE for what is as much a way to think or behave (confident, stern, caring);
    valence and arousal: -1 to 1.
    """

    headword: str
    cluster: str
    family: str
    kind: str
    valence: float
    arousal: float
    forms: tuple[str, ...]
    chinese: tuple[str, ...]
    everyday: frozenset[str]


def _rows(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table of this package, each with its place for error messages."""
    header: list[str] | None = None
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        if header is None:
            header = cells
            continue
        if len(cells) > len(header):
            raise InputError(f"{name}:{number}: {len(cells)} columns, expected at most {len(header)}")
        yield f"{name}:{number}", dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _scale(cell: str, default: float, place: str) -> float:
    if not cell:
        return default
    number = float(cell)
    if not -1 <= number <= 1:
        raise InputError(f"{place}: {cell} is outside -1 to 1")
    return number


def _unmark(cell: str, words_of_cell: list[str], everyday: set[str]) -> list[str]:
    """The words that a cell stands for; where the cell carries the mark they go into `everyday` too."""
    if cell.startswith(_EVERYDAY):
        everyday.update(words_of_cell)
    return words_of_cell


@cache
def words() -> Mapping[str, Word]:
    """Headword -> Word, in the order of the word list. Raises InputError where the word list is broken."""
    kinds = {row["cluster"]: row for _, row in _rows("clusters.tsv")}
    found: dict[str, Word] = {}
    for place, row in _rows("words.tsv"):
        everyday: set[str] = set()
        [headword] = _unmark(row["word"], [row["word"].removeprefix(_EVERYDAY)], everyday)
        if headword in found:
            raise InputError(f"{place}: {headword!r} is there twice")
        if row["cluster"] not in kinds:
            raise InputError(f"{place}: unknown cluster {row['cluster']!r}")
        cluster = kinds[row["cluster"]]
        forms: list[str] = []
        for cell in filter(None, (cell.strip() for cell in row["forms"].split(","))):
            forms += _unmark(cell, expand(headword, cell.removeprefix(_EVERYDAY)), everyday)
        chinese: list[str] = []
        for cell in row["chinese"].split():
            chinese += _unmark(cell, [cell.removeprefix(_EVERYDAY)], everyday)
        found[headword] = Word(
            headword=headword,
            cluster=row["cluster"],
            family=cluster["family"],
            kind=cluster["kind"],
            valence=_scale(row["valence"], float(cluster["valence"]), place),
            arousal=_scale(row["arousal"], float(cluster["arousal"]), place),
            forms=tuple(dict.fromkeys(form for form in forms if form != headword)),
            chinese=tuple(chinese),
            everyday=frozenset(everyday),
        )
    return MappingProxyType(found)


@cache
def forms() -> Mapping[str, Word]:
    """Every form, English and Chinese, headwords included -> its Word; no form belongs to two words."""
    owner: dict[str, Word] = dict(words())
    for word in words().values():
        for form in word.forms + word.chinese:
            if form in owner:
                raise InputError(f"{form!r} belongs to {owner[form].headword!r} and to {word.headword!r}")
            owner[form] = word
    return MappingProxyType(owner)


@cache
def longest_form() -> int:
    """The most words of an English form and the most characters of a Chinese one, whichever is larger."""
    return max(len(form) if "\u3400" <= form[0] <= "\u9fff" else len(form.split()) for form in forms())


@cache
def clusters() -> Mapping[str, tuple[str, ...]]:
    """Cluster -> its headwords."""
    members: dict[str, list[str]] = {}
    for word in words().values():
        members.setdefault(word.cluster, []).append(word.headword)
    return MappingProxyType({cluster: tuple(headwords) for cluster, headwords in members.items()})


def _is_edge(character: str) -> bool:
    return unicodedata.category(character)[0] in "PZSC"


def normalise(label: str) -> str:
    """The label as it is compared: NFKC, casefolded, inner space folded, no punctuation at its ends.

    A label that is nothing but punctuation becomes the empty string; every other one stays a label.
    """
    text = _SPACE.sub(" ", unicodedata.normalize("NFKC", label).casefold())
    start, end = 0, len(text)
    while start < end and _is_edge(text[start]):
        start += 1
    while end > start and _is_edge(text[end - 1]):
        end -= 1
    return text[start:end]


@cache
def _spellings() -> Mapping[str, tuple[str, ...]]:
    """A form without its spaces and hyphens -> the forms that are written so."""
    found: dict[str, list[str]] = {}
    for form in forms():
        found.setdefault(_PARTS.sub("", form), []).append(form)
    return MappingProxyType({squeezed: tuple(written) for squeezed, written in found.items()})


def _joints(form: str) -> set[int]:
    """After how many letters a form has a space or a hyphen."""
    parts = _PARTS.split(form)
    return {sum(map(len, parts[:place])) for place in range(1, len(parts))}


def _spelt(word: str) -> Word | None:
    """The word that is written with other spaces or hyphens ("self conscious"; not "a tease")."""
    for form in _spellings().get(_PARTS.sub("", word), ()):
        if _joints(form) <= _joints(word) or _joints(word) <= _joints(form):
            return forms()[form]
    return None


@cache
def entry(word: str) -> Word | None:
    """What the vocabulary knows of a word in any of its forms, English or Chinese; None when unknown.

    A form may be spelt with other spaces and hyphens, and say a degree ("a bit nervous").
    """
    known = forms()
    label = normalise(word)
    plain = without_degree(label)
    return known.get(word) or known.get(label) or _spelt(label) or known.get(plain) or _spelt(plain)


def own_form(label: str) -> str:
    """What labels of one meaning have in common where the vocabulary knows them not: neither degree nor
    spaces and hyphens.
    """
    return _PARTS.sub("", without_adverb(normalise(label)))


def entry_of_list(label: str) -> Entry:
    """What one entry of a list of labels is: a label, a statement that there is none, or no label at all."""
    return entry_kind(normalise(label), lambda words: entry(words) is not None)


def base_form(word: str) -> str | None:
    """The headword of a word in any of its forms; None when unknown."""
    found = entry(word)
    return found.headword if found else None


def cluster_of(word: str) -> str | None:
    """The cluster of near-synonyms that a word belongs to; None when unknown."""
    found = entry(word)
    return found.cluster if found else None


def family_of(word: str) -> str | None:
    """The family of clusters that a word belongs to; None when unknown."""
    found = entry(word)
    return found.family if found else None


def valence(word: str) -> float | None:
    """How pleasant the emotion is, -1 to 1; None when unknown."""
    found = entry(word)
    return found.valence if found else None


def arousal(word: str) -> float | None:
    """How aroused the emotion is, -1 to 1; None when unknown."""
    found = entry(word)
    return found.arousal if found else None
