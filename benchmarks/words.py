"""How often the expert `words` speaks on lines of dialogue, and how often it is then right.

    python benchmarks/words.py --lines LINES --gold GOLD

LINES is a table with video_id and text, GOLD one with video_id and labels. The expert is right on a line
where the first state that it names is of the family of a gold label.
"""

import argparse
import sys
from collections import Counter

from emo import vocabulary
from emo.errors import InputError
from emo.evaluation.labels import TEXTS, read, read_labels
from emo.evaluation.text import table
from emo.experts import words


def family(label: str) -> str:
    """The family of a label, or the label itself where the vocabulary does not know it."""
    base = vocabulary.base_form(label) or label
    return vocabulary.family_of(base) or base


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", required=True)
    parser.add_argument("--gold", required=True)
    options = parser.parse_args()
    try:
        lines, gold = read(options.lines, TEXTS).one(), read_labels(options.gold)
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    known = sorted(lines.keys() & gold.keys())
    if not known:
        print("no line has gold labels", file=sys.stderr)
        return 2
    spoken: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for clip in known:
        for state in words.read(lines[clip]).states()[:1]:
            spoken[family(state)] += 1
            right[family(state)] += family(state) in set(map(family, gold[clip]))
    rows = [[name, count, right[name]] for name, count in spoken.most_common()]
    print(table(["family", "spoke", "right"], rows))
    speaks, good = spoken.total(), right.total()
    share = f"right on {good} of them ({good / speaks:.0%})" if speaks else "right on none"
    print(f"{len(known)} lines: spoke on {speaks} ({speaks / len(known):.1%}), {share}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
