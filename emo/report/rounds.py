"""What rounds came to: clips and answers per round, agreement before and after, and what was saved."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.cojudgment.rounds import AgreeOn, Rounds
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS


@dataclass(frozen=True)
class Round:
    """One round: the clips for which it is over, the answers that it asked for, the clips that it closed, and
    the mean agreement of its clips before and after it (None: there is none).
    """

    number: int
    clips: int
    answers: int
    closed: int
    before: float | None
    after: float | None


@dataclass(frozen=True)
class RoundsReport:
    """All rounds; clips: that were asked in rounds; answers: that they got; in_full: that they would have got
    had every expert answered as often as the last round allows; closed: clips that any round closed.
    """

    rounds: tuple[Round, ...]
    enough: float
    agree_on: AgreeOn
    clips: int
    answers: int
    in_full: int
    closed: int

    @property
    def saved(self) -> float:
        """The share of all answers that was not needed, 0 to 1."""
        return (self.in_full - self.answers) / self.in_full if self.in_full else 0.0

    def line(self) -> str:
        """All of it in a line for a person."""
        closed = ", ".join(
            f"round {one.number} closed {one.closed} of {one.clips} clips" for one in self.rounds
        )
        each = self.answers / max(self.clips, 1)
        full = self.in_full / max(self.clips, 1)
        of = "" if self.agree_on == "words" else f" on {self.agree_on}"
        return (
            f"{each:.1f} answers per clip instead of {full:g}, {self.saved:.0%} saved; {closed} "
            f"(agreement{of} of {self.enough:g} is enough)"
        )


def rounds_report(storage: Storage, rounds: Rounds | None) -> RoundsReport | None:
    """What the judgments of OUT say of rounds; None where nothing was asked in rounds."""
    if rounds is None:
        return None
    columns = ["status", "n_answers", "round_agreement", "closed_in"]
    judged = committed.read_newest(storage, committed.folder(JUDGMENTS), JUDGMENTS, columns)
    return by_round(judged, rounds)


def by_round(judgments: pa.Table, rounds: Rounds) -> RoundsReport | None:
    """The same for rows of the judgments table; those that failed and those made without rounds count not."""
    rows = planning.well(judgments)
    rows = rows.filter(pc.is_valid(rows.column("round_agreement"))).combine_chunks()
    if not rows.num_rows:
        return None
    agreement = rows.column("round_agreement").combine_chunks()
    over = pc.list_value_length(agreement).to_numpy()
    after = np.full((rows.num_rows, len(rounds) + 1), np.nan)
    values = pc.list_flatten(agreement).cast(pa.float64()).fill_null(np.nan).to_numpy()
    # A judgment of other rounds may tell of more than there are now.
    inside = np.arange(over.max(initial=0)) < over[:, None]
    places = np.nonzero(inside)
    kept = places[1] < len(rounds)
    after[places[0][kept], places[1][kept] + 1] = values[kept]
    closed_in = rows.column("closed_in").fill_null(0).to_numpy()
    found = []
    for number in range(1, len(rounds) + 1):
        asked = over >= number
        due = rounds.answers(number) - (rounds.answers(number - 1) if number > 1 else 0)
        found.append(
            Round(
                number,
                clips=int(asked.sum()),
                answers=int(asked.sum()) * due,
                closed=int((closed_in == number).sum()),
                before=_mean(after[asked, number - 1]),
                after=_mean(after[asked, number]),
            )
        )
    return RoundsReport(
        tuple(found),
        rounds.enough,
        rounds.agree_on,
        clips=rows.num_rows,
        answers=pc.sum(rows.column("n_answers")).as_py() or 0,
        in_full=rows.num_rows * rounds.answers(len(rounds)),
        closed=int((closed_in > 0).sum()),
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
