"""Gold polarity per clip: CH-SIMS' label.csv, or any CSV with video_id and a value."""

import csv
import io
import math

from emo.errors import InputError
from emo.storage import S3Settings, storage_of

# CH-SIMS annotates -1 to 1 in steps of 0.2; 0 alone is neutral.
NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
_WORDS = (NEGATIVE, NEUTRAL, POSITIVE)


def load_gold(place: str, s3: S3Settings) -> dict[str, str]:
    """The gold of a file, local or on S3, as read_gold reads it; raises InputError where it is not there."""
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
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns = set(reader.fieldnames or [])
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place} is not a CSV file in UTF-8: {error}") from None
    if not {"video_id", "label"} <= columns:
        raise InputError(
            f"{place} needs the columns video_id and label; it has: {', '.join(sorted(columns))}"
        )
    gold: dict[str, str] = {}
    for number, row in rows:
        video_id = f"{row['video_id']}/{row['clip_id']}" if "clip_id" in columns else row["video_id"]
        polarity = _polarity(row["label"], f"{place} line {number}")
        if gold.setdefault(video_id, polarity) != polarity:
            raise InputError(f"{place} line {number}: {video_id!r} has another label further up")
    return gold


def _polarity(text: str | None, where: str) -> str:
    word = (text or "").strip().lower()
    if word in _WORDS:
        return word
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise InputError(
            f"{where}: label is {text!r}, expected a number from -1 to 1 or one of {', '.join(_WORDS)}"
        )
    return NEUTRAL if value == 0 else POSITIVE if value > 0 else NEGATIVE
