"""How the constants of the co-judgment are chosen, and what the choice is worth on clips that it did not see.

    python benchmarks/judge_choice.py --votes VOTES --gold GOLD --wheels DIR [--splits N] [--json PATH]

The clips are parted at random, into two and into ten, N times. On all parts but one the rule is chosen, on
that one it is measured (F of EW level 1, mean of the five wheels), each part in its turn. A rule must hold
for any number of voters: it is chosen by the mean of the four sets of voters and of random sets of a few of
them, and of those within one standard error of the best the one with the fewest constants counts. Beside it:
the default, the three experts with weights from published scores, a plain vote (a label wins that 20 % of the
voters wrote), the best single voter and the union. Then what weights estimated without gold give or cost, on
random sets of experts.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from judge_quality import by_form, by_voter, by_word, labels_of, measured, plain_vote, sets_of_voters

from emo.cojudgment import learning
from emo.cojudgment.ballot import read_ballot
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule
from emo.cojudgment.weighing import weigh
from emo.evaluation.ew import ew_overlaps
from emo.evaluation.overlap import Overlaps
from emo.evaluation.text import table
from emo.evaluation.wheels import load_wheels

SHARES = (0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.25, 0.3)
BOOTSTRAP = 200
# F on OV-MERD+ as MER-UniBench publishes it (arXiv 2501.16566, table 2).
PUBLISHED = {"affectgpt": 62.52, "chat-univi": 48.00, "salmonn": 45.00}
CONTRAST = 2.0  # as a calibration weighs the share of labels that are right
PARTS = (2, 10)
FEW = (2, 3, 4, 5, 7)  # voters of a random set
SETS = 12  # random sets of so many voters each


@dataclass(frozen=True)
class Choice:
    """A rule. first to later: what a label counts by its place: `later` to the power of the place, at least
    `least`; share: the bar. constants: how many numbers it has beside the bar."""

    share: float
    later: float
    least: float

    @property
    def constants(self) -> int:
        return 0 if self.later == 1 else 1 if self.later == self.least else 2

    def judge(self, votes: pa.Table) -> dict[str, list[str]]:
        worth = partial(_worth, later=self.later, least=self.least)
        ballot = read_ballot(votes, worth)
        found = weigh(ballot, Rule(self.share))
        words, clips = ballot.words.to_pylist(), ballot.clips.to_pylist()
        labels: dict[str, list[str]] = {clip: [] for clip in clips}
        for word, clip in zip(found.label[found.wins], found.clip[found.wins], strict=True):
            labels[clips[clip]].append(words[word])
        return labels


def _worth(place: np.ndarray, later: float, least: float) -> np.ndarray:
    return np.maximum(later ** np.minimum(place, 60), least)


CHOICES = [
    Choice(share, later, least)
    for (later, least), share in itertools.product(
        ((1.0, 1.0), (0.75, 0.75), (0.5, 0.5), (0.3, 0.3), (0.75, 0.3), (0.5, 0.3), (0.5, 0.1), (0.3, 0.1)),
        SHARES,
    )
]


def prior_weights() -> dict[str, float]:
    """Weights of the three experts from their published scores."""
    mean = float(np.mean(list(PUBLISHED.values())))
    return {name: (score / mean) ** CONTRAST for name, score in PUBLISHED.items()}


class Scored:
    """Per-clip overlaps of several systems on the same clips, and F of any of them on weighted clips."""

    def __init__(self, overlaps: list[Overlaps], sets: int = 1) -> None:
        """sets: how often each clip is there, one after the other; they are averaged."""
        # systems, (precision, recall, counted), wheels, clips
        parts = np.array([[one.precision, one.recall, one.counted] for one in overlaps])
        self._parts = parts.reshape(*parts.shape[:3], -1, sets).mean(axis=4)

    def f(self, weights: np.ndarray) -> np.ndarray:
        """F in points: float64 (systems, ...) for weights (..., clips)."""
        return self._f(self._parts @ np.moveaxis(np.atleast_2d(weights), -1, 0)).reshape(
            len(self._parts), *weights.shape[:-1]
        )

    def f_of_each(self, system: np.ndarray) -> float:
        """F in points where each clip is judged by a system of its own; system: int64 (clips)."""
        parts = self._parts[system, :, :, np.arange(len(system))].sum(axis=0)
        return float(self._f(parts[None, :, :, None])[0, 0])

    @staticmethod
    def _f(summed: np.ndarray) -> np.ndarray:
        """summed: float64 (systems, 3, wheels, n); float64 (systems, n)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p, r = summed[:, 0] / summed[:, 2], summed[:, 1] / summed[:, 2]
            f = np.where(p + r > 0, 2 * p * r / (p + r), 0.0)
        return 100 * f.mean(axis=1)


def few_voters(votes: pa.Table, size: int, random: np.random.Generator) -> pa.Table:
    """The votes of SETS random sets of so many voters, each as clips of its own: CLIP|SET."""
    voters = [some for _, _, some in by_voter(votes)]
    parts = []
    for number in range(SETS):
        some = pa.concat_tables([voters[place] for place in random.permutation(len(voters))[:size]])
        names = pc.binary_join_element_wise(some.column("video_id"), f"{number:02d}", "|")
        parts.append(some.set_column(some.schema.get_field_index("video_id"), "video_id", names))
    return pa.concat_tables(parts)


def chosen(scored: list[list[Scored]], weights: np.ndarray, random: np.random.Generator) -> int:
    """The rule for these clips: of those within one standard error of the best the one with the fewest
    constants, of equals the best. scored: groups of sets of voters that count alike."""

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.mean([np.mean([one.f(weights) for one in some], axis=0) for some in scored], axis=0)

    means = mean(weights)
    best = int(np.argmax(means))
    clips = np.flatnonzero(weights)
    draws = np.zeros((BOOTSTRAP, len(weights)))
    draws[:, clips] = random.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), size=BOOTSTRAP)
    drawn = mean(draws)
    error = (drawn[best] - drawn).std(axis=1)
    near = np.flatnonzero(means >= means[best] - error)
    return min(near, key=lambda place: (CHOICES[place].constants, -means[place]))


def run(votes: pa.Table, gold: dict[str, tuple[str, ...]], wheels: str, splits: int) -> dict:
    tables = load_wheels(wheels)

    gold = {clip: gold[clip] for clip in sorted(gold)}

    def scored(systems: list[dict[str, list[str]]]) -> Scored:
        return Scored([ew_overlaps(gold, system, tables) for system in systems])

    sets = sets_of_voters(votes)
    rules = {name: scored([choice.judge(some) for choice in CHOICES]) for name, some in sets.items()}
    beside = {name: others(some, name) for name, some in sets.items()}
    besides = {name: scored(list(systems.values())) for name, systems in beside.items()}
    whole = np.ones(len(gold))
    singles = {name: [place for place, what in enumerate(beside[name]) if "#" in what] for name in sets}
    wanted = {f"{clip}|{number:02d}": labels for clip, labels in gold.items() for number in range(SETS)}
    few = []
    for size in FEW:
        some = few_voters(votes, size, np.random.default_rng(size))
        few.append(Scored([ew_overlaps(wanted, choice.judge(some), tables) for choice in CHOICES], SETS))
    by = [list(rules.values()), few]
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in sets}
    picked: dict[int, Counter[Choice]] = {}
    for parts in PARTS:
        random = np.random.default_rng(0)
        picked[parts] = Counter()
        for _ in range(splits):
            rule = np.empty(len(gold), dtype=np.int64)
            best = {name: np.empty(len(gold), dtype=np.int64) for name in sets}
            for part in np.array_split(random.permutation(len(gold)), parts):
                seen = whole.copy()
                seen[part] = 0
                rule[part] = place = chosen(by, seen, random)
                picked[parts][CHOICES[place]] += 1
                for name in sets:
                    # The best voter is chosen on the same clips as the rule.
                    best[name][part] = max(singles[name], key=list(besides[name].f(seen)).__getitem__)
            for name in sets:
                entry = rows[name]
                entry.setdefault(f"chosen on other clips, {parts} parts", []).append(
                    rules[name].f_of_each(rule)
                )
                entry.setdefault(f"best single voter, {parts} parts", []).append(
                    besides[name].f_of_each(best[name])
                )
    for name in sets:
        values = besides[name].f(whole)
        rows[name] |= {
            what: [float(values[place])] for place, what in enumerate(beside[name]) if "#" not in what
        }
    in_sample = chosen(by, whole, np.random.default_rng(0))
    return {
        "clips": len(gold),
        "splits": splits,
        "sets": {
            name: {
                what: {"mean": float(np.mean(values)), "spread": float(np.std(values))}
                for what, values in entry.items()
            }
            for name, entry in rows.items()
        },
        "picked": {
            str(parts): [{**vars(choice), "times": times} for choice, times in found.most_common(5)]
            for parts, found in picked.items()
        },
        "picked_on_all_clips": vars(CHOICES[in_sample]),
        "estimated": estimated(votes, scored, whole),
    }


def others(votes: pa.Table, name: str) -> dict[str, dict[str, list[str]]]:
    """What stands beside the chosen rule: system -> labels."""
    found = {
        "default": labels_of(judge_votes(votes, Rule())),
        "plain vote of words": plain_vote(votes, by_word),
        "plain vote of forms": plain_vote(votes, by_form),
        "union": labels_of(judge_votes(votes, Rule(share=0.0))),
    }
    if name == "three":
        found["default, published weights"] = labels_of(judge_votes(votes, Rule(priors=prior_weights())))
    for expert, sample, rows in by_voter(votes):
        found[f"{expert}#{sample}"] = {row["video_id"]: row["labels"] for row in rows.to_pylist()}
    return found


def estimated(votes: pa.Table, scored: Callable, whole: np.ndarray, most_sets: int = 40) -> list[dict]:
    """What weights without gold gain over none, on random sets of so many experts, one sample of each."""
    first = votes.filter(pc.equal(votes["sample"], 0))
    experts = sorted(pc.unique(first["expert"]).to_pylist())
    random, found = np.random.default_rng(0), []
    allowed, learning.MIN_EXPERTS = learning.MIN_EXPERTS, 2
    for size in (3, 4, 5, 6, 8):
        groups = list(itertools.combinations(experts, size))
        places = random.permutation(len(groups))[:most_sets]
        gains = []
        for place in places:
            some = first.filter(pc.is_in(first["expert"], value_set=pa.array(groups[place])))
            learned = learning.estimate(some)
            systems = [labels_of(judge_votes(some, rule)) for rule in (Rule(), Rule(learned=learned))]
            without, with_weights = scored(systems).f(whole)
            gains.append(float(with_weights - without))
        found.append(
            {
                "experts": size,
                "sets": len(gains),
                "gain": float(np.mean(gains)),
                "share_that_gain": float(np.mean(np.array(gains) > 0)),
            }
        )
    learning.MIN_EXPERTS = allowed
    return found


def show(report: dict) -> None:
    rows = [
        [name if not number else "", what, f"{value['mean']:.1f}", f"{value['spread']:.1f}"]
        for name, entry in report["sets"].items()
        for number, (what, value) in enumerate(entry.items())
    ]
    print(f"F on clips that the rule was not chosen on, {report['splits']} times in parts")
    print(table(["voters", "rule", "mean", "spread"], rows))
    for parts, found in report["picked"].items():
        for one in found:
            print(
                f"{parts} parts, chosen {one['times']} times: share {one['share']}, later {one['later']}, "
                f"least {one['least']}"
            )
    print(f"chosen on all clips: {report['picked_on_all_clips']}")
    for one in report["estimated"]:
        print(
            f"weights without gold, {one['experts']} experts: {one['gain']:+.1f} on average of {one['sets']} "
            f"sets, a gain in {one['share_that_gain']:.0%}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=30)
    return measured(parser, lambda votes, gold, given: run(votes, gold, given.wheels, given.splits), show)


if __name__ == "__main__":
    sys.exit(main())
