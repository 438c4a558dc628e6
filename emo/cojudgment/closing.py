"""Which clips the votes close, round by round: a function of the votes alone, never of when they came.

A round is over for a clip when all answers that are due by then have been read. Answers beyond those, of
later rounds or of an earlier configuration, have no say in it. So the same tables give the same decision.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.fusion import agreement_of
from emo.cojudgment.rounds import Rounds
from emo.store.tables import JUDGMENTS, OK

# Sums of shares may differ by rounding.
_TOLERANCE = 1e-9

DECIDED = pa.schema([JUDGMENTS.schema.field(name) for name in ("video_id", "round_agreement", "closed_in")])


def decide(clips: pa.Array, answers: pa.Table, votes: pa.Table, rounds: Rounds) -> pa.Table:
    """What the votes say of each clip, in the order of `clips`: columns as DECIDED.

    clips: distinct ids; answers: the descriptions that count, failed ones included, with video_id, expert,
    sample and status; votes: what was read off them, a votes table. round_agreement: after each round that is
    over for the clip, null with fewer than two voters; closed_in: the round that closed it, null: none has.

    An expert all of whose answers failed when it was first asked about a clip is not asked about it again.
    """
    decided = _Clips(clips, answers, votes, rounds)
    numbers = range(1, len(rounds) + 1)
    agreement = np.stack([decided.agreement(number) for number in numbers], axis=1)
    there = np.stack([decided.all_there(number) for number in numbers], axis=1)
    there = np.logical_and.accumulate(there, axis=1)
    closed_in = closed_by(np.where(there, agreement, np.nan), rounds.enough)
    over = np.where(closed_in > 0, closed_in, there.sum(axis=1))
    offsets = np.concatenate([[0], np.cumsum(over)]).astype(np.int32)
    told = agreement[np.arange(len(rounds)) < over[:, None]]
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(told, mask=np.isnan(told)))
    return pa.table([clips, lists, pa.array(closed_in, mask=closed_in == 0)], schema=DECIDED)


def closed_by(agreement: np.ndarray, enough: float) -> np.ndarray:
    """The round that closes each clip, from 1, 0 where none does: int32.

    agreement: float64 (clips, rounds), nan where fewer than two voters spoke or a round is not over.
    """
    closes = np.nan_to_num(agreement, nan=-1.0) >= enough - _TOLERANCE
    return np.where(closes.any(axis=1), closes.argmax(axis=1) + 1, 0).astype(np.int32)


def open_after(decided: pa.Table, number: int) -> pa.Table:
    """Of rows of `decide` the clips that a round left open."""
    over = pc.greater_equal(pc.list_value_length(decided.column("round_agreement")), number)
    closed = pc.fill_null(pc.less_equal(decided.column("closed_in"), number), False)
    return decided.filter(pc.and_not(over, closed))


def undecided(decided: pa.Table, number: int) -> pa.Table:
    """Of rows of `decide` the clips that are open, or not looked at, before a round that is not over."""
    over = pc.greater_equal(pc.list_value_length(decided.column("round_agreement")), number)
    return decided.filter(pc.and_(pc.invert(over), pc.is_null(decided.column("closed_in"))))


def first_answers(votes: pa.Table, counts: Mapping[str, int]) -> pa.Table:
    """The votes on the first answers of each expert: so many of each, none of an expert that is not named."""
    due = pa.chunked_array([pa.repeat(False, votes.num_rows)])
    for name, count in counts.items():
        mine = pc.and_(pc.equal(votes.column("expert"), name), pc.less(votes.column("sample"), count))
        due = pc.or_(due, mine)
    return votes.filter(due)


class _Clips:
    """The clips of a call with the places of their answers and votes."""

    def __init__(self, clips: pa.Array, answers: pa.Table, votes: pa.Table, rounds: Rounds) -> None:
        self._clips, self._rounds = clips, rounds
        self._votes = votes.filter(pc.is_in(votes.column("video_id"), value_set=clips))
        self._read = self._by_expert(self._votes)
        described = self._by_expert(answers)
        well = self._by_expert(answers.filter(pc.equal(answers.column("status"), OK)))
        # How many answers an expert gives when it is first asked, and where all of them failed.
        self._first = {name: rounds.by_then[rounds.first(name) - 1][name] for name in rounds.by_then[-1]}
        self._gave_up = {
            name: (self._count(described[name], first) == first) & (self._count(well[name], first) == 0)
            for name, first in self._first.items()
        }
        self._speaks = np.ones(self._votes.num_rows, dtype=bool)
        for name, (clip, _, row) in self._read.items():
            self._speaks[row] = ~self._gave_up[name][clip]

    def _by_expert(self, rows: pa.Table) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per expert the clip, the number and the row of each answer: int64, int32, int64."""
        at = pc.index_in(rows.column("video_id"), value_set=self._clips).fill_null(-1)
        clip = at.to_numpy()
        sample = rows.column("sample").to_numpy()
        found = {}
        for name in self._rounds.by_then[-1]:
            row = np.flatnonzero(pc.equal(rows.column("expert"), name).to_numpy() & (clip >= 0))
            found[name] = (clip[row], sample[row], row)
        return found

    def _count(self, of: tuple[np.ndarray, np.ndarray, np.ndarray], below: int) -> np.ndarray:
        """How many answers with a number below this each clip has: int64."""
        clip, sample, _ = of
        return np.bincount(clip[sample < below], minlength=len(self._clips))

    def all_there(self, number: int) -> np.ndarray:
        """Whether everything that is due by the end of a round has been read: bool per clip."""
        there = np.ones(len(self._clips), dtype=bool)
        for name, count in self._rounds.by_then[number - 1].items():
            first = self._first[name]
            tried = self._count(self._read[name], first) == first
            there &= (self._count(self._read[name], count) == count) | (self._gave_up[name] & tried)
        return there

    def agreement(self, number: int) -> np.ndarray:
        """How far the answers agree that are due by the end of a round: float64, nan where nothing does."""
        speaking = self._votes.filter(pa.array(self._speaks))
        due = first_answers(speaking, self._rounds.by_then[number - 1])
        found = agreement_of(due, self._rounds.agree_on)
        at = pc.index_in(self._clips, value_set=found.column("video_id").combine_chunks())
        values = found.column("agreement").combine_chunks().take(at)
        return np.asarray(pc.fill_null(values, np.nan).to_numpy(zero_copy_only=False))
