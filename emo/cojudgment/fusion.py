"""Co-judgment: many voters' label sets become one, for any number of clips at once.

Everything here works on columns: a clip is a number, a word is a number, and a group is a run of equal
numbers in a sorted column. No Python code runs once per clip. All rows of a clip must be in the same table;
beyond that a table may be cut anywhere, which is what the reduce over a large data set does.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.arrays import truths
from emo.cojudgment.ballot import Ballot, Marks, families_of, read_ballot, signs_of
from emo.cojudgment.conflict import conflicts, senses_of_voters
from emo.cojudgment.rounds import AgreeOn
from emo.cojudgment.rule import Rule
from emo.cojudgment.votes import codes
from emo.cojudgment.weighing import Candidates, best_of_group, weigh, whole
from emo.store import planning, tables

# Those that the step adds are about its run, not about the votes.
_OF_THE_STEP = ("run_id", "seen", "n_answers", "closed_in", "round_agreement")
JUDGMENT_COLUMNS = tuple(name for name in tables.JUDGMENTS.schema.names if name not in _OF_THE_STEP)


def judge_votes(
    votes: pa.Table, rule: Rule, descriptions: pa.Table | None = None, beside: pa.Table | None = None
) -> pa.Table:
    """One judgment for each clip of `votes` that has a voter, sorted by video_id.

    votes: a votes table (extra columns are not read; failed rows are no voters; the newest run of a key
    counts) with all rows of each of its clips. descriptions: a descriptions table, for the `description`
    column. beside: pairs `video_id` and `neighbour`, where the rule smooths; None: it does not. Returns the
    columns JUDGMENT_COLUMNS of the judgments table, `status` always ok.

    A voter is (expert, sample); one without labels is silent: it is not counted, in `n_voters` neither. The
    candidates of a clip are the words its voters wrote. The most used spelling of a word stands for all its
    forms, and the most used word of a cluster for all of the cluster: its support is that of all voters that
    gave any of it. The other words of the cluster stand for themselves, and win only where a voter gave both;
    other spellings of a word never win beside it, unless whoever gave the word wrote both. Of alternatives
    the one counts that the other voters support (`shares_of_labels`). With one voter all of its labels win.

    agreement: of the other voters, the share that gave the cluster of a label, averaged over all labels of
    all voters; 0 to 1, null with fewer than two voters. conflict: see `conflicts`; it needs the columns
    `modalities` and `degraded` of the descriptions.

    Raises InputError where `votes` is not a votes table.
    """
    ballot = read_ballot(votes)
    found = weigh(ballot, rule, None if beside is None else _pairs(ballot, beside))
    n_clips, words = len(ballot.clips), ballot.words
    value = (found.wins.astype(np.int64) << 62) + (whole(found.score) << 20) + found.form_voters
    ranked = np.lexsort((-value, found.clip))
    voters = _voters_behind(ballot, found, ranked)
    evidence = _lists(
        found.clip[ranked],
        n_clips,
        pa.StructArray.from_arrays(
            [words.take(pa.array(found.label[ranked])), pa.array(found.score[ranked]), voters],
            fields=list(tables.EVIDENCE),
        ),
    )
    winners = ranked[found.wins[ranked]]
    of_clip = found.clip[winners]
    wrote = (
        np.full(len(ballot.clip), -1) if descriptions is None else _place_of_description(ballot, descriptions)
    )
    return pa.table(
        {
            "video_id": ballot.clips,
            "labels": _lists(of_clip, n_clips, words.take(pa.array(found.label[winners]))),
            "scores": _lists(of_clip, n_clips, pa.array(found.score[winners])),
            "evidence": evidence,
            "n_voters": pa.array(ballot.n_voters.astype(np.int32)),
            "n_from_transcript": _resting_on_words(ballot),
            "agreement": _agreement(ballot, ballot.meant),
            "conflict": _conflict(ballot, descriptions, wrote),
            "description": _closest(ballot, found.cluster[winners], descriptions, wrote),
            "judge": pa.array([rule.judge] * n_clips, pa.string()),
            "status": pa.array([tables.OK] * n_clips, pa.string()),
            "error": pa.nulls(n_clips, pa.string()),
            "error_message": pa.nulls(n_clips, pa.string()),
        },
        schema=pa.schema([tables.JUDGMENTS.schema.field(name) for name in JUDGMENT_COLUMNS]),
    )


def _pairs(ballot: Ballot, beside: pa.Table) -> np.ndarray:
    """Clips and neighbours as numbers of the ballot, those that have votes: int64 (2, n)."""
    both = [pc.index_in(beside.column(name), value_set=ballot.clips) for name in ("video_id", "neighbour")]
    there = pc.and_(*(pc.is_valid(one) for one in both))
    return np.stack([one.filter(there).to_numpy().astype(np.int64) for one in both])


def agreement_of(votes: pa.Table, agree_on: AgreeOn) -> pa.Table:
    """video_id and agreement of each clip of `votes` that has a voter.

    words: as `judge_votes` gives it. families: of the other voters, the share that named a family of
    emotions, averaged over all families that each voter named; they count as their labels do in the judgment,
    those that a voter named first most.
    """
    ballot = read_ballot(votes)
    if agree_on == "words":
        return pa.table({"video_id": ballot.clips, "agreement": _agreement(ballot, ballot.meant)})
    families = ballot.of_families()
    # In whole numbers: their sum is the same in any order, and which other clips are there changes the order.
    # Halves and thirds are among them, so that an agreement of exactly `enough` is that.
    agreement = _agreement(ballot, families, np.rint(families.strength * (3 * 2**20)))
    return pa.table({"video_id": ballot.clips, "agreement": agreement})


def _lists(clip: np.ndarray, n_clips: int, values: pa.Array) -> pa.ListArray:
    """One list per clip from values that are sorted by clip."""
    offsets = np.zeros(n_clips + 1, dtype=np.int32)
    np.cumsum(np.bincount(clip, minlength=n_clips), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _voters_behind(ballot: Ballot, found: Candidates, ranked: np.ndarray) -> pa.ListArray:
    """The names of the voters behind each candidate, in the order of `ranked`."""
    place = np.empty(len(ranked), dtype=np.int64)
    place[ranked] = np.arange(len(ranked))
    alone = ~found.for_form & ~found.for_cluster
    levels: Sequence[tuple[Marks, np.ndarray, np.ndarray]] = (
        (ballot.written, alone, np.arange(len(ranked))),
        (ballot.said, found.for_form & ~found.for_cluster, found.form),
        (ballot.meant, found.for_cluster, found.cluster),
    )
    candidates, rows = [], []
    for marks, speaks, group in levels:
        speaker = np.full(len(marks.group_clip), -1)
        speaker[group[speaks]] = place[speaks]
        candidate = speaker[marks.group]
        candidates.append(candidate[candidate >= 0])
        rows.append(marks.row[candidate >= 0])
    # Voters are numbered in the order of clip, expert, sample.
    pair = np.sort(np.concatenate(candidates) * max(len(ballot.clip), 1) + np.concatenate(rows))
    candidate, row = pair // max(len(ballot.clip), 1), pair % max(len(ballot.clip), 1)
    table = ballot.table
    names = pc.binary_join_element_wise(table["expert"], pc.cast(table["sample"], pa.string()), "#")
    voter, distinct = codes(names)
    return _lists(candidate, len(ranked), distinct.take(pa.array(voter[row])))


def _resting_on_words(ballot: Ballot) -> pa.Array:
    """How many of the voters of each clip rest on what is said; null where one of them does not tell."""
    n_clips = len(ballot.clips)
    if "from_transcript" not in ballot.table.column_names:
        return pa.nulls(n_clips, pa.int32())
    told = ballot.table["from_transcript"].combine_chunks()
    resting = truths(told) & ballot.speaks
    silent = pc.is_null(told).to_numpy(zero_copy_only=False) & ballot.speaks
    count = np.bincount(ballot.clip[resting], minlength=n_clips).astype(np.int32)
    return pa.array(count, mask=np.bincount(ballot.clip[silent], minlength=n_clips) > 0)


def _agreement(ballot: Ballot, marks: Marks, worth: np.ndarray | None = None) -> pa.Array:
    """worth: float64 per pair of `marks`, how much it counts in the average; None: all count alike."""
    n_clips, n_voters = len(ballot.clips), ballot.n_voters
    clip, others = marks.group_clip[marks.group], (marks.voters() - 1)[marks.group]
    counts = np.ones(len(others)) if worth is None else worth
    given = np.bincount(clip, weights=counts, minlength=n_clips)
    shared = np.bincount(clip, weights=counts * others, minlength=n_clips)
    several = n_voters >= 2
    value = np.zeros(n_clips)
    np.divide(shared, given * (n_voters - 1), out=value, where=several)
    return pa.array(value, mask=~several)


def _conflict(ballot: Ballot, descriptions: pa.Table | None, wrote: np.ndarray) -> pa.Array:
    words_read = np.zeros(len(ballot.clip), dtype=bool)
    if "from_transcript" in ballot.table.column_names:
        words_read = truths(ballot.table["from_transcript"])
    sense = senses_of_voters(wrote, descriptions, words_read)
    marks = ballot.meant
    # One word of each cluster says its family and its valence.
    words = np.zeros(len(ballot.meanings), dtype=np.int64)
    words[ballot.cluster_of] = np.arange(len(ballot.words))
    word = words[marks.group_what][marks.group]
    apart = conflicts(
        sense[marks.row],
        marks.group_clip[marks.group],
        marks.group_what[marks.group],
        marks.strength,
        families_of(ballot.words)[word] if len(word) else word,
        signs_of(ballot.words)[word] if len(word) else word,
        len(ballot.clips),
    )
    return pa.array(apart, mask=np.isnan(apart))


def _closest(
    ballot: Ballot, winning: np.ndarray, descriptions: pa.Table | None, place: np.ndarray
) -> pa.Array:
    """The description of the voter whose clusters are closest (F1) to the winning ones; null where none."""
    clip, n_clips, meant = ballot.clip, len(ballot.clips), ballot.meant
    if descriptions is None:
        return pa.nulls(n_clips, pa.string())
    won = np.zeros(len(meant.group_clip), dtype=bool)
    won[winning] = True
    hits = np.bincount(meant.row, weights=won[meant.group], minlength=len(clip))
    given = np.bincount(meant.row, minlength=len(clip))
    wanted = np.bincount(meant.group_clip[won], minlength=n_clips)[clip]
    closeness = np.divide(2 * hits, given + wanted, out=np.zeros(len(clip)), where=given + wanted > 0)
    described = np.flatnonzero(place >= 0)
    first = described[best_of_group(clip[described], whole(closeness[described]))]
    chosen = np.full(n_clips, -1)
    chosen[clip[first]] = place[first]
    return descriptions["text"].combine_chunks().take(pa.array(chosen, mask=chosen < 0))


def _place_of_description(ballot: Ballot, descriptions: pa.Table) -> np.ndarray:
    """The row of `descriptions` that each voter wrote, newest run first; -1 where there is none."""
    usable = pc.is_valid(descriptions["text"])
    if "status" in descriptions.schema.names:
        usable = pc.and_(usable, pc.equal(descriptions["status"], tables.OK))
    rows = np.flatnonzero(usable.to_numpy())
    if "run_id" in descriptions.schema.names:
        run, _ = codes(descriptions["run_id"])
        rows = rows[np.argsort(-run[rows], kind="stable")]
    key = tables.VOTES.key
    told = descriptions.select(key).cast(pa.schema([tables.VOTES.schema.field(name) for name in key]))
    if len(rows) < told.num_rows or (rows[1:] < rows[:-1]).any():
        told = told.take(pa.array(rows))
    found = planning.place(ballot.table, told, key).fill_null(-1).to_numpy()
    return np.where(found >= 0, rows[found] if len(rows) else -1, -1)
