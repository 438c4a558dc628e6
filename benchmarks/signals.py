"""What the expert `voice` is worth on acted speech: how often it speaks, and how often it is then right.

    python benchmarks/signals.py FOLDER

FOLDER holds `gold.csv` (name, speaker, emotion) and the sounds NAME.flac, 16 kHz mono. A label counts as
right where it is of the family of the clip's emotion. Writes benchmarks/results/signals.json.
"""

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

from emo import experts, vocabulary
from emo.experts.protocol import Clip
from emo.extraction.rules import extract

RESULT = Path(__file__).resolve().parent / "results" / "signals.json"
HIGH = frozenset(("angry", "happy", "fearful", "surprised", "excited", "afraid", "nervous"))
LOW = frozenset(("sad", "bored", "neutral", "calm"))


def family(word: str) -> str | None:
    """The family of a label or of a corpus's class, None for a word that the vocabulary does not know."""
    return vocabulary.family_of(vocabulary.base_form(word) or word)


def describe(folder: Path) -> list[tuple[str, list[str]]]:
    """The emotion of each clip and the labels that it was given."""
    voice = experts.load({"name": "voice", "kind": "voice"})
    rows = []
    with (folder / "gold.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sound = (folder / f"{row['name']}.flac").read_bytes()
            clip = Clip(row["name"], (), (), sound, transcript=None, language=None, duration_s=0.0)
            [answers] = voice.describe([clip])
            if isinstance(answers, Exception):
                raise SystemExit(f"{row['name']}: {answers}")
            rows.append((row["emotion"], extract(answers[0].text)))
    return rows


def score(rows: list[tuple[str, list[str]]]) -> dict[str, object]:
    """Coverage, balanced accuracy of the arousal, and for each label its precision and its base rate."""
    spoken = [(emotion, labels) for emotion, labels in rows if labels]
    shares = []
    for side, other in ((HIGH, LOW), (LOW, HIGH)):
        judged = [labels for emotion, labels in spoken if emotion in side]
        shares.append(sum(side >= set(labels) for labels in judged) / max(1, len(judged)))
        assert not any(side >= set(labels) and other >= set(labels) for labels in judged)
    families = Counter(family(emotion) for emotion, _ in rows)
    given = Counter(label for _, labels in rows for label in labels)
    right = Counter(label for emotion, labels in rows for label in labels if family(label) == family(emotion))
    return {
        "clips": len(rows),
        "coverage": len(spoken) / len(rows),
        "arousal_balanced_accuracy": sum(shares) / 2,
        "labels": {
            label: {
                "given": count,
                "precision": right[label] / count,
                "base_rate": families[family(label)] / len(rows),
            }
            for label, count in given.most_common()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the voice expert on acted speech.")
    parser.add_argument("folder", type=Path)
    result = score(describe(parser.parse_args().folder))
    print(f"{result['clips']} clips, labels for {result['coverage']:.0%}")
    print(f"arousal, high against low: balanced accuracy {result['arousal_balanced_accuracy']:.2f}")
    labels = result["labels"]
    assert isinstance(labels, dict)
    for label, one in labels.items():
        good = "yes" if one["precision"] >= 1.5 * one["base_rate"] else "NO"
        print(
            f"{label:10} given {one['given']:4}  right {one['precision']:.2f}  "
            f"1.5 x base rate {1.5 * one['base_rate']:.2f}  {good}"
        )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
