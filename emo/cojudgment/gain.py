"""What a calibration is worth on clips that it has not seen, cross-validated on the gold set itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import gold_votes, learn_from
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.bootstrap import Interval, compare
from emo.evaluation.ew import own_mappings
from emo.evaluation.overlap import Labels, Overlaps, overlaps

FOLDS = 5
REPEATS = 4


@dataclass(frozen=True)
class Gain:
    """F without and with the calibration, on clips that it was not learned on, and their difference with its
    interval: 0 to 1, over emo's own clusters. clips: of the gold set."""

    without: float
    calibrated: float
    difference: Interval
    clips: int

    @property
    def helps(self) -> bool:
        """Whether it is expected to gain anything."""
        return self.difference.value > 0

    def __str__(self) -> str:
        points = [100 * value for value in (self.difference.value, self.difference.low, self.difference.high)]
        return (
            f"expected gain {points[0]:+.1f} points of F on other clips ({self.difference.level:.0%}: "
            f"{points[1]:+.1f} to {points[2]:+.1f}), {100 * self.without:.1f} without and "
            f"{100 * self.calibrated:.1f} with it (clusters, cross-validated on {self.clips} clips)"
        )


def expected_gain(
    votes: pa.Table, gold: Mapping[str, Sequence[str]], rule: Rule, where: str = "gold"
) -> Gain:
    """What `calibrate` is expected to gain over `rule` on other clips.

    The clips are parted at random into FOLDS parts, REPEATS times. Each part is judged with what the others
    teach; where they teach nothing, with `rule`. A clip's precision and recall are averaged over the repeats,
    and the interval comes from drawing clips anew (`compare`). Raises InputError as `calibrate` does, and
    where no gold label is in the vocabulary.
    """
    votes = gold_votes(votes, gold, where)
    ids = np.array(sorted(set(votes["video_id"].to_pylist())))
    wanted = {str(video_id): gold[video_id] for video_id in ids}
    plain = _scored(wanted, judge_votes(votes, rule))
    random = np.random.default_rng(0)
    runs = []
    for _ in range(REPEATS):
        parts = np.array_split(random.permutation(len(ids)), FOLDS)
        judged = [_judged_apart(votes, wanted, rule, set(ids[part]), where) for part in parts]
        runs.append(_scored(wanted, pa.concat_tables(judged)))
    averaged = replace(
        plain,
        precision=np.mean([run.precision for run in runs], axis=0),
        recall=np.mean([run.recall for run in runs], axis=0),
    )
    if not plain.counted.any():
        raise InputError(f"{where}: none of its labels is in the vocabulary, so no gain can be told")
    return Gain(
        float(plain.f_of_means()[0].mean()),
        float(averaged.f_of_means()[0].mean()),
        compare(plain, averaged).difference,
        len(ids),
    )


def _judged_apart(votes: pa.Table, gold: Labels, rule: Rule, apart: set[str], where: str) -> pa.Table:
    """The judgments of the clips of `apart` by what the others teach."""
    unseen = pc.is_in(votes["video_id"], value_set=pa.array(sorted(apart)))
    try:
        learned = learn_from(votes.filter(pc.invert(unseen)), gold, where)
    except InputError:
        return judge_votes(votes.filter(unseen), rule)
    known = pc.is_in(votes["expert"], value_set=pa.array(sorted(learned.weights)))
    return judge_votes(votes.filter(pc.and_(unseen, known)), replace(rule, learned=learned))


def _scored(gold: Labels, judgments: pa.Table) -> Overlaps:
    predicted = dict(zip(judgments["video_id"].to_pylist(), judgments["labels"].to_pylist(), strict=True))
    return overlaps(gold, predicted, {"clusters": own_mappings()["clusters"]})
