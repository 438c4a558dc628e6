"""What a set of captions holds, and what each filter left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from emo.captions.rules import FILTERS, Rules
from emo.captions.splits import SPLITS
from emo.store.tables import FAILED, FILTERED, OK


def summarise(rows: Sequence[Mapping[str, Any]], rules: Rules) -> dict[str, Any]:
    """Counts of a set of captions.

    filters: of every filter that is on, how many failed it, and how many nothing but it; a caption may fail
    several. splits: what is kept, and of how many videos' clips; gold_shown: what is kept, by whether the
    gold was shown; experts: what is kept, by expert.
    """
    failed = Counter(name for row in rows for name in row["filters"])
    alone = Counter(row["filters"][0] for row in rows if len(row["filters"]) == 1)
    kept = [row for row in rows if row["status"] == OK]
    return {
        "captions": len(rows),
        "kept": len(kept),
        "filtered": sum(row["status"] == FILTERED for row in rows),
        "failed": sum(row["status"] == FAILED for row in rows),
        "filters": [
            {"filter": name, "failed": failed[name], "alone": alone[name]}
            for name in FILTERS
            if name in rules.on
        ],
        "splits": {
            split: {
                "captions": sum(row["split"] == split for row in kept),
                "clips": len({row["video_id"] for row in kept if row["split"] == split}),
            }
            for split in SPLITS
        },
        "experts": dict(sorted(Counter(row["source"]["expert"] for row in kept).items())),
        "gold_shown": dict(sorted(Counter(row["source"]["gold_shown"] for row in kept).items())),
    }


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary as a table for a person."""
    lines = [f"{'filter':<16}{'failed':>10}{'this alone':>12}"]
    for row in summary["filters"]:
        reason = summary["not_applied"].get(row["filter"])
        note = f"   not applied: {reason}" if reason else ""
        lines.append(f"{row['filter']:<16}{row['failed']:>10}{row['alone']:>12}{note}")
    lines += [
        f"{split:<16}{counts['captions']:>10} captions of {counts['clips']} clips"
        for split, counts in summary["splits"].items()
    ]
    return lines + summary["split_notes"]
