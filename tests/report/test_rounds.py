"""What the report says of rounds."""

import pyarrow as pa

from emo.cojudgment.rounds import Rounds
from emo.report.rounds import by_round
from emo.store.tables import JUDGMENTS

ROUNDS = Rounds.of([{"a": 2}, {"a": 3}, {"a": 7, "b": 1}], {"a": 7, "b": 1}, 0.4)


def judged(*clips):
    """Rows of (answers, agreement after each round, the round that closed it)."""
    columns = {
        "video_id": [f"clip{number}" for number in range(len(clips))],
        "n_answers": [clip[0] for clip in clips],
        "round_agreement": [clip[1] for clip in clips],
        "closed_in": [clip[2] for clip in clips],
    }
    return JUDGMENTS.rows(columns, "1", [None] * len(clips))


def test_clips_answers_and_agreement_per_round_and_what_was_saved():
    rows = judged(
        (2, [0.8], 1),
        (2, [0.4], 1),
        (3, [0.2, 0.6], 2),
        (8, [0.0, 0.2, 0.3], None),
        (8, [None, 0.1, 0.5], 3),
        (7, None, None),  # made without rounds
    )
    found = by_round(rows, ROUNDS)
    assert [(one.number, one.clips, one.answers, one.closed) for one in found.rounds] == [
        (1, 5, 10, 2),
        (2, 3, 3, 1),
        (3, 2, 10, 1),
    ]
    assert [one.before for one in found.rounds] == [None, 0.1, 0.15000000000000002]
    assert [round(one.after, 3) for one in found.rounds] == [0.35, 0.3, 0.4]
    assert (found.clips, found.answers, found.in_full, found.closed) == (5, 23, 40, 4)
    assert found.line() == (
        "4.6 answers per clip instead of 8, 42% saved; round 1 closed 2 of 5 clips, "
        "round 2 closed 1 of 3 clips, "
        "round 3 closed 1 of 2 clips (agreement on families of 0.4 is enough)"
    )


def test_judgments_that_no_round_decided_say_nothing():
    assert by_round(judged((7, None, None)), ROUNDS) is None
    assert by_round(judged(), ROUNDS) is None
    assert by_round(pa.concat_tables([judged((1, [], None))]), ROUNDS).rounds[0].clips == 0
