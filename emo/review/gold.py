"""What people agree on, as gold: for scoring, calibrating and captions.

A split by recording keeps apart what is learned from and what is scored: the split of the captions
(`caption.splits` and `caption.video_of` of the newest run). `emo judge --calibrate OUT` learns from no
recording of the part `test`, so `emo evaluate --gold OUT --split test` scores what nothing was learned from.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emo.captions.groups import grouping
from emo.captions.splits import SPLITS, VIDEO_OF, split_of
from emo.errors import InputError
from emo.review.consensus import gold_of
from emo.sources.records import TEXT_SUFFIXES, suffix_of
from emo.store.runs import load_runs
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import REVIEWS

TRAIN, VALIDATION, TEST = SPLITS
LEARNED_FROM = (TRAIN, VALIDATION)


def reviewed_out(place: str, s3: S3Settings | None = None) -> Storage | None:
    """The OUT at a place, if it is one that holds reviews, or its folder of them."""
    place = place.rstrip("/")
    if suffix_of(place) in (*TEXT_SUFFIXES, ".npz", ".parquet"):
        return None
    for folder in (place, place.removesuffix(f"/{REVIEWS.name}")):
        storage = Storage(folder, s3)
        if any(path.endswith(".parquet") for path in storage.names(REVIEWS.name)):
            return storage
    return None


def gold_in(storage: Storage, splits: Sequence[str] = SPLITS) -> dict[str, tuple[str, ...]]:
    """video_id -> labels that people agree on, of the recordings of these splits.

    Raises InputError where there are none.
    """
    shares, group = _split_of_out(storage)
    agreed = gold_of(storage)
    found = {
        video_id: labels for video_id, labels in agreed.items() if split_of(group(video_id), shares) in splits
    }
    if not found:
        which = "" if len(splits) == len(SPLITS) else f" in the split {' and '.join(splits)}"
        raise InputError(
            f"{storage.url}: of {len(agreed)} clips that people agree on none is{which or ' left'}"
        )
    return found


def _split_of_out(storage: Storage) -> tuple[Mapping[str, float], Callable[[str], str]]:
    runs: list[dict[str, Any]] = load_runs(storage, last=1) if storage.names("runs") else []
    caption = runs[0]["config"].get("caption", {}) if runs else {}
    default = {TRAIN: 0.9, VALIDATION: 0.05, TEST: 0.05}
    by = caption.get("split_table"), caption.get("split_by")
    group = grouping(caption.get("video_of", VIDEO_OF), *by, storage.s3)
    return caption.get("splits", default), group
