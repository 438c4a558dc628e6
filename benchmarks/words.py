"""How often the expert `words` speaks on lines of dialogue, and how often it is then right.

    python benchmarks/words.py --lines LINES --gold GOLD [--quoted COLUMN ...] [--json words.json]

LINES is a table with video_id and text, GOLD one with video_id and labels. With --quoted the lines are what
stands in quotation marks in a column of descriptions, such as `english` and `chinese` of OV-MERD. The expert
is right on a line where the first state that it names is of the family of a gold label.

Figures are told for all lines and for two halves that a hash of the id decides. Half B is kept apart: nobody
reads its lines while the kinds of phrases are written.
"""

import argparse
import re
import sys
from collections import Counter
from typing import Any

from figures import add_json_option, show, write

from emo import vocabulary
from emo.errors import InputError
from emo.evaluation.labels import TEXTS, read, read_labels
from emo.evaluation.text import table
from emo.experts import words
from extraction import half_of

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", required=True)
    parser.add_argument("--gold", required=True)
    parser.add_argument("--quoted", action="append", metavar="COLUMN")
    add_json_option(parser)
    options = parser.parse_args()
    try:
        gold = read_labels(options.gold)
        sources = {column: quoted(options.lines, column) for column in options.quoted or ()} or {
            "lines": read(options.lines, TEXTS).one()
        }
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    figures = {}
    for name, lines in sources.items():
        known = {clip: line for clip, line in lines.items() if clip in gold}
        if not known:
            print(f"{name}: no line has gold labels", file=sys.stderr)
            return 2
        figures[name] = measure(known, gold)
    show(figures)
    write(options.json, figures)
    return 0


def quoted(path: str, column: str) -> dict[str, str]:
    """What stands in quotation marks in each description of a Parquet file, a line for each quotation."""
    import pyarrow.parquet as pq

    found = {}
    for row in pq.read_table(path, columns=["video_id", column]).to_pylist():
        quotations = ["".join(parts) for parts in _QUOTED.findall(row[column])]
        if quotations:
            found[row["video_id"]] = "\n".join(quotations)
    return found


def family(label: str) -> str:
    """The family of a label, or the label itself where the vocabulary does not know it."""
    base = vocabulary.base_form(label) or label
    return vocabulary.family_of(base) or base


def measure(lines: dict[str, str], gold: dict[str, list[str]]) -> dict[str, Any]:
    """The figures of all lines and of each half; prints the families, and no line."""
    spoken: Counter[str] = Counter()
    right: Counter[str] = Counter()
    halves = {name: Counter(lines=0, spoke=0, right=0) for name in ("all", "half_A", "half_B")}
    for clip, line in sorted(lines.items()):
        states = words.read(line).states()[:1]
        named = [family(state) for state in states]
        good = bool(named) and named[0] in set(map(family, gold[clip]))
        for name in named:
            spoken[name] += 1
            right[name] += good
        for half in ("all", f"half_{half_of(clip)}"):
            halves[half].update(lines=1, spoke=bool(named), right=good)
    print(table(["family", "spoke", "right"], [[name, n, right[name]] for name, n in spoken.most_common()]))
    return {name: {**counts, "share_right": share(counts)} for name, counts in halves.items()}


def share(counts: Counter[str]) -> float | None:
    """How often it is right of the times that it spoke; None where it never did."""
    return round(counts["right"] / counts["spoke"], 3) if counts["spoke"] else None


if __name__ == "__main__":
    sys.exit(main())
