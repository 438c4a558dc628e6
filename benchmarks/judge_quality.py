"""What the co-judgment is worth on real votes against human labels.

    python benchmarks/judge_quality.py --votes VOTES --gold GOLD --wheels DIR [--plots DIR] [--json PATH]

VOTES is a table of the votes schema, GOLD has video_id and labels, DIR holds the wheel tables of the
benchmark. Prints, for four sets of voters of OV-MERD, F of EW level 1 (mean of the five wheels) with its
bootstrap standard error: of the default, of the settings of the knob, of the best single voter, the union and
a plain vote (a label wins that 20 % of the voters wrote), calibrated and cross-validated, with weights
estimated without gold; and how well agreement predicts quality.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from figures import add_json_option, write

from emo import vocabulary
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import calibrate, estimate
from emo.cojudgment.rule import TRADE_OFFS, Learned, Rule
from emo.errors import InputError
from emo.evaluation.bootstrap import compare, f_interval
from emo.evaluation.ew import ew_mappings, ew_overlaps
from emo.evaluation.labels import read_labels
from emo.evaluation.overlap import by_node
from emo.evaluation.text import table
from emo.evaluation.wheels import load_wheels
from emo.pages import charts

TARGETS = {"ten zero-shot": 65.5, "seven samples": 68.4, "all seventeen": 69.0, "three": 65.7}
SPLITS = 20
PLAIN_SHARE = 0.2


def sets_of_voters(votes: pa.Table) -> dict[str, pa.Table]:
    """The four sets of voters that the targets are for."""
    affectgpt = pc.equal(votes["expert"], "affectgpt")
    three = pc.is_in(votes["expert"], value_set=pa.array(["chat-univi", "salmonn", "affectgpt"]))
    return {
        "ten zero-shot": votes.filter(pc.invert(affectgpt)),
        "seven samples": votes.filter(affectgpt),
        "all seventeen": votes,
        "three": votes.filter(pc.and_(three, pc.equal(votes["sample"], 0))),
    }


by_word = vocabulary.normalise


def by_form(word: str) -> str:
    """The headword of a word, where the vocabulary knows it."""
    return vocabulary.base_form(word) or vocabulary.normalise(word)


def plain_vote(votes: pa.Table, of: Callable[[str], str]) -> dict[str, list[str]]:
    """What at least PLAIN_SHARE of the voters of a clip gave; of: what of a word is compared."""
    given: dict[str, list[set[str]]] = {}
    for row in votes.to_pylist():
        if row["labels"]:
            given.setdefault(row["video_id"], []).append({of(label) for label in row["labels"]})
    return {
        video_id: [
            label
            for label, count in sorted(Counter(itertools.chain.from_iterable(voters)).items())
            if count >= PLAIN_SHARE * len(voters) - 1e-9
        ]
        for video_id, voters in given.items()
    }


def labels_of(judgments: pa.Table) -> dict[str, list[str]]:
    return dict(zip(judgments["video_id"].to_pylist(), judgments["labels"].to_pylist(), strict=True))


class Bench:
    """Scores of label sets, and how they hold on random halves of the clips."""

    def __init__(self, gold: dict[str, tuple[str, ...]], wheels: str) -> None:
        self.gold, self.tables = gold, load_wheels(wheels)
        self.ids = np.array(sorted(gold))
        self.halves = [np.random.default_rng(seed).permutation(len(self.ids)) for seed in range(SPLITS)]

    def overlaps(self, predicted: dict[str, list[str]]):
        return ew_overlaps(self.gold, predicted, self.tables)

    def numbers(self, predicted: dict[str, list[str]]) -> dict[str, float]:
        """F, precision and recall in points, standard error, and the spread of F over random halves."""
        scored = self.overlaps(predicted)
        interval = f_interval(scored)
        place = {video_id: number for number, video_id in enumerate(scored.video_ids)}
        halves = []
        for order in self.halves:
            weights = np.zeros(len(self.ids))
            weights[[place[video_id] for video_id in self.ids[order[::2]]]] = 1
            halves.append(scored.f_of_means(weights)[0].mean())
        f, p, r = (100 * part.mean() for part in scored.f_of_means())
        return {
            "f": f,
            "p": p,
            "r": r,
            "standard_error": 100 * interval.standard_error,
            "half_low": 100 * float(np.quantile(halves, 0.1)),
            "half_high": 100 * float(np.quantile(halves, 0.9)),
            "labels": float(np.mean([len(labels) for labels in predicted.values()])),
        }

    def cross_validated(self, votes: pa.Table, splits: int) -> tuple[dict[str, float], float]:
        """Calibrated on one half, measured on the other, and both ways; averages over random halves, and the
        spread of F between them."""
        runs = []
        for order in self.halves[:splits]:
            predicted: dict[str, list[str]] = {}
            for seen, unseen in ((order[::2], order[1::2]), (order[1::2], order[::2])):
                learned = calibrate(votes, {video_id: self.gold[video_id] for video_id in self.ids[seen]})
                other = votes.filter(pc.is_in(votes["video_id"], value_set=pa.array(self.ids[unseen])))
                predicted |= labels_of(judge_votes(other, Rule(learned=learned)))
            runs.append(self.numbers(predicted))
        mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        return mean, float(np.std([run["f"] for run in runs]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plots", help="folder for the plots, as SVG")
    return measured(parser, lambda votes, gold, given: run(votes, gold, given.wheels, given.plots), show)


def measured(parser: argparse.ArgumentParser, run: Callable, show: Callable) -> int:
    """Run a benchmark on votes and gold; run: (votes, gold, options) -> its figures. The exit code."""
    for name in ("votes", "gold", "wheels"):
        parser.add_argument(f"--{name}", required=True)
    add_json_option(parser)
    options = parser.parse_args()
    try:
        report = run(pq.read_table(options.votes), read_labels(options.gold), options)
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    show(report)
    write(options.json, report)
    return 0


def run(votes: pa.Table, gold: dict[str, tuple[str, ...]], wheels: str, plot_folder: str | None) -> dict:
    bench = Bench(gold, wheels)
    report: dict = {"clips": len(gold), "sets": {}, "agreement": {}}
    curves = {}
    for name, some in sets_of_voters(votes).items():
        fused = labels_of(judge_votes(some, Rule()))
        singles = {
            f"{expert}#{sample}": {row["video_id"]: row["labels"] for row in rows.to_pylist()}
            for expert, sample, rows in by_voter(some)
        }
        best = max(singles, key=lambda voter: bench.numbers(singles[voter])["f"])
        against = compare(bench.overlaps(singles[best]), bench.overlaps(fused))
        calibrated, spread = bench.cross_validated(some, 5)
        entry = {
            "target": TARGETS[name],
            "default": bench.numbers(fused),
            "knob": {
                setting: bench.numbers(labels_of(judge_votes(some, Rule.of(setting))))
                for setting in TRADE_OFFS
            },
            "best_single": {"voter": best, **bench.numbers(singles[best])},
            "gain_over_best_single": {
                "points": 100 * against.difference.value,
                "standard_error": 100 * against.difference.standard_error,
                "p_value": against.p_value,
            },
            "plain": {
                "words": bench.numbers(plain_vote(some, by_word)),
                "forms": bench.numbers(plain_vote(some, by_form)),
            },
            "union": bench.numbers(labels_of(judge_votes(some, Rule(share=0.0)))),
            "calibrated": {**calibrated, "spread": spread},
        }
        try:
            learned: Learned | None = estimate(some)
        except InputError as error:
            entry["estimated"] = {"refused": str(error)}
        else:
            entry["estimated"] = bench.numbers(labels_of(judge_votes(some, Rule(learned=learned))))
        report["sets"][name] = entry
        report["agreement"][name] = agreement_curve(bench, some)
        curves[name] = [
            (share, numbers["p"] / 100, numbers["r"] / 100)
            for share in (0.05, 0.08, 0.1, 0.13, 0.15, 0.18, 0.22, 0.26, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
            for numbers in [bench.numbers(labels_of(judge_votes(some, Rule(share))))]
        ]
    if plot_folder:
        draw(Path(plot_folder), report, curves, bench, labels_of(judge_votes(votes, Rule())))
    return report


def by_voter(votes: pa.Table):
    """(expert, sample, its rows) of every voter."""
    pairs = votes.group_by(["expert", "sample"]).aggregate([]).to_pylist()
    for pair in sorted(pairs, key=lambda pair: (pair["expert"], pair["sample"])):
        mine = pc.and_(pc.equal(votes["expert"], pair["expert"]), pc.equal(votes["sample"], pair["sample"]))
        yield pair["expert"], pair["sample"], votes.filter(mine)


def agreement_curve(bench: Bench, votes: pa.Table, groups: int = 4) -> list[dict[str, float]]:
    """F of the clips of each quarter by agreement, low to high."""
    judgments = judge_votes(votes, Rule())
    rows = sorted(
        (row["agreement"], row["video_id"]) for row in judgments.to_pylist() if row["agreement"] is not None
    )
    predicted = labels_of(judgments)
    curve = []
    for part in np.array_split(np.arange(len(rows)), groups):
        ids = [rows[number][1] for number in part]
        scored = ew_overlaps({video_id: bench.gold[video_id] for video_id in ids}, predicted, bench.tables)
        interval = f_interval(scored)
        curve.append(
            {
                "agreement": float(np.mean([rows[number][0] for number in part])),
                "f": 100 * interval.value,
                "standard_error": 100 * interval.standard_error,
                "clips": len(ids),
            }
        )
    return curve


def draw(folder: Path, report: dict, curves: dict, bench: Bench, predicted: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "precision-recall.svg").write_text(
        charts.precision_recall(curves, "Precision and recall over the bar")
    )
    points = [
        (part["agreement"], part["f"] / 100, part["standard_error"] / 100, part["clips"])
        for part in report["agreement"]["all seventeen"]
    ]
    (folder / "agreement.svg").write_text(
        charts.scatter_of_groups(points, "Agreement predicts quality", "agreement of the voters", "F")
    )
    nodes = by_node(bench.gold, predicted, ew_mappings(bench.tables)["wheel1/level2"])
    rows = [
        (node.name, 2 * node.both / (node.gold + node.predicted), f"of {node.gold}")
        for node in nodes
        if node.gold > 4
    ]
    (folder / "labels.svg").write_text(charts.bars(rows, "F per node of wheel 1, level 2"))


def show(report: dict) -> None:
    def row(name: str, what: str, numbers: dict[str, float]) -> list[object]:
        return [
            name,
            what,
            *(f"{numbers[key]:.1f}" for key in ("f", "standard_error", "p", "r")),
            f"{numbers['half_low']:.1f}-{numbers['half_high']:.1f}",
            f"{numbers['labels']:.1f}",
        ]

    rows: list[list[object]] = []
    for name, entry in report["sets"].items():
        rows.append(row(f"{name} (target {entry['target']})", "default", entry["default"]))
        rows.append(row("", f"best single: {entry['best_single']['voter']}", entry["best_single"]))
        rows.append(row("", "union", entry["union"]))
        rows += [row("", f"plain 20 % vote of {what}", found) for what, found in entry["plain"].items()]
        rows.append(
            row(
                "",
                f"calibrated, cross-validated (spread {entry['calibrated']['spread']:.1f})",
                entry["calibrated"],
            )
        )
        if "refused" not in entry["estimated"]:
            rows.append(row("", "weights estimated without gold", entry["estimated"]))
        rows += [row("", setting, numbers) for setting, numbers in entry["knob"].items()]
    print(table(["voters", "rule", "F", "s.e.", "P", "R", "F on halves (80 %)", "labels"], rows))
    for name, entry in report["sets"].items():
        gain = entry["gain_over_best_single"]
        print(
            f"{name}: {gain['points']:+.1f} over the best single voter, standard error "
            f"{gain['standard_error']:.1f}, p = {gain['p_value']:.4f}"
        )
    for name, curve in report["agreement"].items():
        parts = ", ".join(
            f"{part['agreement']:.2f}: {part['f']:.1f} ± {part['standard_error']:.1f}" for part in curve
        )
        print(f"F by quarters of agreement, {name}: {parts}")


if __name__ == "__main__":
    sys.exit(main())
