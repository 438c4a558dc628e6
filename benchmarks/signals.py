"""What the expert `voice` is worth on acted speech: how often it speaks, and how often it is then right.

    python benchmarks/signals.py FOLDER

FOLDER holds `gold.csv` (name, speaker, emotion) and the sounds NAME.flac, 16 kHz mono. A label counts as
right where it is of the family of the clip's emotion. The limits of pitch and brightness were set on such
sentences: so each speaker is scored too with limits that are set on the other speakers alone. Writes
benchmarks/results/signals.json.
"""

import argparse
import csv
import io
import json
import statistics
from collections import Counter
from pathlib import Path
from unittest import mock

import soundfile

from emo import experts, vocabulary
from emo.experts import voice, voice_measurement
from emo.experts.protocol import Clip
from emo.extraction.rules import extract
from emo.media.voice_activity import SpeechFinder

RESULT = Path(__file__).resolve().parent / "results" / "signals.json"
HIGH = frozenset(("angry", "happy", "fearful", "surprised", "excited", "afraid", "nervous"))
LOW = frozenset(("sad", "bored", "neutral", "calm"))


def family(word: str) -> str | None:
    """The family of a label or of a corpus's class, None for a word that the vocabulary does not know."""
    return vocabulary.family_of(vocabulary.base_form(word) or word)


def describe(folder: Path) -> list[tuple[str, list[str]]]:
    """The emotion of each clip and the labels that it was given."""
    voice = experts.load(experts.settings_of({"name": "voice", "kind": "voice"}))
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


MEASURED = {"pitch": "raised_semitones", "brightness": "brightness_db"}
Spoken = list[tuple[str, str, voice_measurement.Measurement]]


def held_out(folder: Path) -> dict[str, dict[str, float]]:
    """For each speaker the arousal's balanced accuracy, with limits set on the other speakers.

    A limit is the middle between the medians of high and low arousal, as the expert's own are.
    """
    spoken = _measure(folder)
    result = {}
    for speaker in sorted({one for one, _, _ in spoken}):
        others = [one for one in spoken if one[0] != speaker]
        limits = {
            name: (_middle(others, field), *voice._ARGUMENTS[name][1:]) for name, field in MEASURED.items()
        }
        with mock.patch.dict(voice._ARGUMENTS, limits):
            result[speaker] = _balanced([one for one in spoken if one[0] == speaker])
    return result


def _measure(folder: Path) -> Spoken:
    """Speaker, emotion and measurement of each sound with speech and pitch."""
    finder = SpeechFinder()
    spoken = []
    with (folder / "gold.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            wave, _ = soundfile.read(
                io.BytesIO((folder / f"{row['name']}.flac").read_bytes()), dtype="float32"
            )
            measured = voice_measurement.measure(wave, finder.probabilities(wave))
            if measured is not None and voice.arousal(measured) is not None:
                spoken.append((row["speaker"], row["emotion"], measured))
    return spoken


def _middle(spoken: Spoken, field: str) -> float:
    sides = [
        [
            value
            for _, emotion, one in spoken
            if emotion in side and (value := getattr(one, field)) is not None
        ]
        for side in (HIGH, LOW)
    ]
    return statistics.mean(statistics.median(side) for side in sides)


def _balanced(spoken: Spoken) -> dict[str, float]:
    """judged: the share of clips that are called high or low; balanced_accuracy: of these."""
    levels = [
        [voice.arousal_level(voice.arousal(one) or 0.0) for _, emotion, one in spoken if emotion in side]
        for side in (HIGH, LOW)
    ]
    called = [[level for level in side if level != "middle"] for side in levels]
    shares = [
        side.count(level) / max(1, len(side)) for side, level in zip(called, ("high", "low"), strict=True)
    ]
    return {
        "judged": sum(map(len, called)) / max(1, sum(map(len, levels))),
        "balanced_accuracy": statistics.mean(shares),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the voice expert on acted speech.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    result = {**score(describe(folder)), "speakers_held_out": held_out(folder)}
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
    for speaker, one in result["speakers_held_out"].items():
        print(
            f"speaker {speaker}, limits set on the others: balanced accuracy {one['balanced_accuracy']:.2f} "
            f"of the {one['judged']:.0%} called high or low"
        )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
