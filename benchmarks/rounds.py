"""What asking in rounds keeps and saves, on given votes against human labels.

    python benchmarks/rounds.py --votes VOTES --gold GOLD --wheels DIR [--json PATH]

VOTES is a table of the votes schema that holds every answer, GOLD has video_id and labels, DIR holds the
wheel tables of the benchmark. Prints, for the seven answers of one model and for all seventeen voters of
OV-MERD, F of EW level 1 against answers per clip. Which answer is asked for first is a matter of chance, so
each figure is a mean over orders of the answers. The bound and the rounds are then chosen on one half of the
clips and measured on the other, both ways, for many halves.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from figures import add_json_option, write

from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.ew import ew_mappings
from emo.evaluation.labels import read_labels
from emo.evaluation.rounds import Asked, Outcome, outcomes, told
from emo.evaluation.text import table
from emo.evaluation.wheels import load_wheels

ORDERS = 10
HALVES = 20
BOUNDS = tuple(round(0.05 * step, 2) for step in range(4, 16))
# At most so many points of F lost, at most so large a share of the answers.
GOALS = {"seven samples": (0.75, 0.50), "all seventeen": (1.0, 0.70)}


def sets_of_voters(votes: pa.Table) -> dict[str, tuple[dict[str, int], list[Asked]]]:
    """Per set how often each expert answers, and the rounds that are tried."""
    several = {row["expert"]: row["sample_max"] + 1 for row in _answers(votes).to_pylist()}
    [sampled] = [name for name, count in several.items() if count > 1]
    others = {name: 1 for name in sorted(several) if name != sampled}
    seven = {sampled: several[sampled]}
    return {
        "seven samples": (
            seven,
            [
                ({sampled: 2}, seven),
                ({sampled: 2}, {sampled: 3}, seven),
                ({sampled: 3}, seven),
            ],
        ),
        "all seventeen": (
            {**seven, **others},
            [
                (seven, others),
                ({sampled: 3}, seven, others),
            ],
        ),
    }


def _answers(votes: pa.Table) -> pa.Table:
    return votes.group_by("expert", use_threads=False).aggregate([("sample", "max")])


def in_order(votes: pa.Table, seed: int) -> pa.Table:
    """The votes with the numbers of the answers of each clip and expert in another order."""
    random = np.random.default_rng(seed)
    counts = {row["expert"]: row["sample_max"] + 1 for row in _answers(votes).to_pylist()}
    turned: dict[tuple[str, str], np.ndarray] = {}
    numbers = []
    for clip, expert, sample in zip(
        *(votes.column(name).to_pylist() for name in ("video_id", "expert", "sample")), strict=True
    ):
        if (clip, expert) not in turned:
            turned[clip, expert] = random.permutation(counts[expert])
        numbers.append(int(turned[clip, expert][sample]))
    place = votes.schema.get_field_index("sample")
    return votes.set_column(place, "sample", pa.array(numbers, pa.int32()))


def f_of(outcome: Outcome, clips: np.ndarray) -> float:
    """F in points on some clips."""
    weights = np.zeros(len(outcome.answers))
    weights[clips] = 1
    return 100 * float(outcome.scored.f_of_means(weights)[0].mean())


def share(full: Outcome, one: Outcome, clips: np.ndarray) -> float:
    return float(one.answers[clips].sum() / full.answers[clips].sum())


def chosen(
    full: Sequence[Outcome], found: Sequence[Sequence[Outcome]], clips: np.ndarray, goal: tuple[float, float]
) -> int:
    """Of the ways to ask that stay within the share of the goal, the one that loses least on these clips."""
    shares = [np.mean([share(*pair, clips) for pair in zip(full, way, strict=True)]) for way in found]
    fs = [np.mean([f_of(one, clips) for one in way]) for way in found]
    allowed = [place for place, value in enumerate(shares) if value <= goal[1]]
    return max(allowed, key=lambda place: fs[place])


def measure(
    votes: pa.Table, gold: Mapping[str, tuple[str, ...]], wheels: str, name: str
) -> dict[str, object]:
    samples, tried = sets_of_voters(votes)[name]
    mappings = {
        key: node for key, node in ew_mappings(load_wheels(wheels)).items() if key.endswith("/level1")
    }
    runs = [
        outcomes(in_order(votes, seed), gold, tried, samples, Rule(), mappings, BOUNDS)
        for seed in range(ORDERS)
    ]
    full = [one for one, _ in runs]
    found = list(zip(*(some for _, some in runs), strict=True))
    everything = np.arange(len(full[0].answers))
    whole = float(np.mean([f_of(one, everything) for one in full]))
    points = []
    for way in found:
        fs = [f_of(one, everything) for one in way]
        rounds = way[0].rounds
        assert rounds is not None
        points.append(
            {
                "rounds": _short(rounds.by_then),
                "enough": rounds.enough,
                "answers": float(np.mean([one.answers.mean() for one in way])),
                "share": float(np.mean([share(*pair, everything) for pair in zip(full, way, strict=True)])),
                "f": float(np.mean(fs)),
                "spread": float(np.std(fs)),
                "lost": whole - float(np.mean(fs)),
            }
        )
    lost, cost, ways = [], [], []
    for seed in range(HALVES):
        order = np.random.default_rng(seed).permutation(len(everything))
        for seen, unseen in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            way = chosen(full, found, seen, GOALS[name])
            ways.append(way)
            pairs = list(zip(full, found[way], strict=True))
            lost.append(np.mean([f_of(one, unseen) - f_of(other, unseen) for one, other in pairs]))
            cost.append(np.mean([share(*pair, unseen) for pair in pairs]))
    most = max(set(ways), key=ways.count)
    return {
        "answers_in_full": sum(samples.values()),
        "f_in_full": whole,
        "points": points,
        "kept_apart": {
            "lost": float(np.mean(lost)),
            "lost_spread": float(np.std(lost)),
            "share": float(np.mean(cost)),
            "share_spread": float(np.std(cost)),
            "most_often": f"{points[most]['rounds']} enough {points[most]['enough']:g}",
            "goal": {"lost": GOALS[name][0], "share": GOALS[name][1]},
        },
    }


def _short(by_then: Sequence[Mapping[str, int]]) -> str:
    """The rounds, each as how many answers there are by then where many experts answer."""
    return " ".join(told(one) if len(one) < 3 else f"{{{sum(one.values())} of all}}" for one in by_then)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", required=True)
    parser.add_argument("--gold", required=True)
    parser.add_argument("--wheels", required=True)
    add_json_option(parser)
    options = parser.parse_args()
    try:
        votes, gold = pq.read_table(options.votes), read_labels(options.gold)
        report = {name: measure(votes, gold, options.wheels, name) for name in GOALS}
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name, entry in report.items():
        show(name, entry)
    write(options.json, report)
    return 0


def show(name: str, entry: dict) -> None:
    print(f"{name}: F {entry['f_in_full']:.1f} with all {entry['answers_in_full']} answers")
    rows = [
        [
            point["rounds"],
            f"{point['enough']:g}",
            f"{point['answers']:.2f}",
            f"{point['share']:.0%}",
            f"{point['f']:.1f} ± {point['spread']:.1f}",
            f"{point['lost']:+.2f}",
        ]
        for point in entry["points"]
    ]
    print(table(["rounds", "enough", "answers", "of all", "F (spread over orders)", "lost"], rows))
    apart = entry["kept_apart"]
    print(
        f"{name}, chosen on one half and measured on the other: {apart['lost']:.2f} ± "
        f"{apart['lost_spread']:.2f} points lost at {apart['share']:.0%} ± {apart['share_spread']:.0%} of "
        "the answers (goal: at most "
        f"{apart['goal']['lost']} at {apart['goal']['share']:.0%}); most often {apart['most_often']}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
