"""Gold polarity per clip: CH-SIMS' label.csv, any CSV with video_id and a value, or the reviews of an OUT."""

import math
import sys
from collections.abc import Collection, Sequence

from emo import vocabulary
from emo.errors import InputError
from emo.review.gold import gold_in, reviewed_out
from emo.sources.cut_names import cut_names
from emo.sources.record import is_missing, short
from emo.sources.records import TEXT_SUFFIXES, is_table, read_records
from emo.store.s3 import S3Settings
from emo.store.storage import storage_of

# CH-SIMS annotates -1 to 1 in steps of 0.2; 0 alone is neutral.
NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
_WORDS = (NEGATIVE, NEUTRAL, POSITIVE)
# Of a mean valence from -1 to 1: as near to neutral as CH-SIMS' smallest step.
_NEUTRAL = 0.2


def load_gold(place: str, s3: S3Settings) -> dict[str, str]:
    """The gold of a file, local or on S3, as read_gold reads it; of an OUT the valence of what its reviewers
    agree on. Raises InputError where it is not there.
    """
    if (out := reviewed_out(place, s3)) is not None:
        return {video_id: polarity_of(labels) for video_id, labels in gold_in(out).items()}
    try:
        storage, name = storage_of(place, s3)
        data = storage.read(name)
    except FileNotFoundError:
        raise InputError(f"gold {place!r} does not exist") from None
    return read_gold(data, place)


def read_gold(data: bytes, place: str) -> dict[str, str]:
    """video_id -> negative, neutral or positive.

    Columns: video_id, with clip_id (as CH-SIMS has it) `video_id/clip_id`; and `label`, a number from -1 to 1
    or one of the three words. Raises InputError naming the line of a value that is neither, and where an id
    has two values.
    """
    if not is_table(place, TEXT_SUFFIXES):
        raise InputError(f"{place}: unknown kind of file; expected {', '.join(TEXT_SUFFIXES)}")
    found = read_records(data, place, unit="line")
    if not {"video_id", "label"} <= set(found.columns):
        raise InputError(
            f"{place} needs the columns video_id and label; it has: {', '.join(sorted(found.columns))}"
        )
    names = ("video_id", "clip_id") if "clip_id" in found.columns else ("video_id",)
    gold: dict[str, str] = {}
    for record in found.sound():
        parts = [record.values.get(name) for name in names]
        if any(map(is_missing, parts)):
            raise InputError(f"{record.where}: has no {' and '.join(names)}; expected the id of a clip")
        video_id = "/".join(str(part).strip() for part in parts)
        polarity = _polarity(record.values.get("label"), record.where)
        if gold.setdefault(video_id, polarity) != polarity:
            raise InputError(f"{record.where}: {video_id!r} has another label further up")
    return gold


def polarity_of(labels: Sequence[str]) -> str:
    """The polarity of labels: the sign of the mean valence of those that the vocabulary knows; neutral where
    it is within _NEUTRAL of 0, and where none is known.
    """
    known = [value for value in map(vocabulary.valence, labels) if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return NEUTRAL if abs(mean) < _NEUTRAL else POSITIVE if mean > 0 else NEGATIVE


def of_clips(gold: dict[str, str], video_ids: Collection[str], place: str) -> dict[str, str]:
    """The gold of these clips; one whose id a spreadsheet cut (`video_1/1` of `video_1/0001`) is found.

    That, and how many clips have no gold, is said on standard error.
    """
    cut = cut_names(gold, video_ids)
    if cut:
        first = min(cut)
        print(
            f"{place}: {len(cut)} ids lost the zeros in front, as of a spreadsheet, and were found, such as "
            f"{cut[first]!r} for {first!r}",
            file=sys.stderr,
        )
    known = {cut.get(name, name): polarity for name, polarity in gold.items()}
    without = sum(video_id not in known for video_id in video_ids)
    if without:
        print(f"{place}: {without} of {len(video_ids)} clips have no gold there", file=sys.stderr)
    return known


def _polarity(given: object, where: str) -> str:
    word = "" if is_missing(given) else str(given).strip().lower()
    if word in _WORDS:
        return word
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise InputError(
            f"{where}: label is {short(given)}, expected a number from -1 to 1 or one of {', '.join(_WORDS)}"
        )
    return NEUTRAL if value == 0 else POSITIVE if value > 0 else NEGATIVE
