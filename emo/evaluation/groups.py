"""Scores of groups of clips, such as those of women and of men: is a system as good for everybody?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.carried import groups_of
from emo.errors import InputError
from emo.evaluation.bootstrap import Interval, PerClip, interval
from emo.paths import is_s3, split
from emo.sources.groups import read_column
from emo.sources.records import is_table, suffix_of, tables_at
from emo.store.storage import Storage
from emo.store.tables import CLIPS

# What fewer clips score is chance, and may tell of a person.
LEAST_CLIPS = 30
COLUMN = "group"
DEALS = 1000


@dataclass(frozen=True)
class Gap:
    """The largest difference between two groups: best minus worst, and how often clips that are dealt out to
    the groups anew differ as much (a permutation test; None: it is no number)."""

    best: str
    worst: str
    value: float
    p_value: float | None


@dataclass(frozen=True)
class Groups:
    """clips: of each group that is shown; hidden: groups that are too small, and how many clips they have;
    without: scored clips of no group; scores: number -> group -> interval; gaps: by number.
    """

    clips: dict[str, int]
    hidden: int
    hidden_clips: int
    without: int
    scores: dict[str, dict[str, Interval]]
    gaps: dict[str, Gap]

    def lines(self, unit: float) -> list[str]:
        """The same for a person; unit: what the numbers are multiplied by."""
        found = []
        for number, scores in self.scores.items():
            found.append(f"{number} by group:")
            for group, value in sorted(scores.items(), key=lambda item: -item[1].value):
                low, high = unit * value.low, unit * value.high
                found.append(
                    f"  {group}: {unit * value.value:.2f} ({value.level:.0%} interval {low:.2f} to "
                    f"{high:.2f}), {self.clips[group]} clips"
                )
            gap = self.gaps.get(number)
            if gap is not None:
                chance = "" if gap.p_value is None else f", p = {gap.p_value:.4f}"
                found.append(f"  largest gap: {unit * gap.value:.2f}, {gap.best} over {gap.worst}{chance}")
        if self.hidden:
            found.append(
                f"{self.hidden} groups with fewer than {LEAST_CLIPS} clips each are not shown "
                f"({self.hidden_clips} clips)"
            )
        if self.without:
            found.append(f"{self.without} scored clips are of no group")
        return found


def read_groups(place: str, outs: Sequence[str] = ()) -> dict[str, str]:
    """video_id -> group, of a table with video_id (or name) and group; FILE:COLUMN names another column, and
    COLUMN one that the clips of an OUT carry.

    outs: places of which the first that is an OUT is meant. A clip without a value is of no group. Raises
    InputError where the table is none, lacks a column, or gives a clip two groups.
    """
    path, column = place, COLUMN
    if not is_table(path) and ":" in place:
        path, _, column = place.rpartition(":")
    if not is_table(path):
        out = None if ":" in place else next(filter(None, map(_out_at, outs)), None)
        if out is None:
            raise InputError(
                f"--by {place}: expected a table (.csv, .jsonl, .json, .parquet), TABLE:COLUMN, or, where "
                "--gold or --predicted is an OUT, a column that its clips carry"
            )
        return groups_of(out, place)
    if not is_s3(path) and not Path(path).exists():
        raise InputError(f"--by {path} is not there")
    storage, names = tables_at(path)
    groups = read_column(storage, names, column, "--by", strip=True)
    if not groups:
        raise InputError(f"--by {place} names no clip with a group")
    return groups


def _out_at(place: str) -> Storage | None:
    """The OUT that a path of --gold or --predicted names, whole or one of its tables."""
    if is_table(place) or suffix_of(place) == ".npz":
        return None
    for folder in (place.rstrip("/"), split(place.rstrip("/"))[0]):
        storage = Storage(folder)
        if any(path.endswith(".parquet") for path in storage.names(CLIPS.name)):
            return storage
    return None


def by_group(per_clip: Mapping[str, Sequence[PerClip]], groups: Mapping[str, str]) -> Groups:
    """Each number for each group with enough clips; of several data sets their mean, as for all clips.

    Raises InputError where no scored clip has a group, or none of the groups has enough.
    """
    ids = {video_id for parts in per_clip.values() for part in parts for video_id in part.video_ids}
    sizes = Counter(groups[video_id] for video_id in ids if video_id in groups)
    shown = {group: sizes[group] for group in sorted(sizes) if sizes[group] >= LEAST_CLIPS}
    if not sizes:
        raise InputError(f"--by: none of its {len(groups)} clips is among the {len(ids)} that are scored")
    if not shown:
        raise InputError(
            f"--by: no group has {LEAST_CLIPS} scored clips; the largest has {max(sizes.values())}"
        )
    scores: dict[str, dict[str, Interval]] = {}
    gaps: dict[str, Gap] = {}
    for number, parts in per_clip.items():
        labels = [np.array([groups.get(one, "") for one in part.video_ids]) for part in parts]
        found = {group: _of_group(parts, labels, group) for group in shown}
        scores[number] = {group: value for group, value in found.items() if value is not None}
        if len(scores[number]) > 1:
            gaps[number] = _gap(parts, labels, scores[number])
    return Groups(
        shown,
        len(sizes) - len(shown),
        sum(sizes.values()) - sum(shown.values()),
        len(ids) - sum(sizes.values()),
        scores,
        gaps,
    )


def _of_group(parts: Sequence[PerClip], labels: Sequence[np.ndarray], group: str) -> Interval | None:
    """None where a number has too few clips of the group to be one."""
    chosen = []
    for part, of in zip(parts, labels, strict=True):
        at = np.flatnonzero(of == group)
        if len(at):
            chosen.append(
                PerClip(tuple(part.video_ids[place] for place in at), part.values[:, at], part.score)
            )
    try:
        found = interval(chosen) if chosen else None
    except InputError:
        return None
    return None if found is None or np.isnan(found.value) else found


def _gap(parts: Sequence[PerClip], labels: Sequence[np.ndarray], scores: Mapping[str, Interval]) -> Gap:
    best, worst = (choose(scores, key=lambda group: scores[group].value) for choose in (max, min))
    value = scores[best].value - scores[worst].value
    random = np.random.default_rng(0)
    dealt = np.array(
        [_spread(parts, [random.permutation(of) for of in labels], list(scores)) for _ in range(DEALS)]
    )
    usable = dealt[~np.isnan(dealt)]
    as_large = int((usable >= value - 1e-12).sum())
    return Gap(best, worst, value, (as_large + 1) / (len(usable) + 1) if len(usable) else None)


def _spread(parts: Sequence[PerClip], labels: Sequence[np.ndarray], groups: Sequence[str]) -> float:
    """The largest difference between two of these groups."""
    of_parts = [
        part.score(part.values, np.stack([of == group for group in groups]).astype(np.float64))
        for part, of in zip(parts, labels, strict=True)
        if np.isin(of, groups).any()
    ]
    found = np.nanmean(np.stack(of_parts), axis=0)
    return float(np.max(found) - np.min(found))
