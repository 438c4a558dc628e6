"""The rule-based extractor on real descriptions: how right its labels are, and how fast it is.

    python benchmarks/extraction.py [--data ../shared/data] [--json extraction.json]

Reads ovmerd/reasons.parquet (166 descriptions in English and Chinese), ovmerd/gold.parquet and mer-wheels/.
F is taken on emo's own clusters and by the emotion-wheel metric (EW, level 1), on all clips and on two halves
that a hash of the id decides: rules changed while looking at half A must hold on half B. `last two` is the
naive baseline, every word of the vocabulary in the last two sentences. Speed: one process, best of several
passes over each text.
"""

import argparse
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from figures import add_json_option, write

from emo import vocabulary
from emo.evaluation.ew import emo_clusters, ew
from emo.evaluation.wheels import WheelTables, load_wheels
from emo.extraction.rules import RULES_VERSION, extract

LANGUAGES = ("english", "chinese")
PASSES = 5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|[。！？；]")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "../shared/data")
    add_json_option(parser)
    arguments = parser.parse_args()
    report = measure(arguments.data)
    print(f"rules {report['rules']}, {report['clips']} clips; F (precision, recall)")
    print(f"{'':28}{'half':6}{'EW level 1':>22}{'own clusters':>22}{'labels':>8}")
    for name, scores in report["scores"].items():
        for half, score in scores.items():
            cells = "".join(
                f"{score[metric]['f']:>8.3f} ({score[metric]['p']:.2f}, {score[metric]['r']:.2f})"
                for metric in ("ew", "clusters")
            )
            print(f"{name:28}{half:6}{cells}{score['labels']:>8.2f}")
    for language, speed in report["texts_per_s"].items():
        print(f"{language}: {speed:,.0f} texts/s on one core")
    write(arguments.json, report)


def measure(data: Path) -> dict[str, object]:
    """All figures, ready for JSON."""
    rows = pq.read_table(data / "ovmerd" / "reasons.parquet").to_pylist()
    gold = {
        row["video_id"]: row["labels"] for row in pq.read_table(data / "ovmerd" / "gold.parquet").to_pylist()
    }
    wheels = load_wheels(data / "mer-wheels")
    extractors: dict[str, Callable[[str], list[str]]] = {"rules": extract, "last two": last_two_sentences}
    return {
        "rules": RULES_VERSION,
        "clips": len(rows),
        "scores": {
            f"{name}, {language}": score_halves(
                gold, {row["video_id"]: labels_of(row[language]) for row in rows}, wheels
            )
            for language in LANGUAGES
            for name, labels_of in extractors.items()
        },
        "texts_per_s": {language: speed([row[language] for row in rows]) for language in LANGUAGES},
    }


def last_two_sentences(text: str) -> list[str]:
    """The baseline: every emotion word of the last two sentences."""
    ends = [sentence for sentence in _SENTENCE_END.split(text.lower()) if sentence and sentence.strip()]
    forms = vocabulary.forms()
    found: list[str] = []
    for sentence in ends[-2:]:
        for word in re.findall(r"[a-z]+", sentence):
            if word in forms and word not in forms[word].everyday:
                found.append(forms[word].headword)
        at = 0
        while at < len(sentence):
            size = next((size for size in range(8, 1, -1) if sentence[at : at + size] in forms), 1)
            word = sentence[at : at + size]
            if size > 1 and not word.isascii() and word not in forms[word].everyday:
                found.append(forms[word].headword)
            at += size
    return list(dict.fromkeys(found))


def half_of(video_id: str) -> str:
    """A or B, by a hash, so that a clip stays in its half."""
    return "AB"[hashlib.sha1(video_id.encode()).digest()[-1] % 2]


def score_halves(
    gold: dict[str, list[str]], predicted: dict[str, list[str]], wheels: WheelTables
) -> dict[str, object]:
    """The scores on all clips and on each half."""
    ids = {
        "all": list(predicted),
        "A": [video_id for video_id in predicted if half_of(video_id) == "A"],
        "B": [video_id for video_id in predicted if half_of(video_id) == "B"],
    }
    return {
        half: scores(
            {video_id: gold[video_id] for video_id in members},
            {video_id: predicted[video_id] for video_id in members},
            wheels,
        )
        for half, members in ids.items()
    }


def scores(
    gold: dict[str, list[str]], predicted: dict[str, list[str]], wheels: WheelTables
) -> dict[str, object]:
    """F, precision and recall by both metrics, and the labels per clip."""
    by_wheel = ew(gold, predicted, wheels).score
    by_cluster = emo_clusters(gold, predicted).score
    return {
        "ew": {"f": by_wheel.f, "p": by_wheel.p, "r": by_wheel.r},
        "clusters": {"f": by_cluster.f, "p": by_cluster.p, "r": by_cluster.r},
        "labels": sum(map(len, predicted.values())) / len(predicted),
    }


def speed(texts: list[str]) -> float:
    """Texts per second: of several passes over each text the quickest, for others share the machine."""
    taken = 0.0
    for text in texts:
        best = float("inf")
        for _ in range(PASSES):
            begin = time.perf_counter()
            extract(text)
            best = min(best, time.perf_counter() - begin)
        taken += best
    return len(texts) / taken


if __name__ == "__main__":
    main()
