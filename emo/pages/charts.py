"""Charts as SVG text, to stand in a page or a file: no library, no script, for light and dark pages."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 480, 320, 56
_COLOURS = ("#3b6fb6", "#c9622b", "#3f8f5b", "#8a55a8", "#b03a5b", "#7a7a2a")


def precision_recall(curves: Mapping[str, Sequence[tuple[float, float, float]]], title: str) -> str:
    """Curves over the bar of the co-judgment: name -> (share, precision, recall), all 0 to 1."""
    parts = [*_axes(title, "recall", "precision")]
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [(_x(recall), _y(precision), share) for share, precision, recall in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>'
            f"{escape(name)}: share {share:g}</title></circle>"
            for x, y, share in placed
        ]
        parts.append(
            f'<text x="{_WIDTH - 8}" y="{_MARGIN + 16 * number}" text-anchor="end" fill="{colour}" '
            f'font-size="12">{escape(name)}</text>'
        )
    return _svg(parts, _HEIGHT, title)


def scatter_of_groups(
    groups: Sequence[tuple[float, float, float, int]], title: str, x_name: str, y_name: str
) -> str:
    """Points with error bars: (x, y, standard error of y, how many), x and y 0 to 1."""
    parts = [*_axes(title, x_name, y_name)]
    line = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y, _, _ in groups)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2"/>')
    for x, y, error, count in groups:
        parts.append(
            f'<line x1="{_x(x):.1f}" x2="{_x(x):.1f}" y1="{_y(y - error):.1f}" y2="{_y(y + error):.1f}" '
            f'stroke="{_COLOURS[0]}"/>'
            f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4" fill="{_COLOURS[0]}">'
            f"<title>{count} clips: {y:.3f}</title></circle>"
        )
    return _svg(parts, _HEIGHT, title)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, x_name: str) -> str:
    """A line for each name through its points (x, y), both from 0 up; empty where no point is finite.

    The first series is dense; the points of the others are marked.
    """
    values = [y for points in series.values() for _, y in points if math.isfinite(y)]
    if not values:
        return ""
    right, top = max(x for points in series.values() for x, _ in points), max(values) * 1.05 or 1.0
    parts = [_text(8, 18, title, size=14), *_grid(f"{top * step / 5:.2f}" for step in range(6))]
    parts.append(_text(_x(1), _HEIGHT - 18, f"{x_name} {right:g}", anchor="end"))
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        at = [(_x(x / max(1, right)), _y(y / top)) for x, y in points if math.isfinite(y)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in at if number]
        parts.append(
            f'<text x="{_MARGIN + 90 * number}" y="{_HEIGHT - 18}" fill="{colour}" font-size="12">'
            f"{escape(name)}</text>"
        )
    return _svg(parts, _HEIGHT, title)


def bars(rows: Sequence[tuple[str, float, str]], title: str) -> str:
    """Horizontal bars: (name, value 0 to 1, note)."""
    row_height, left = 18, 130
    height = 32 + row_height * len(rows)
    room = _WIDTH - left - 110
    parts = [_text(8, 18, title, size=14)]
    for number, (name, value, note) in enumerate(rows):
        y = 30 + row_height * number
        parts.append(_text(left - 6, y + 11, name, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{room * value:.1f}" height="{row_height - 5}" '
            f'fill="{_COLOURS[0]}"/>'
        )
        parts.append(_text(left + room * value + 6, y + 11, f"{100 * value:.1f} {note}".strip()))
    return _svg(parts, height, title)


def matrix(names: Sequence[str], values: Sequence[Sequence[float | None]], title: str) -> str:
    """A square of shares between pairs, 0 to 1 (expert agreement); None is left blank."""
    cell, left, top = 30, 130, 110
    width = left + cell * len(names) + 20
    height = top + cell * len(names) + 10
    parts = [_text(8, 18, title, size=14)]
    for row, name in enumerate(names):
        y = top + cell * row
        parts.append(_text(left - 6, y + 19, name, anchor="end"))
        x = left + cell * row + cell / 2
        parts.append(
            f'<text transform="translate({x + 4:.0f},{top - 6}) rotate(-60)" font-size="12" '
            f'fill="currentColor">{escape(name)}</text>'
        )
        for column, value in enumerate(values[row]):
            if value is None:
                continue
            parts.append(
                f'<rect x="{left + cell * column}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                f'fill="{_COLOURS[0]}" fill-opacity="{value:.2f}"/>'
            )
            parts.append(
                _text(left + cell * column + cell / 2, y + 19, f"{100 * value:.0f}", anchor="middle", size=10)
            )
    return _svg(parts, height, title, width)


def _x(value: float) -> float:
    return _MARGIN + value * (_WIDTH - 2 * _MARGIN)


def _y(value: float) -> float:
    return _HEIGHT - _MARGIN - value * (_HEIGHT - 2 * _MARGIN)


def _axes(title: str, x_name: str, y_name: str) -> list[str]:
    names = [f"{step / 5:.1f}" for step in range(6)]
    parts = [_text(8, 18, title, size=14), *_grid(names)]
    parts += [_text(_x(step / 5), _y(0) + 16, name, anchor="middle") for step, name in enumerate(names)]
    parts.append(_text(_x(0.5), _HEIGHT - 18, x_name, anchor="middle"))
    parts.append(_text(_x(0), _y(1) - 10, y_name))
    return parts


def _grid(names: Iterable[str]) -> list[str]:
    """Six level lines with their names, from below."""
    parts = []
    for step, name in enumerate(names):
        y = _y(step / 5)
        parts.append(
            f'<line x1="{_x(0)}" x2="{_x(1)}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            'stroke-opacity="0.15"/>'
        )
        parts.append(_text(_x(0) - 6, y + 4, name, anchor="end"))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor">{escape(text)}</text>'
    )


def _svg(parts: Sequence[str], height: float, title: str, width: float = _WIDTH) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title, quote=True)}" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
