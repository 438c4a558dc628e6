"""The page of a run: the loss curve, what was trained, held-out answers before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 320, 56, 36
_SHOWN = 12

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top;
padding: .35rem .6rem .35rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
svg { width: 100%; height: auto; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
"""


def curve(history: Sequence[Mapping[str, Any]]) -> str:
    """The loss of every step and the held-out loss of every checkpoint, as SVG."""
    training = [(row["step"], row["loss"]) for row in history]
    held_out = [(row["step"], row["held_out_loss"]) for row in history if row["held_out_loss"] is not None]
    values = [value for _, value in [*training, *held_out] if math.isfinite(value)]
    if not values:
        return "<p>No step was made.</p>"
    last, top = max(step for step, _ in training), max(values) * 1.05 or 1.0

    def at(step: float, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - 12) * step / max(1, last)
        y = 12 + (_HEIGHT - _BOTTOM - 12) * (1 - value / top)
        return f"{x:.1f},{y:.1f}"

    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss by step" '
    parts = [head + 'xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="12">']
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = at(0, top * share).split(",")
        parts.append(
            f'<line x1="{x}" x2="{_WIDTH - 12}" y1="{y}" y2="{y}" stroke="currentColor" opacity=".15"/>'
            f'<text x="{_LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end" fill="currentColor">'
            f"{top * share:.2f}</text>"
        )
    parts.append(
        f'<text x="{_WIDTH - 12}" y="{_HEIGHT - 10}" text-anchor="end" fill="currentColor">step {last}</text>'
    )
    for points, colour, name, place in (
        (training, "#3b6fb6", "training", 0),
        (held_out, "#c9622b", "held out", 1),
    ):
        line = " ".join(at(step, value) for step, value in points if math.isfinite(value))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if place:
            parts += [
                f'<circle cx="{spot[0]}" cy="{spot[1]}" r="3.5" fill="{colour}"/>'
                for spot in (at(step, value).split(",") for step, value in points)
            ]
        parts.append(f'<text x="{_LEFT + 8 + 90 * place}" y="{_HEIGHT - 10}" fill="{colour}">{name}</text>')
    return "".join([*parts, "</svg>"])


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
    figures = "".join(
        f"<tr><th>{escape(key)}</th><td>{_number((before or {}).get('metrics', {}).get(key))}</td>"
        f"<td>{_number(value)}</td></tr>"
        for key, value in sorted(metrics.items())
        if key != "step"
    )
    layers = "".join(f"<li><code>{escape(layer)}</code></li>" for layer in trained.get("layers", []))
    sample = escape(str(trained.get("sample", "")))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Finetuning {escape(name)}</title><style>{_STYLE}</style><h1>Finetuning {escape(name)}</h1>"
        f"<table>{''.join(f'<tr><th>{k}</th><td>{escape(str(v))}</td></tr>' for k, v in facts.items())}"
        f"</table><h2>Loss</h2>{curve(history)}"
        f"<h2>Figures on held-out samples</h2><table><tr><th></th><th>base</th><th>best</th></tr>{figures}"
        f"</table>{_answers(before, after)}<h2>What is trained</h2><ul>{layers}</ul>"
        f"<p>A sample; what is trained stands in «», a dot is a media token.</p><pre>{sample}</pre></html>"
    )


def _answers(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    if after is None:
        return ""
    first = {row["sample"]: row["answer"] for row in (before or {}).get("rows", [])}
    rows = "".join(
        f"<tr><td>{escape(row['reference'])}</td><td>{escape(first.get(row['sample'], ''))}</td>"
        f"<td>{escape(row['answer'])}</td></tr>"
        for row in after["rows"][:_SHOWN]
    )
    return (
        "<h2>Held-out samples before and after</h2><div class=scroll><table>"
        f"<tr><th>caption</th><th>base</th><th>best</th></tr>{rows}</table></div>"
    )


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("" if value is None else escape(str(value)))
