"""docs/metrics.md lists every metric and every option of one as the code has them."""

from conftest import REPOSITORY
from emo.evaluation import metrics
from emo.metrics_page import page

PAGE = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_metrics_say():
    assert page() == PAGE, "write it anew: python -m emo.metrics_page > docs/metrics.md"


def test_every_metric_and_option_has_a_line_with_a_meaning():
    for name in metrics.REGISTRY.own:
        assert f"\n| `{name}` | " in PAGE
    for option in metrics.options():
        assert f"\n| `--{option.name.replace('_', '-')} " in PAGE
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            assert all(cell.strip() for cell in line.strip("|").split("|")), line
