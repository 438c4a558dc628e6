"""What the reviews of a clip say together.

The rule. One reviewer counts. Two or more count where they agree: most of them say that the clip is
unusable, or their label sets share half of their meanings or more (the mean Jaccard index of all pairs). Then
the labels are those that more than half of the usable reviews have, by meaning. A clip on which they do not
agree is no gold and keeps the labels of the machine.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pyarrow as pa

from emo import uses
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, REVIEWS
from emo.vocabulary.meaning import meaning

UNUSABLE = "unusable"
ENOUGH = 0.5


@dataclass(frozen=True)
class Agreed:
    """labels: None where the clip is unusable; reviewers: their names; several_people: anyone saw so."""

    labels: tuple[str, ...] | None
    reviewers: tuple[str, ...]
    several_people: bool


def jaccard(a: Collection[str], b: Collection[str]) -> float:
    """Shared by all, 0 to 1; two empty sets are the same."""
    a, b = set(a), set(b)
    return len(a & b) / len(a | b) if a | b else 1.0


def agreed(reviews: Sequence[Mapping[str, Any]]) -> Agreed | None:
    """What the newest reviews of one clip, one per reviewer, say together; None where they do not agree."""
    usable = [row for row in reviews if row["verdict"] != UNUSABLE]
    names = tuple(sorted(row["reviewer"] for row in reviews))
    several = any(row["several_people"] for row in reviews)
    if 2 * len(usable) < len(reviews):
        return Agreed(None, names, several)
    if 2 * len(usable) == len(reviews):
        return None
    said = [{meaning(label): label for label in reversed(row["labels"] or ())} for row in usable]
    pairs = [jaccard(a.keys(), b.keys()) for a, b in combinations(said, 2)]
    if pairs and sum(pairs) / len(pairs) < ENOUGH:
        return None
    votes = Counter(what for labels in said for what in labels)
    words = [(meaning(label), label) for row in usable for label in row["labels"] or ()]
    most_used = Counter(words)
    labels = []
    for what in dict.fromkeys(what for what, _ in words):
        if 2 * votes[what] > len(usable):
            # The word that most used for it; of equals the one that came first.
            labels.append(max((pair for pair in most_used if pair[0] == what), key=most_used.__getitem__)[1])
    return Agreed(tuple(labels), names, several)


def by_clip(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The reviews of each clip."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["video_id"], []).append(row)
    return found


def read_reviews(storage: Storage) -> list[dict[str, Any]]:
    """The newest review of every clip and reviewer."""
    where = committed.folder(REVIEWS)
    rows: list[dict[str, Any]] = committed.read_newest(
        storage, where, REVIEWS, REVIEWS.schema.names
    ).to_pylist()
    return rows


def reviewed(storage: Storage) -> dict[str, Agreed | None]:
    """video_id -> what its reviewers agree on, None where they do not. Pieces that their recordings no longer
    have are left out, and clips that a manifest gives no use.
    """
    found = by_clip(read_reviews(storage))
    gone = committed.superseded(storage, CLIPS).column("video_id").to_pylist() if found else []
    for video_id in gone:
        found.pop(video_id, None)
    ids = pa.table({"video_id": pa.array(list(found), pa.string())})
    used = uses.allowed(storage, ids).column("video_id").to_pylist()
    return {video_id: agreed(found[video_id]) for video_id in used}


def gold_of(storage: Storage) -> dict[str, tuple[str, ...]]:
    """video_id -> labels of the clips that people agree on; unusable clips are none."""
    return {
        video_id: one.labels
        for video_id, one in reviewed(storage).items()
        if one is not None and one.labels is not None
    }
