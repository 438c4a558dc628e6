"""The emotion-wheel tables of MER-UniBench, read from a folder that the user has.

Three steps lead from a label to a node: forms (`format.csv`: form -> base words), synonyms (`synonym.xlsx`,
eight runs of a language model: word -> wheel words), and five published wheels (`wheel1.xlsx` ...
`wheel5.xlsx`, three levels each). The tables are licensed for research only and are not part of emo.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emo.errors import InputError
from emo.sources.record import short
from emo.sources.records import read_records
from emo.sources.sheets import read_sheet

WHEELS = ("wheel1", "wheel2", "wheel3", "wheel4", "wheel5")
LEVELS = ("level1", "level2")
SYNONYM_RUNS = 8


@dataclass(frozen=True)
class WheelTables:
    """The tables of one folder, words in lower case.

    forms: form -> base words, sorted; synonyms: base word -> wheel words, sorted; nodes: wheel -> level ->
    wheel word -> node; defects: what is known to be wrong in these tables, one line each.
    """

    folder: str
    forms: dict[str, tuple[str, ...]]
    synonyms: dict[str, tuple[str, ...]]
    nodes: dict[str, dict[str, dict[str, str]]]
    defects: tuple[str, ...]

    def known(self, word: str) -> bool:
        """Whether the forms table has this word."""
        return word in self.forms

    def base(self, word: str) -> str | None:
        """M1 (`case1`): the first base word."""
        bases = self.forms.get(word)
        return bases[0] if bases else None

    def synonym(self, word: str) -> str | None:
        """M2 (`case2`): the first wheel word of the first base word."""
        base = self.base(word)
        return self.synonyms[base][0] if base is not None else None

    def node(self, word: str, wheel: str, level: str) -> str | None:
        """M3: the node of the first wheel word, of all that any base word leads to, that the wheel has."""
        nodes = self.nodes[wheel][level]
        reached = {raw for base in self.forms.get(word, ()) for raw in self.synonyms[base]}
        return next((nodes[raw] for raw in sorted(reached) if raw in nodes), None)


def load_wheels(folder: str | Path) -> WheelTables:
    """Read the tables in `folder`; raises InputError that names the file or column that is not right."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"wheels: {path} is not a folder")
    names = ["format.csv", "synonym.xlsx", *(f"{wheel}.xlsx" for wheel in WHEELS)]
    absent = [name for name in names if not (path / name).is_file()]
    if absent:
        hint = ""
        if (path / "wheel_mapping.npz").is_file():
            hint = " (wheel_mapping.npz is a pickle and is not read: use the csv and xlsx files)"
        raise InputError(f"wheels: {path} has no {', '.join(absent)}{hint}; expected {', '.join(names)}")
    nodes = {wheel: _levels(path / f"{wheel}.xlsx") for wheel in WHEELS}
    forms = _forms(path / "format.csv")
    synonyms = _synonyms(
        path / "synonym.xlsx", {word for levels in nodes.values() for word in levels["level1"]}
    )
    for base in {base for bases in forms.values() for base in bases}:
        if base not in synonyms:
            raise InputError(f"wheels: {path / 'format.csv'}: {short(base)} is not a word of synonym.xlsx")
    tables = WheelTables(str(path), forms, synonyms, nodes, ())
    return WheelTables(str(path), forms, synonyms, nodes, tuple(_defects(tables)))


def _defects(tables: WheelTables) -> Iterator[str]:
    """Words that the forms table takes for their own opposite ("fear" as a form of "fearless")."""
    inverted = [word for word, bases in tables.forms.items() if word + "less" in bases]
    if not inverted:
        return
    example = "fear" if "fear" in inverted else sorted(inverted)[0]
    lands = {wheel: tables.node(example, wheel, "level1") for wheel in WHEELS}
    shown = ", ".join(f"{node} in {wheel}" for wheel, node in lands.items() if node is not None)
    yield (
        f"format.csv takes {len(inverted)} word(s) for a form of their opposite in -less "
        f"({', '.join(sorted(inverted))}): {example!r} counts as {shown}; the tables of 2026 correct this"
    )


def _forms(path: Path) -> dict[str, tuple[str, ...]]:
    forms: dict[str, set[str]] = {}
    found = read_records(path.read_bytes(), f"wheels: {path}")
    missing = {"name", "format"} - set(found.columns)
    if missing:
        raise InputError(f"wheels: {path} has no column {', '.join(sorted(missing))}")
    for record in found.sound():
        base = record.values["name"]
        for form in [*_items(record.values["format"] or ""), base]:
            forms.setdefault(form, set()).add(base)
    if not forms:
        raise InputError(f"wheels: {path} has no rows")
    return {form: tuple(sorted(bases)) for form, bases in forms.items()}


def _synonyms(path: Path, wheel_words: set[str]) -> dict[str, tuple[str, ...]]:
    rows = _sheet(path)
    header = list(next(rows, ()))
    synonyms: dict[str, set[str]] = {}
    columns = []
    for run in range(1, SYNONYM_RUNS + 1):
        for name in (f"word_run{run}", f"synonym_run{run}"):
            if name not in header:
                raise InputError(f"wheels: {path} has no column {name}")
        columns.append((header.index(f"word_run{run}"), header.index(f"synonym_run{run}")))
    for number, row in enumerate(rows, start=2):
        for word_column, synonym_column in columns:
            if row[word_column] is None:
                continue
            raw = str(row[word_column]).strip().lower()
            if raw not in wheel_words:
                raise InputError(f"wheels: {path} row {number}: {short(raw)} is not a word of any wheel")
            for word in [raw, *_items(str(row[synonym_column] or ""))]:
                synonyms.setdefault(word.strip().lower(), set()).add(raw)
    return {word: tuple(sorted(raws)) for word, raws in synonyms.items()}


def _levels(path: Path) -> dict[str, dict[str, str]]:
    rows = _sheet(path)
    header = list(next(rows, ()))
    for name in ("level1", "level2", "level3"):
        if name not in header:
            raise InputError(f"wheels: {path} has no column {name}")
    columns = [header.index(name) for name in ("level1", "level2", "level3")]
    tree: dict[str, dict[str, list[str]]] = {}
    current = ["", "", ""]  # an empty cell repeats the one above it
    for row in rows:
        for place, column in enumerate(columns):
            if row[column] is not None:
                current[place] = str(row[column]).lower().strip()
        inner, middle, outer = current
        tree.setdefault(inner, {}).setdefault(middle, []).append(outer)
    if not tree:
        raise InputError(f"wheels: {path} has no rows")
    # A word that stands at several places of one wheel belongs to the last of them.
    level1: dict[str, str] = {}
    level2: dict[str, str] = {}
    for inner, middles in tree.items():
        level1[inner] = inner
        level2[inner] = min(middles)  # an inner word has no one middle node: the first by alphabet stands in
        for middle, outers in middles.items():
            for word in (middle, *outers):
                level1[word] = inner
                level2[word] = middle
    return {"level1": level1, "level2": level2}


def _sheet(path: Path) -> Iterator[tuple[object, ...]]:
    try:
        yield from read_sheet(path)
    except InputError as error:
        raise InputError(f"wheels: {error}") from None


def _items(text: str) -> list[str]:
    """The words of a list written as text, with or without brackets and quotation marks."""
    if text.startswith("["):
        text = text[1:]
    if text.endswith("]"):
        text = text[:-1]
    return [item.strip() for item in re.split("['\",]", text) if item.strip()]
