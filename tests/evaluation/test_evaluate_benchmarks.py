"""`emo evaluate` scores the folders of a benchmark, and refuses a choice by the test set."""

import re

import numpy as np
import pytest

from evaluate_command import evaluate, jsonl, refused
from labelling import emo


def benchmark(folder):
    """The nine label files as the benchmark's folders hold them, four clips each; and perfect predictions."""
    emotions = dict(zip("abcd", ("happy", "sad", "angry", "happy"), strict=True))
    values = dict(zip("abcd", (1.5, -0.5, 2.0, 0.0), strict=True))
    gold, predicted = folder / "dataset", folder / "predicted"
    predicted.mkdir(parents=True)

    def save(place, file, corpus, entries):
        (gold / place).mkdir(parents=True)
        np.savez(gold / place / file, **{corpus: np.array(entries, dtype=object)})

    def basic(named):
        return {name: {"emo": emotion, "val": 0} for name, emotion in named.items()}

    save("mer2023-dataset-process", "label-6way.npz", "test1_corpus", basic(emotions))
    save("mer2024-dataset-process", "label-6way.npz", "test1_corpus", basic(emotions))
    save("meld-process", "label.npz", "test_corpus", basic({"a": 1, "b": 2, "c": 0, "d": 1}))
    session = {f"Ses05{name}": number for name, number in zip("abcd", (0, 1, 3, 0), strict=True)}
    save("iemocap-process", "label_4way.npz", "whole_corpus", basic({**session, "Ses01x": 2}))
    for place in ("cmumosi", "cmumosei", "sims", "simsv2"):
        sentiment = {name: {"val": value} for name, value in values.items()}
        save(f"{place}-process", "label.npz", "test_corpus", sentiment)
    (gold / "ovmerdplus-process").mkdir()
    lines = "".join(f'{name},"[{emotion}]"\n' for name, emotion in emotions.items())
    (gold / "ovmerdplus-process" / "ovlabel.csv").write_text("name,openset\n" + lines)

    for name in ("mer2023", "MER2024", "meld", "ovmerdplus"):
        jsonl(predicted / f"{name}.jsonl", {name: [emotion] for name, emotion in emotions.items()})
    jsonl(
        predicted / "iemocapfour.jsonl",
        {f"Ses05{name}": [emotion] for name, emotion in emotions.items()},
    )
    polarity = {"a": ["positive"], "b": ["negative"], "c": ["positive"], "d": ["neutral"]}
    for name in ("cmumosi", "cmumosei", "sims"):
        jsonl(predicted / f"{name}.jsonl", polarity)
    jsonl(predicted / "simsv2.jsonl", {"a": ["happy"], "b": ["sad"], "c": ["glad"], "d": ["sad"]})
    return gold, predicted


def test_the_benchmarks_folders_give_nine_scores_and_their_mean(tmp_path, wheels_folder):
    gold, predicted = benchmark(tmp_path)
    (predicted / "mer2023.jsonl").write_text('{"video_id": "a", "labels": ["happy"]}\n')
    arguments = ["--metric", "unibench", "--wheels", wheels_folder, "--gold", gold]
    arguments += ["--predicted", predicted, "--selection", "epoch 30, chosen before testing"]
    done = emo("evaluate", *arguments, "--plots", tmp_path / "plots")
    assert done.returncode == 0, done.stderr
    assert "selection: epoch 30, chosen before testing" in done.stdout
    assert re.search(r"cmu-mosi +weighted F1 +100\.00 +3 +0 +macro f1 100\.00", done.stdout)
    assert (tmp_path / "plots" / "scores.svg").exists()
    found = evaluate(*arguments, "--compare", predicted)
    scores = {entry["name"]: entry["score"] for entry in found["data_sets"]}
    assert scores.pop("mer2023") == pytest.approx(0.25)
    assert set(scores.values()) == {1.0}
    assert found["mean"] == pytest.approx((8 + 0.25) / 9)
    assert found["intervals"]["mean"]["value"] == pytest.approx(found["mean"])
    assert found["intervals"]["mer2023"]["value"] == pytest.approx(0.25)
    assert found["comparisons"]["mean"]["p_value"] == 1.0
    assert any("ch-sims-v2: sentiment is the valence" in note for note in found["notes"])
    assert not any("cmu-mosi: sentiment" in note for note in found["notes"])


def test_single_data_sets_are_given_by_name_and_have_no_mean(tmp_path, wheels_folder):
    gold, predicted = benchmark(tmp_path)
    found = evaluate(
        *("--metric", "unibench", "--wheels", wheels_folder),
        *("--gold", f"MELD={gold}/meld-process/label.npz"),
        *("--gold", f"sims={gold}/sims-process/label.npz"),
        *("--predicted", f"meld={predicted}/meld.jsonl", "--predicted", f"ch-sims={predicted}/sims.jsonl"),
    )
    assert [entry["name"] for entry in found["data_sets"]] == ["meld", "ch-sims"]
    assert found["mean"] is None
    assert len(found["missing"]) == 7


def test_several_checkpoints_are_refused_because_the_test_set_must_not_choose(
    tmp_path, wheels_folder, capsys
):
    gold, _ = benchmark(tmp_path)
    results = tmp_path / "output" / "results-meld"
    results.mkdir(parents=True)
    for epoch in (30, 60):
        np.savez(results / f"{epoch}-openset.npz", filenames=["a"], fileitems=["[happy]"])
    arguments = ["--metric", "unibench", "--wheels", wheels_folder, "--gold", gold]
    line = refused(capsys, *arguments, "--predicted", tmp_path / "output")
    assert "has 2 files, such as 30-openset.npz and 60-openset.npz" in line
    assert "must not be chosen on the test set: give meld=PATH" in line
    line = refused(capsys, *arguments, "--predicted", f"dfew={tmp_path}")
    assert "no data set 'dfew'; expected mer2023, " in line
    line = refused(capsys, *arguments, "--predicted", tmp_path / "dataset" / "meld-process")
    assert "nothing in it is named after a data set" in line
