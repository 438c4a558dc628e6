"""What the tables say of rounds: which clips are closed, and which a round asks about.

votes and descriptions of a range of ids  →  decide  →  one line per clip

Nothing of it is stored: a clip is closed because its votes say so.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.closing import DECIDED, decide, open_after, undecided
from emo.cojudgment.rounds import Rounds
from emo.cojudgment.settings import Judge
from emo.estimates import Expected
from emo.jobs.judge import SHARD_ROWS, JudgeStep, counting
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, VOTES

# Of the clips that come to a round, so many are taken to be open after it until some were decided. On OV-MERD
# two answers that must agree on words leave 37 % open at a bound of 0.4, and a third one 70 % of these.
ASSUMED_OPEN = 0.5

_remembered: WeakKeyDictionary[Storage, tuple[object, pa.Table]] = WeakKeyDictionary()


def decisions(storage: Storage, rounds: Rounds) -> pa.Table:
    """What the votes that count say of every clip that was ingested: columns as `closing.DECIDED`.

    Read in ranges of ids, and remembered for as long as no file changes.
    """
    experts = list(rounds.by_then[-1])
    seen = (rounds.sha, _files(storage, experts))
    found = _remembered.get(storage)
    if found is None or found[0] != seen:
        rows = JudgeStep(Judge(), experts).given(storage)
        rows = rows.filter(pc.is_null(rows.column("clip_error")))
        parts = [_decided(storage, part, rounds) for part in committed.batched(rows, SHARD_ROWS)]
        found = seen, pa.concat_tables([DECIDED.empty_table(), *parts])
        _remembered[storage] = found
    return found[1]


def _files(storage: Storage, experts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The files that a decision rests on; a file never changes under its name."""
    folders = [committed.folder(table, name) for table in (DESCRIPTIONS, VOTES) for name in experts]
    return tuple(tuple(committed.files(storage, where)) for where in (committed.folder(CLIPS), *folders))


def _decided(storage: Storage, rows: pa.Table, rounds: Rounds) -> pa.Table:
    votes, answers = counting(storage, rows, ["status"])
    return decide(rows.column("video_id").combine_chunks(), answers, votes, rounds)


def open_before(storage: Storage, rounds: Rounds, number: int) -> pa.Table:
    """The clips (`video_id`) that a round asks about: the one before it is over, and none has closed them."""
    return open_after(decisions(storage, rounds), number - 1).select(["video_id"])


def expected(storage: Storage, rounds: Rounds, number: int, arriving: int) -> Expected:
    """How many clips are likely to come to a round, beside those that it can ask about now.

    arriving: clips that are about to be ingested. Those that have not come through the rounds before are
    taken to stay open as often as the others did.
    """
    decided = decisions(storage, rounds)
    coming, reach, known = float(arriving), 1.0, 0
    for earlier in range(1, number):
        left_open = open_after(decided, earlier).num_rows
        known = decided.filter(_over(decided, earlier)).num_rows
        share = left_open / known if known else ASSUMED_OPEN
        before = open_after(decided, earlier - 1) if earlier > 1 else decided
        waiting = undecided(before, earlier).num_rows
        coming = (coming + waiting) * share
        reach *= share
    return Expected(round(coming), reach, known)


def _over(decided: pa.Table, number: int) -> pa.ChunkedArray:
    return pc.greater_equal(pc.list_value_length(decided.column("round_agreement")), number)
