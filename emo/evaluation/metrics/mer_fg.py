"""MER-FG: the fine-grained tracks of MER2025 and MER2026, scored by the emotion wheels."""

from dataclasses import replace
from typing import Any

from emo.errors import InputError
from emo.evaluation.ew import SetResult, ew
from emo.evaluation.metric import WHEELS_FOLDER, Request
from emo.evaluation.metrics.ew import EwMetric
from emo.evaluation.overlap import Labels, mean_score
from emo.evaluation.wheels import LEVELS, WheelTables


class MerFgMetric(EwMetric):
    """EW under the names of the challenges: level 1 (MER2026), the mean of level 1 and 2 (MER2025)."""

    summary = (
        "track 2 of MER2026 (mean over five wheels of F at level 1) and of MER2025 (mean of level 1 and 2); "
        "gold and predictions as name,openset; needs --wheels"
    )
    options = (WHEELS_FOLDER,)

    def check(self, request: Request) -> None:
        if request.given(WHEELS_FOLDER) is None:
            raise InputError("--metric mer-fg needs --wheels, the folder with the benchmark's emotion wheels")

    def result(self, gold: Labels, labels: Any, wheels: WheelTables | None, unknown: str) -> SetResult:
        """The headline is that of MER2026; both tracks are among the scores."""
        assert wheels is not None
        found = ew(gold, labels, wheels, unknown)
        tracks = {
            "mer2026-track2": found.score,
            "mer2025-track2": mean_score([found.scores[level] for level in LEVELS]),
        }
        return replace(found, metric="mer-fg", scores=tracks | found.scores)
