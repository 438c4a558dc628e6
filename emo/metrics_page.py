"""The page docs/metrics.md: every metric, what it measures and needs, and its options.

`python -m emo.metrics_page > docs/metrics.md` writes it. What a metric is stands once: in its class, in
emo/evaluation/metrics.
"""

from emo.evaluation import metrics
from emo.evaluation.metric import argument

_INTRODUCTION = """\
# Metrics

`emo evaluate --metric NAME` computes them. [scoring.md](scoring.md) says how predictions and gold are given.

This page is written by `python -m emo.metrics_page`; do not edit it by hand.
"""


def page() -> str:
    """The whole page as Markdown."""
    lines = [
        _INTRODUCTION,
        _row("`--metric`", "what it measures", "its own options"),
        _row("---", "---", "---"),
    ]
    for name in metrics.REGISTRY.own:
        metric = metrics.REGISTRY.named(name)
        options = ", ".join(f"`{argument(option.name)}`" for option in metric.options)
        lines.append(_row(f"`{name}`", f"{metric.summary} {metric.details}".strip(), options or "–"))
    lines += ["", "## Options", "", _row("option", "of", "what it does"), _row("---", "---", "---")]
    for option, takers in metrics.options().items():
        value = option.shown or ",".join(map(str, option.choices or ()))
        lines.append(
            _row(f"`{argument(option.name)} {value}`", ", ".join(f"`{name}`" for name in takers), option.help)
        )
    return "\n".join([*lines, ""])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(page(), end="")
