"""EW: the emotion wheels of MER-UniBench and OV-MERD, and emo's own clusters where no wheels are given."""

from typing import Any, ClassVar

from emo.errors import InputError
from emo.evaluation.metric import WHEELS_FOLDER, Option, Request
from emo.evaluation.metrics.emo_clusters import UNKNOWN, EmoClustersMetric


class EwMetric(EmoClustersMetric):
    """The same over the emotion wheels of MER-UniBench and OV-MERD, and over emo's clusters without them."""

    summary = (
        "emotion wheels of MER-UniBench and OV-MERD: F of average precision and recall, level 1, mean of "
        "five wheels. Needs --wheels; without it the metric is emo-clusters, and the result says so."
    )
    options: ClassVar[tuple[Option[Any], ...]] = (WHEELS_FOLDER, UNKNOWN)
    without_wheels = (
        "no wheels were given: the same arithmetic over emo's own vocabulary, not comparable with EW",
    )

    def check(self, request: Request) -> None:
        if request.given(WHEELS_FOLDER) is None and request.given(UNKNOWN) is not None:
            raise InputError("--unknown is an option of EW, which needs --wheels")
