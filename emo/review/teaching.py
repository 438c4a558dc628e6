"""What gold labels teach the judge: those of a file, or those that people agree on in an OUT."""

import pyarrow as pa

from emo.cojudgment.gain import Gain, expected_gain
from emo.cojudgment.learning import calibrate, estimate
from emo.cojudgment.rule import Learned, Rule
from emo.evaluation.labels import read_labels
from emo.evaluation.overlap import Labels
from emo.review.gold import LEARNED_FROM, gold_in, reviewed_out


def learn(voters: pa.Table, gold: str | None) -> Learned:
    """What the votes teach: on a gold file, or the reviews of an OUT (calibrated), or without (estimated)."""
    return estimate(voters) if gold is None else calibrate(voters, *gold_of(gold))


def gold_of(gold: str) -> tuple[Labels, str]:
    """The labels of a gold file, or of the reviews of an OUT, and what errors call them."""
    if (out := reviewed_out(gold)) is not None:
        return gold_in(out, LEARNED_FROM), f"the reviews of {out.url}"
    return read_labels(gold), gold


def gain_of(voters: pa.Table, gold: str, rule: Rule) -> Gain:
    """What calibrating on a gold set is expected to gain over a rule on other clips."""
    labels, where = gold_of(gold)
    return expected_gain(voters, labels, rule, where)
