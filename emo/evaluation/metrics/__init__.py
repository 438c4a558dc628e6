"""The metrics: one file each, and the registry that names them."""

import textwrap
from typing import Any

from emo.evaluation.metric import Metric
from emo.registry import Registry

REGISTRY = Registry[Metric[Any]](
    "metric",
    Metric,
    {
        "ew": "emo.evaluation.metrics.label_sets:EmotionWheels",
        "emo-clusters": "emo.evaluation.metrics.label_sets:EmoClusters",
        "mer2024": "emo.evaluation.metrics.mer2024_ov:Mer2024",
        "unibench": "emo.evaluation.metrics.mer_unibench:UniBench",
        "descriptions": "emo.evaluation.metrics.descriptions:Descriptions",
        "classes": "emo.evaluation.metrics.classes:Classes",
        "mer-fg": "emo.evaluation.metrics.mer_fg:MerFg",
        "prefer": "emo.evaluation.metrics.prefer:Prefer",
        "reliability": "emo.evaluation.metrics.reliability:Agreement",
        "ranking": "emo.evaluation.metrics.ranking:Ranking",
        "valence": "emo.evaluation.metrics.valence:Valence",
        "emobench-joint": "emo.evaluation.metrics.emobench_joint:Joint",
        "emobench-generation": "emo.evaluation.metrics.emobench_generation:Generation",
        "mme-emotion": "emo.evaluation.metrics.mme_emotion:MmeEmotion",
    },
)


def summaries() -> str:
    """What each metric of emo says of itself, as lines of a help text; those of other packages by name."""
    told = [
        textwrap.fill(
            REGISTRY.named(name).summary,
            width=110,
            initial_indent=f"  {name:<14}",
            subsequent_indent=" " * 16,
        )
        for name in REGISTRY.own
    ]
    if others := [name for name in REGISTRY.names() if name not in REGISTRY.own]:
        told.append(f"  of other packages: {', '.join(others)}")
    return "\n".join(told)
