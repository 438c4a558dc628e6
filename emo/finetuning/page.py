"""The page of a run: the loss curve, what was trained, held-out answers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from emo.pages import charts, rendering

_SHOWN = 12
_BASE = "test_base_"


def curve(history: Sequence[Mapping[str, Any]]) -> str:
    """The loss of every step and the held-out loss of every checkpoint, as SVG; empty without a step."""
    training = [(row["step"], row["loss"]) for row in history]
    held_out = [(row["step"], row["held_out_loss"]) for row in history if row["held_out_loss"] is not None]
    return charts.lines({"training": training, "held out": held_out}, "Loss by step", "step")


def page(
    name: str,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    trained: Mapping[str, Any],
) -> str:
    """One HTML page without links to elsewhere. metrics: of the best checkpoint; before, after: the answers
    (`metrics`, `rows` of sample, reference, answer) of base and best; trained: what `trained.json` holds.
    """
    speed = [row["tokens_per_s"] for row in history[1:]] or [row["tokens_per_s"] for row in history]
    waited = [row["waited_share"] for row in history[1:]] or [0.0]
    facts = {
        "Base": settings["model"],
        "Samples": f"{data['train']} trained on, {data['held_out']} held out, "
        f"{sum(data['refused'].values())} refused",
        "Steps": len(history),
        "Tokens per second": f"{sorted(speed)[len(speed) // 2]:.0f} (median)" if speed else "none",
        "Share of time waiting for data": f"{sum(waited) / len(waited):.1%}",
        "Best checkpoint": f"step {metrics['step']}",
        "Trained": f"{trained.get('trained', 0):,} of {trained.get('total', 0):,} weights",
    }
    if settings.get("adapter"):
        # Its answers stand in the column of the base.
        facts["Goes on from"] = settings["adapter"]
    first = (before or {}).get("metrics", {})
    # Of the split `test` both figures stand among those of the best.
    first = first | {key.replace("_base", "", 1): value for key, value in metrics.items() if _BASE in key}
    shown = sorted((key, value) for key, value in metrics.items() if key != "step" and _BASE not in key)
    figures = [(key, first.get(key), value) for key, value in shown]
    earlier = {row["sample"]: row["answer"] for row in (before or {}).get("rows", [])}
    answers = [
        (row["reference"], earlier.get(row["sample"], ""), row["answer"])
        for row in (after or {}).get("rows", [])[:_SHOWN]
    ]
    values = {
        "name": name,
        "facts": facts,
        "curve": Markup(curve(history)),
        "figures": figures,
        "answers": answers,
        "layers": trained.get("layers", []),
        "sample": trained.get("sample", ""),
    }
    return rendering.render(
        "emo.finetuning", "page.html", values, style="page.css", filters={"figure": _figure}
    )


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("" if value is None else str(value))
