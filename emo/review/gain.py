"""Whether further reviews are worth it: what the last ones taught the judge, and what the next ones may."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.captions.splits import video_of
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import MIN_CLIPS, calibrate
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.evaluation.bootstrap import paired, per_clip_f
from emo.evaluation.ew import own_mappings
from emo.evaluation.overlap import Overlaps, overlaps
from emo.review.gold import LEARNED_FROM, gold_in
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import VOTES

LAST = 20
"""Clips whose gain is measured."""
WORTH = 0.005
"""Half a point of F: what so many further clips must promise."""
FOLDS = 5
LEAST = math.ceil(MIN_CLIPS * FOLDS / (FOLDS - 1)) + LAST
"""Fewer clips cannot be told apart in parts to learn from and parts to score."""


@dataclass(frozen=True)
class Gain:
    """F, 0 to 1, of the judge on clips that it did not learn from. without: in its default setting; now:
    calibrated on the clips; gain: now minus calibrated without the last LAST, with its 95 % interval;
    further: clips that promise WORTH for every LAST of them.
    """

    clips: int
    without: float
    now: float
    gain: float
    low: float
    high: float
    further: int


def of_out(storage: Storage, reviews: Sequence[Mapping[str, Any]], pattern: str) -> Gain:
    """The gain of the reviews of an OUT, of those recordings that calibration learns from.

    reviews: the newest of each clip and reviewer; pattern: of the recording in an id. Raises InputError with
    the reason where it cannot be told.
    """
    gold = gold_in(storage, LEARNED_FROM)
    moments = {row["video_id"]: row["reviewed_at"] for row in sorted(reviews, key=_moment)}
    columns = ["labels", "strengths", "from_transcript", "status"]
    votes = planning.well(committed.read_newest(storage, committed.folder(VOTES), VOTES, columns))
    votes = votes.filter(pc.is_in(votes.column("video_id"), value_set=pa.array(sorted(gold), pa.string())))
    voted = set(votes.column("video_id").to_pylist())
    # Newest last; a clip without a label or a vote teaches nothing.
    order = sorted((one for one in gold if gold[one] and one in voted), key=moments.__getitem__)
    return measure(votes, {video_id: gold[video_id] for video_id in order}, pattern)


def _moment(row: Mapping[str, Any]) -> Any:
    return row["reviewed_at"]


def measure(votes: pa.Table, gold: Mapping[str, Sequence[str]], pattern: str) -> Gain:
    """votes: a votes table; gold: video_id -> labels, in the order in which they came.

    Cross-validated: the recordings are dealt out to FOLDS parts, and each part is judged with what the others
    teach. F is that of `emo-clusters`. The gain of the next clips is told by the law of learning curves whose
    error falls with 1 / clips. Raises InputError with fewer than LEAST clips, and where `calibrate` does.
    """
    ids = list(gold)
    if len(ids) < LEAST:
        raise InputError(
            f"{len(ids)} reviewed clips have labels and votes; how much more are worth it can be told from "
            f"{LEAST} on"
        )
    last = set(ids[-LAST:])
    fold = {video_id: _fold(video_of(video_id, pattern)) for video_id in ids}
    judged: dict[str, dict[str, Sequence[str]]] = {"without": {}, "before": {}, "now": {}}
    for number in sorted(set(fold.values())):
        held = [video_id for video_id in ids if fold[video_id] == number]
        of_held = votes.filter(pc.is_in(votes.column("video_id"), value_set=pa.array(held)))
        others = {video_id: gold[video_id] for video_id in ids if fold[video_id] != number}
        early = {video_id: labels for video_id, labels in others.items() if video_id not in last}
        rules = {
            "without": Rule(),
            "before": Rule(learned=calibrate(votes, early, "the reviews")),
            "now": Rule(learned=calibrate(votes, others, "the reviews")),
        }
        for name, rule in rules.items():
            rows = judge_votes(of_held, rule)
            pairs = (rows.column(column).to_pylist() for column in ("video_id", "labels"))
            judged[name].update(zip(*pairs, strict=True))
    found = {name: per_clip_f(_overlaps(gold, labels)) for name, labels in judged.items()}
    difference = paired([found["before"]], [found["now"]]).difference
    return Gain(
        len(ids),
        found["without"].value(),
        found["now"].value(),
        difference.value,
        difference.low,
        difference.high,
        further(len(ids), difference.value),
    )


def _fold(recording: str) -> int:
    return hashlib.sha256(f"fold\0{recording}".encode("utf-8", "surrogatepass")).digest()[0] % FOLDS


def _overlaps(gold: Mapping[str, Sequence[str]], predicted: Mapping[str, Sequence[str]]) -> Overlaps:
    return overlaps(gold, predicted, {"clusters": own_mappings()["clusters"]})


def further(clips: int, gain: float) -> int:
    """Clips, in steps of LAST, until LAST more gain less than WORTH, where F = a - b / clips."""
    if gain < WORTH:
        return 0
    wanted = LAST / 2 + math.sqrt((LAST / 2) ** 2 + gain / WORTH * clips * (clips - LAST))
    return math.ceil(max(0.0, wanted - clips) / LAST) * LAST


def line(found: Gain) -> str:
    """The same for a person."""
    worth = f"about {found.further} further clips are worth it" if found.further else "more bring little"
    return (
        f"Calibrated on {found.clips} reviewed clips the judge has F {found.now:.2f} (without "
        f"{found.without:.2f}, by cross-validation). The last {LAST} changed it by {100 * found.gain:+.1f} "
        f"points (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}): {worth}."
    )
