"""Which clips are of one group, such as a film, a dialogue or a speaker, and share a split."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emo.captions.splits import SPLITS, video_of
from emo.errors import InputError
from emo.sources.groups import read_column
from emo.store.s3 import S3Settings
from emo.store.storage import storage_of

# A split that is so many times smaller, or larger, than its share is told.
FAR_OFF = 3


def grouping(pattern: str, table: str | None, column: str | None, s3: S3Settings) -> Callable[[str], str]:
    """What names the group of a clip by its video_id: the column of the table, or else the pattern.

    The function raises InputError for a clip that the table does not name: by a guess it could stand on two
    sides. Raises InputError where the table cannot be read, or gives a clip two groups.
    """
    if table is None or column is None:
        return lambda video_id: video_of(video_id, pattern)
    storage, name = storage_of(table, s3)
    groups = read_column(storage, [name], column, "caption.split_table")

    def group(video_id: str) -> str:
        try:
            return groups[video_id]
        except KeyError:
            raise InputError(
                f"caption.split_table: {table} has no {column} for the clip {video_id!r}"
            ) from None

    return group


def split_notes(
    rows: Sequence[Mapping[str, Any]], shares: Mapping[str, float], group: Callable[[str], str]
) -> list[str]:
    """Lines about splits that are empty or far from their share of the clips; rows: captions."""
    split_by_clip = {row["video_id"]: row["split"] for row in rows}
    clips, counts = len(split_by_clip), Counter(split_by_clip.values())
    notes = []
    for split in SPLITS:
        wanted, there = shares[split] * clips, counts[split]
        empty = shares[split] > 0 and not there
        if clips and (empty or there > FAR_OFF * wanted or there * FAR_OFF < wanted):
            notes.append(f"the split {split} has {there} of {clips} clips, its share is {shares[split]:.0%}")
    if notes:
        groups = len({group(video_id) for video_id in split_by_clip})
        notes.append(
            f"the clips are of {groups} groups, and all of a group go to one split; caption.video_of or "
            "caption.split_by says what a group is"
        )
    return notes
