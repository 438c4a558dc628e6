"""What a report counts, from the light columns of the tables, in memory that many clips do not fill.

Tables come as any number of pieces in any order of rows, already reduced to the newest row of each key. What
grows with the clips is held only of failed rows (their keys) and of samples; which rows a sample holds is
decided by a hash of video_id, so that the same tables always give the same report.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.errors import InputError
from emo.report.agreement import Heatmap, Voters
from emo.report.failures import FailureGroup, Failures
from emo.report.pieces import BY_HASH, HASHED, First, distinct, hashed, label_rows, ok_rows, pieces, ranked
from emo.report.recurring import TEXT_COLUMNS, Recurring, Texts
from emo.store import tables
from emo.vocabulary import family_of

CLIP_COLUMNS = ("video_id", "status", "error", "error_message")
JUDGMENT_COLUMNS = ("video_id", "labels", "agreement", "status", "error", "error_message")
DESCRIPTION_COLUMNS = ("video_id", "expert", "sample", "finish_reason", "status", "error", "error_message")
VOTE_COLUMNS = ("video_id", "expert", "sample", "labels", "status", "error", "error_message")

GALLERY_LIMIT = 500  # clips of a gallery at most
BINS = 10  # of the distribution of agreement
COMPARED_CLIPS = 100_000  # at most, by hash of video_id
_CLIPS_PER_LABEL = 6


@dataclass(frozen=True)
class Count:
    """How many clips have it."""

    name: str
    clips: int


@dataclass(frozen=True)
class ExpertCounts:
    """One expert: rows of `descriptions` and of `votes` by what came out of them; labels: given in all; cut:
    descriptions that the limit on their tokens ended.

    Rows that failed because the clip or the description had failed before are in none of these.
    """

    name: str
    described: int
    cut: int
    not_described: int
    voted: int
    silent: int
    not_extracted: int
    labels: int


@dataclass(frozen=True)
class Pools:
    """Clips that a gallery may show, each pool in the order in which they are taken."""

    by_label: tuple[tuple[str, ...], ...]  # the most frequent label first
    disagreed: tuple[str, ...]
    unlabelled: tuple[str, ...]
    failed: tuple[tuple[str, ...], ...]  # the most frequent error first
    any: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Everything that a report says about all clips.

    clips = labelled + unlabelled + failed + waiting; waiting: ingested and not judged yet. families and
    labels count clips, most frequent first; outside: clips with a label that the vocabulary does not know.
    agreement: clips per tenth of [0, 1]; alone: judged by fewer than two voters. compared: clips that the
    heat maps look at, of `comparable`.
    """

    clips: int
    labelled: int
    unlabelled: int
    failed: int
    waiting: int
    labels: tuple[Count, ...]
    families: tuple[Count, ...]
    outside: int
    agreement: tuple[int, ...]
    mean_agreement: float | None
    alone: int
    experts: tuple[ExpertCounts, ...]
    words: Heatmap
    clusters: Heatmap
    compared: int
    comparable: int
    failures: tuple[FailureGroup, ...]
    pools: Pools
    recurring: tuple[Recurring, ...] = ()

    def alarms(self) -> list[str]:
        """What makes texts of experts doubtful, a line each for a person."""
        cut = [
            f"{one.name}: the limit on tokens cut {one.cut} of {one.described} answers; allow more with "
            "max_new_tokens"
            for one in self.experts
            if one.cut
        ]
        same = [
            f"{one.expert}: {one.times} of {one.texts} answers are the same text: {_begins(one.text)!r}; the "
            "prompt, the model or the media may be wrong"
            for one in self.recurring
        ]
        return [*cut, *same]


def _begins(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def summarise(
    *,
    clips: Iterable[pa.Table],
    descriptions: Iterable[pa.Table],
    votes: Iterable[pa.Table],
    judgments: Iterable[pa.Table],
) -> Summary:
    """Count what the tables say.

    Each iterable is read once, in the order clips, judgments, descriptions, votes.
    Descriptions may come with their texts, in pieces that memory holds.
    The pieces have at least the columns named in CLIP_COLUMNS and so on; others are not looked at.
    Labels are compared as `emo.vocabulary.normalise` writes them. A failed row that only repeats the failure
    of an earlier step (no description because the clip could not be read) is not counted again.
    Raises InputError where a column is missing or of another type.
    """
    clip_failures = Failures("clips", tables.CLIPS.key)
    judgment_failures = Failures("judgments", tables.CLIPS.key, clip_failures)
    description_failures = Failures("descriptions", tables.VOTES.key, clip_failures)
    vote_failures = Failures("votes", tables.VOTES.key, clip_failures, description_failures)
    anyone = First(HASHED, [], BY_HASH, GALLERY_LIMIT)

    n_clips = 0
    for rows in pieces(clips, tables.CLIPS, CLIP_COLUMNS):
        n_clips += len(rows)
        anyone.add(hashed(rows))
        clip_failures.add(rows)

    judged = _Judged()
    for rows in pieces(judgments, tables.JUDGMENTS, JUDGMENT_COLUMNS):
        anyone.add(hashed(rows))
        judgment_failures.add(rows)
        # A clip that changed and can no longer be read keeps its old judgment: the clip counts as failed.
        judged.add(hashed(clip_failures.without(ok_rows(rows))))

    experts, texts = _Experts(), Texts()
    for rows in pieces(_noting_texts(descriptions, texts), tables.DESCRIPTIONS, DESCRIPTION_COLUMNS):
        experts.add_descriptions(rows)
        description_failures.add(rows)

    judged_clips = judged.compared.table()
    comparable = judged.labelled + judged.unlabelled
    voters = Voters(judged_clips.column("video_id"))
    voters.add_final(judged_clips)
    for rows in pieces(votes, tables.VOTES, VOTE_COLUMNS):
        experts.add_votes(rows)
        vote_failures.add(rows)
        voters.add(ok_rows(rows))
    words, clusters, compared = voters.heatmaps()

    failed = clip_failures.rows + judgment_failures.rows
    settled = judged.labelled + judged.unlabelled + failed
    failures = [clip_failures, description_failures, vote_failures, judgment_failures]
    return Summary(
        # A votes table from elsewhere is judged without any clips.
        clips=max(n_clips, settled),
        labelled=judged.labelled,
        unlabelled=judged.unlabelled,
        failed=failed,
        waiting=max(n_clips - settled, 0),
        labels=_most_frequent(judged.labels),
        families=_most_frequent(judged.families),
        outside=judged.outside,
        agreement=tuple(int(n) for n in judged.agreement),
        mean_agreement=judged.mean_agreement(),
        alone=judged.alone,
        experts=experts.counts(description_failures.of_experts(), vote_failures.of_experts()),
        words=words,
        clusters=clusters,
        compared=compared,
        comparable=comparable,
        failures=tuple(
            sorted(
                (group for step in failures for group in step.groups()),
                key=lambda group: (-group.rows, group.step, group.expert, group.error),
            )
        ),
        pools=Pools(
            by_label=judged.by_label(),
            disagreed=judged.disagreed.ids(),
            unlabelled=judged.without.ids(),
            failed=(*clip_failures.pools(), *judgment_failures.pools()),
            any=anyone.ids(),
        ),
        recurring=texts.recurring(),
    )


def _noting_texts(descriptions: Iterable[pa.Table], texts: Texts) -> Iterator[pa.Table]:
    for rows in descriptions:
        if set(TEXT_COLUMNS) <= set(rows.column_names):
            texts.add(rows)
        yield rows


class _Judged:
    """What the judgments that did not fail say."""

    def __init__(self) -> None:
        self.labelled = self.unlabelled = self.outside = self.alone = 0
        self.labels: Counter[str] = Counter()
        self.families: Counter[str] = Counter()
        self.agreement = np.zeros(BINS, np.int64)
        self._sum = 0  # of agreement, in 1e-9: a sum of floats would depend on the order of the rows
        self._by_label = First({**HASHED, "label": pa.string()}, ["label"], BY_HASH, _CLIPS_PER_LABEL)
        self.disagreed = First(
            {**HASHED, "agreement": pa.float64()}, [], ["agreement", *BY_HASH], GALLERY_LIMIT
        )
        self.without = First(HASHED, [], BY_HASH, GALLERY_LIMIT)
        self.compared = First({**HASHED, "labels": pa.list_(pa.string())}, [], BY_HASH, COMPARED_CLIPS)

    def add(self, rows: pa.Table) -> None:
        if not len(rows):
            return
        rows = rows.combine_chunks()
        clip, labels = label_rows(rows.column("labels").combine_chunks())
        encoded = labels.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        clip, label = distinct(clip, encoded.indices.to_numpy(zero_copy_only=False), len(names))
        has_label = np.bincount(clip, minlength=len(rows)) > 0
        self.labelled += int(has_label.sum())
        self.unlabelled += int((~has_label).sum())
        for name, count in zip(names, np.bincount(label, minlength=len(names)).tolist(), strict=True):
            self.labels[name] += count
        self._count_families(clip, label, names)
        self._count_agreement(rows)

        hashed = rows.select(["video_id", "hash"])
        of_label = hashed.take(pa.array(clip))
        self._by_label.add(of_label.append_column("label", encoded.dictionary.take(pa.array(label))))
        known = rows.column("agreement").is_valid()
        self.disagreed.add(rows.filter(known))
        self.without.add(hashed.filter(pa.array(~has_label)))
        self.compared.add(rows)

    def _count_families(self, clip: np.ndarray, label: np.ndarray, names: list[str]) -> None:
        found = [family_of(name) for name in names]
        families = sorted({family for family in found if family is not None})
        code = {family: place for place, family in enumerate(families)}
        code_of_label = np.array([len(code) if name is None else code[name] for name in found], np.int64)
        _, family = distinct(clip, code_of_label[label], len(code) + 1)
        *counts, outside = np.bincount(family, minlength=len(code) + 1).tolist()
        self.families.update(dict(zip(families, counts, strict=True)))
        self.outside += outside

    def _count_agreement(self, rows: pa.Table) -> None:
        agreement = rows.column("agreement").drop_null().to_numpy()
        self.alone += len(rows) - len(agreement)
        if agreement.size and not ((agreement >= 0) & (agreement <= 1)).all():
            raise InputError("the judgments table has an agreement outside of 0 to 1")
        tenth = np.minimum(np.floor(agreement * BINS + 1e-9).astype(np.int64), BINS - 1)
        self.agreement += np.bincount(tenth, minlength=BINS)
        self._sum += int(np.rint(agreement * 1e9).astype(np.int64).sum())

    def mean_agreement(self) -> float | None:
        known = int(self.agreement.sum())
        return self._sum / 1e9 / known if known else None

    def by_label(self) -> tuple[tuple[str, ...], ...]:
        pools = self._by_label.ids_by_group()
        return tuple(pools[label] for label, _ in ranked(self.labels)[:GALLERY_LIMIT])


class _Experts:
    """Rows of descriptions and votes per expert."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add_descriptions(self, rows: pa.Table) -> None:
        ok = pc.equal(rows.column("status"), tables.OK)
        length = pc.fill_null(pc.equal(rows.column("finish_reason"), "length"), False)
        self._add(rows, {"described": ok, "cut": pc.and_(ok, length)})

    def add_votes(self, rows: pa.Table) -> None:
        ok = pc.equal(rows.column("status"), tables.OK)
        labels = pc.fill_null(pc.list_value_length(rows.column("labels")), 0)
        spoke = pc.greater(labels, 0)
        self._add(
            rows,
            {
                "voted": pc.and_(ok, spoke),
                "silent": pc.and_not(ok, spoke),
                "labels": pc.if_else(ok, labels, 0),
            },
        )

    def _add(self, rows: pa.Table, columns: dict[str, pa.ChunkedArray]) -> None:
        counted = pa.table({"expert": rows.column("expert"), **columns})
        sums = counted.group_by("expert").aggregate([(name, "sum") for name in columns])
        for row in sums.to_pylist():
            counts = self._counts.setdefault(row["expert"], Counter())
            for name in columns:
                counts[name] += row[f"{name}_sum"]

    def counts(self, not_described: Counter[str], not_extracted: Counter[str]) -> tuple[ExpertCounts, ...]:
        return tuple(
            ExpertCounts(
                name,
                described=counts["described"],
                cut=counts["cut"],
                not_described=not_described[name],
                voted=counts["voted"],
                silent=counts["silent"],
                not_extracted=not_extracted[name],
                labels=counts["labels"],
            )
            for name, counts in sorted(self._counts.items())
        )


def _most_frequent(counts: Counter[str]) -> tuple[Count, ...]:
    return tuple(Count(name, clips) for name, clips in ranked(counts))
