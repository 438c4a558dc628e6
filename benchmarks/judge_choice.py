"""How the constants of the co-judgment are chosen, and what the choice is worth on clips that it did not see.

    python benchmarks/judge_choice.py --votes VOTES --gold GOLD --wheels DIR [--splits N] [--json PATH]

The clips are parted at random, into two and into ten, N times. On all parts but one the rule is chosen, on
that one it is measured (F of EW level 1, mean of the five wheels), each part in its turn. A rule must hold
for any number of voters, and where one model is asked in rounds: it is chosen by the mean of three, the four
sets of voters, random sets of a few of them, and every set of three and five answers of one model. A bar that
is better than both its neighbours is luck, so each counts with them. Of the rules within one standard error
of the best the one with the fewest constants counts. Beside it: the default, the three experts with weights
from published scores, a plain vote (a label wins that 20 % of the voters wrote), the best single voter and
the union. Then what weights estimated without gold give or cost, on random sets of experts.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from judge_quality import by_form, by_voter, by_word, labels_of, measured, plain_vote, sets_of_voters

from emo.cojudgment import learning
from emo.cojudgment.ballot import Ballot, read_ballot
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import LATER, Rule
from emo.cojudgment.weighing import weigh
from emo.evaluation.ew import ew_overlaps
from emo.evaluation.overlap import Overlaps
from emo.evaluation.text import table
from emo.evaluation.wheels import load_wheels

SHARES = tuple(round(0.01 * step, 2) for step in range(12, 26))
BOOTSTRAP = 100
# F on OV-MERD+ as MER-UniBench publishes it (arXiv 2501.16566, table 2).
PUBLISHED = {"affectgpt": 62.52, "chat-univi": 48.00, "salmonn": 45.00}
CONTRAST = 2.0  # as a calibration weighs the share of labels that are right
PARTS = (2, 10)
FEW = (2, 3, 4, 5, 7)  # voters of a random set
FIRST = (3, 5)  # answers of the one model, of which rounds ask for a few first
SETS = 12  # random sets of so many voters each


@dataclass(frozen=True)
class Choice:
    """A rule. later, least: a label counts by its place, from 0: `later` to the power of the place (None:
    one over the place, from 1), at least `least`; share: the bar. constants: how many numbers it has beside
    the bar."""

    later: float | None
    least: float
    share: float

    @property
    def constants(self) -> int:
        if self.later is None:
            return 1 if self.least else 0
        return 0 if self.later == 1 else 1 if self.later == self.least else 2

    def judge(self, ballot: Ballot) -> dict[str, list[str]]:
        found = weigh(ballot, Rule(self.share))
        words, clips = ballot.words.to_pylist(), ballot.clips.to_pylist()
        labels: dict[str, list[str]] = {clip: [] for clip in clips}
        for word, clip in zip(found.label[found.wins], found.clip[found.wins], strict=True):
            labels[clips[clip]].append(words[word])
        return labels


def _worth(place: np.ndarray, later: float | None, least: float) -> np.ndarray:
    return np.maximum(1 / (1.0 + place) if later is None else later ** np.minimum(place, 60), least)


WORTHS = (
    (1.0, 1.0),
    *((later, later) for later in (0.75, 0.5, 0.3)),
    *((later, least) for later, least in ((0.75, 0.3), (0.5, 0.3), (0.5, 0.1), (0.3, 0.1))),
    *((None, least) for least in (0.0, LATER)),
)
CHOICES = [Choice(*worth, share) for worth in WORTHS for share in SHARES]


def by_each(votes: pa.Table) -> list[dict[str, list[str]]]:
    """The labels by each of CHOICES; the votes are read once for each worth of places."""
    found = []
    for (later, least), some in itertools.groupby(CHOICES, lambda choice: (choice.later, choice.least)):
        ballot = read_ballot(votes, partial(_worth, later=later, least=least))
        found += [choice.judge(ballot) for choice in some]
    return found


def beside_each(values: np.ndarray) -> np.ndarray:
    """The mean over a bar and its neighbours, of values of CHOICES: float64 (choices, ...)."""
    rows = values.reshape(len(WORTHS), len(SHARES), *values.shape[1:])
    near = [rows[:, max(place - 1, 0) : place + 2].mean(axis=1) for place in range(len(SHARES))]
    return np.stack(near, axis=1).reshape(values.shape)


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


def random_few(n_voters: int, size: int) -> list[Sequence[int]]:
    """SETS random sets of so many of the voters."""
    random = np.random.default_rng(size)
    return [random.permutation(n_voters)[:size].tolist() for _ in range(SETS)]


def few_voters(votes: pa.Table, few: Sequence[Sequence[int]]) -> pa.Table:
    """The votes of sets of voters, each as clips of its own: CLIP|SET."""
    voters = [some for _, _, some in by_voter(votes)]
    parts = []
    for number, places in enumerate(few):
        some = pa.concat_tables([voters[place] for place in places])
        names = pc.binary_join_element_wise(some.column("video_id"), f"{number:02d}", "|")
        parts.append(some.set_column(some.schema.get_field_index("video_id"), "video_id", names))
    return pa.concat_tables(parts)


def chosen(scored: list[list[Scored]], weights: np.ndarray, random: np.random.Generator) -> int:
    """The rule for these clips: of those within one standard error of the best the one with the fewest
    constants, of equals the best. scored: groups of sets of voters that count alike."""

    def mean(weights: np.ndarray) -> np.ndarray:
        found = np.mean([np.mean([one.f(weights) for one in some], axis=0) for some in scored], axis=0)
        return beside_each(found)

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
    rules = {name: scored(by_each(some)) for name, some in sets.items()}
    beside = {name: others(some, name) for name, some in sets.items()}
    besides = {name: scored(list(systems.values())) for name, systems in beside.items()}
    whole = np.ones(len(gold))
    singles = {name: [place for place, what in enumerate(beside[name]) if "#" in what] for name in sets}

    def of_few(votes: pa.Table, few: Sequence[Sequence[int]]) -> Scored:
        wanted = {f"{clip}|{number:02d}": gold[clip] for clip in gold for number in range(len(few))}
        some = by_each(few_voters(votes, few))
        return Scored([ew_overlaps(wanted, labels, tables) for labels in some], len(few))

    few = [of_few(votes, random_few(len(list(by_voter(votes))), size)) for size in FEW]
    seven = sets["seven samples"]
    first = [of_few(seven, list(itertools.combinations(range(7), size))) for size in FIRST]
    by = [list(rules.values()), few, first]
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
                f"{parts} parts, chosen {one['times']} times: share {one['share']}, "
                f"{'1/place' if one['later'] is None else one['later']}, at least {one['least']:.2f}"
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
