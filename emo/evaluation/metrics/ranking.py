"""Ranking of describing experts without gold: a text model compares their descriptions pair by pair."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from emo.errors import InputError
from emo.evaluation.judging import Judge, read_judge
from emo.evaluation.labels import TEXTS, read, voter_name
from emo.evaluation.metric import (
    JUDGE,
    MAX_FAILED,
    Evaluation,
    Metric,
    Request,
    Scored,
    check_answers,
    finish,
)
from emo.evaluation.pairwise import (
    bradley_terry,
    check_connected,
    judged_pairs,
    strengths_per_clip,
    table_of_wins,
)
from emo.evaluation.systems import descriptions_in, read_descriptions
from emo.evaluation.text import table
from emo.pages import charts

_BLIND = "the judge reads the descriptions and sees no video: it cannot tell a true clue from an invented one"


@dataclass(frozen=True)
class RankingResult:
    """strengths: expert -> Bradley-Terry strength, best first, they sum to one; wins: expert -> expert ->
    share of the clips won, ties as half; pairs: that were judged; swayed: of them, those whose answer
    followed the order in which the two stood, which are ties; unread: pairs of which an answer could not be
    read."""

    metric: str
    judge: str
    strengths: dict[str, float]
    wins: dict[str, dict[str, float | None]]
    clips: int
    pairs: int
    swayed: int
    unread: int
    notes: tuple[str, ...] = ()


class RankingMetric(Metric[RankingResult]):
    """Bradley-Terry strengths of experts from the pairs that a text model decides in both orders."""

    summary = (
        "which expert describes better, without gold: --judge compares the descriptions of every two experts "
        "on every clip, in both orders; Bradley-Terry strengths with intervals. --predicted: an OUT, or "
        "NAME=PATH once for each system."
    )
    takes = frozenset({"sample"})
    options = (JUDGE, MAX_FAILED)
    several = True
    needs_gold = False

    def check(self, request: Request) -> None:
        if request.given(JUDGE) is None:
            raise InputError("--metric ranking needs --judge, the text model that compares the descriptions")
        if request.compare:
            raise InputError("--metric ranking takes every system as --predicted NAME=PATH, not --compare")

    def score(self, request: Request) -> Evaluation:
        descriptions = _descriptions(request)
        asked = request.given(JUDGE)
        assert asked is not None
        with closing(Judge(read_judge(asked))) as judge:
            pairs = judged_pairs(descriptions, judge.ask)
        judged = int(pairs.seen.sum()) // 2
        check_answers(judge.name, pairs.unread, judged + pairs.unread, request.given(MAX_FAILED))
        check_connected(pairs)
        strengths = dict(zip(pairs.names, bradley_terry(pairs.wins.sum(axis=-1)).tolist(), strict=True))
        shares = table_of_wins(pairs)
        result = RankingResult(
            metric="ranking",
            judge=judge.name,
            strengths=dict(sorted(strengths.items(), key=lambda item: (-item[1], item[0]))),
            wins={
                name: dict(zip(pairs.names, row, strict=True))
                for name, row in zip(pairs.names, shares, strict=True)
            },
            clips=int((pairs.seen.sum(axis=(0, 1)) > 0).sum()),
            pairs=judged,
            swayed=pairs.swayed,
            unread=pairs.unread,
            notes=(_BLIND,),
        )
        return finish(
            self, request, Scored(", ".join(request.predicted), result, strengths_per_clip(pairs)), None
        )

    def lines(self, result: RankingResult) -> list[str]:
        names = list(result.strengths)
        rows: list[list[object]] = [
            [name, result.strengths[name], *(result.wins[name][other] for other in names)] for name in names
        ]
        lines = [
            f"{result.metric}, judge: {result.judge}, {result.pairs} pairs of {result.clips} clips",
            table(["", "strength", *(f"against {name}" for name in names)], rows),
            f"pairs whose answer followed the order, counted as ties: {result.swayed}",
        ]
        if result.unread:
            lines.append(f"pairs of which an answer could not be read, not counted: {result.unread}")
        return [*lines, *result.notes]

    def headline(self, result: RankingResult) -> tuple[str, int]:
        best, strength = next(iter(result.strengths.items()))
        return f"best {best}, strength {100 * strength:.2f} (judge: {result.judge})", result.clips

    def plots(self, result: RankingResult) -> dict[str, str]:
        rows = [(name, strength, "") for name, strength in result.strengths.items()]
        return {"strengths": charts.bars(rows, "Bradley-Terry strength, the sum is one")}


def _descriptions(request: Request) -> dict[str, dict[str, str]]:
    """Expert -> clip -> text."""
    if len(request.predicted) == 1 and (
        "=" not in request.predicted[0] or Path(request.predicted[0]).exists()
    ):
        found = read(descriptions_in(request.predicted[0]), TEXTS)
        sample = (
            request.sample if request.sample is not None else min(voter[1] or 0 for voter in found.voters)
        )
        chosen = found if {voter[1] for voter in found.voters} == {None} else found.only(None, sample)
        return {voter[0] or voter_name(voter): values for voter, values in sorted(chosen.voters.items())}
    texts: dict[str, dict[str, str]] = {}
    for entry in request.predicted:
        name, given, path = entry.partition("=")
        if not given or name in texts:
            raise InputError(f"--predicted {entry}: expected NAME=PATH, every name once")
        texts[name] = dict(read_descriptions(path, None, request.sample).values)  # type: ignore[arg-type]
    return texts
