"""What asking in rounds keeps and saves, on given votes against human labels.

    python benchmarks/rounds.py --votes VOTES --gold GOLD --wheels DIR [--agree-on WHAT] [--json PATH]

VOTES is a table of the votes schema that holds every answer, GOLD has video_id and labels, DIR holds the
wheel tables of the benchmark, WHAT is `words` or `families`. Prints, for the seven answers of one model and
for all seventeen voters of OV-MERD, F of EW level 1 against answers per clip. Which answer is asked for first
is a matter of chance, and forty orders of the answers differ from the next forty by as much as 0.4 points. So
each figure is a mean over orders in which every set of answers comes first equally often. The rounds and the
bound are then chosen on one half of the clips and measured on the other, both ways, for many halves.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from figures import add_json_option, write

from emo.cojudgment.rounds import AgreeOn
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.ew import ew_mappings
from emo.evaluation.labels import read_labels
from emo.evaluation.rounds import Asked, Outcome, outcomes, told
from emo.evaluation.text import table
from emo.evaluation.wheels import load_wheels

HALVES = 20
# Families agree more often than words.
BOUNDS: dict[AgreeOn, tuple[float, ...]] = {
    "words": tuple(round(0.025 * step, 3) for step in range(8, 27)),
    "families": tuple(round(0.025 * step, 3) for step in range(12, 37)),
}
# At most so many points of F lost, at most so large a share of the answers.
GOALS = {"seven samples": (0.75, 0.50), "all seventeen": (1.0, 0.70)}
# After which numbers of the model's own answers a round may end.
AFTER = {"seven samples": (3, 5), "all seventeen": (3,)}


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
                ({sampled: 3}, seven),
                ({sampled: 3}, {sampled: 5}, seven),
                ({sampled: 3}, {sampled: 4}, {sampled: 5}, seven),
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


def orders(count: int, rounds: Sequence[int]) -> np.ndarray:
    """Orders of `count` answers in which every set of them is there after a round equally often.

    rounds: after how many answers; within one of them the answers take turns. Returns int64 (orders, count).
    """
    found: list[tuple[int, ...]] = [()]
    for before, after in itertools.pairwise((0, *rounds, count)):
        found = [
            (*order, *more)
            for order in found
            for more in itertools.combinations(sorted(set(range(count)) - set(order)), after - before)
        ]
    return np.array(
        [
            np.concatenate([np.roll(part, place) for part in np.split(np.array(order), rounds)])
            for place, order in enumerate(found)
        ]
    )


def in_orders(votes: pa.Table, several: np.ndarray, seed: int = 0) -> pa.Table:
    """The votes once per order, as clips of their own: CLIP|ORDER; one expert's answers have new numbers.

    several: as `orders`. Each clip has the orders in an order of its own.
    """
    random = np.random.default_rng(seed)
    clip = votes.column("video_id").combine_chunks().dictionary_encode()
    own = np.stack([random.permutation(len(several)) for _ in range(len(clip.dictionary))])
    place = np.argsort(several, axis=1)
    [sampled] = [row["expert"] for row in _answers(votes).to_pylist() if row["sample_max"]]
    is_sampled = pc.equal(votes.column("expert"), sampled).to_numpy()
    sample = votes.column("sample").to_numpy()
    parts = []
    for number in range(len(several)):
        turned = place[own[clip.indices.to_numpy(), number], np.where(is_sampled, sample, 0)]
        names = pc.binary_join_element_wise(votes.column("video_id"), f"{number:03d}", "|")
        part = votes.set_column(votes.schema.get_field_index("video_id"), "video_id", names)
        numbers = pa.array(np.where(is_sampled, turned, sample), pa.int32())
        parts.append(part.set_column(part.schema.get_field_index("sample"), "sample", numbers))
    return pa.concat_tables(parts)


class Measured:
    """What one way to ask gives. answers: int64 (clips, orders)."""

    def __init__(self, outcome: Outcome, n_orders: int) -> None:
        self.rounds = outcome.rounds
        self.answers = outcome.answers.reshape(-1, n_orders)
        scored = outcome.scored
        parts = np.stack([scored.precision, scored.recall, scored.counted.astype(np.float64)])
        self._parts = parts.reshape(*parts.shape[:2], -1, n_orders)

    def f(self, clips: np.ndarray) -> np.ndarray:
        """F in points on some clips, per order: float64."""
        p, r, counted = self._parts[:, :, clips].sum(axis=2)
        p, r = p / counted, r / counted
        return 100 * (2 * p * r / (p + r)).mean(axis=0)

    def share(self, full: "Measured", clips: np.ndarray) -> float:
        return float(self.answers[clips].sum() / full.answers[clips].sum())


def chosen(full: Measured, found: Sequence[Measured], clips: np.ndarray, goal: tuple[float, float]) -> int:
    """Which way to ask these clips recommend: for each of the rounds the bound that asks most within the
    share of the goal, and of these ways the best one.

    F has no say in the bound: fewer answers that seem to lose less are the luck of so few clips.
    """
    shares = [way.share(full, clips) for way in found]
    within: dict[str, int] = {}
    for place in sorted(range(len(found)), key=shares.__getitem__):
        rounds = found[place].rounds
        assert rounds is not None
        if shares[place] <= goal[1]:
            within[_short(rounds.by_then)] = place
    return max(within.values(), key=lambda place: found[place].f(clips).mean())


def measure(
    votes: pa.Table, gold: Mapping[str, tuple[str, ...]], wheels: str, name: str, agree_on: AgreeOn
) -> dict[str, object]:
    samples, tried = sets_of_voters(votes)[name]
    mappings = {
        key: node for key, node in ew_mappings(load_wheels(wheels)).items() if key.endswith("/level1")
    }
    turned = orders(max(samples.values()), AFTER[name])
    marked = in_orders(votes, turned)
    wanted = {f"{clip}|{number:03d}": gold[clip] for clip in gold for number in range(len(turned))}
    whole, ways = outcomes(marked, wanted, tried, samples, Rule(), mappings, BOUNDS[agree_on], agree_on)
    full, found = Measured(whole, len(turned)), [Measured(way, len(turned)) for way in ways]
    everything = np.arange(len(full.answers))
    f_in_full = float(full.f(everything).mean())
    points = []
    for way in found:
        assert way.rounds is not None
        f = way.f(everything)
        points.append(
            {
                "rounds": _short(way.rounds.by_then),
                "enough": way.rounds.enough,
                "answers": float(way.answers.mean()),
                "share": way.share(full, everything),
                "f": float(f.mean()),
                "spread": float(f.std()),
                "lost": f_in_full - float(f.mean()),
            }
        )
    lost, cost, picked = [], [], []
    for seed in range(HALVES):
        order = np.random.default_rng(seed).permutation(len(everything))
        for seen, unseen in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            place = chosen(full, found, seen, GOALS[name])
            picked.append(place)
            lost.append(float((full.f(unseen) - found[place].f(unseen)).mean()))
            cost.append(found[place].share(full, unseen))
    most = max(set(picked), key=picked.count)
    return {
        "answers_in_full": sum(samples.values()),
        "orders": len(turned),
        "f_in_full": f_in_full,
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
    parser.add_argument("--agree-on", choices=BOUNDS, default="families", help="what closes a clip")
    add_json_option(parser)
    options = parser.parse_args()
    try:
        votes, gold = pq.read_table(options.votes), read_labels(options.gold)
        report = {name: measure(votes, gold, options.wheels, name, options.agree_on) for name in GOALS}
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
