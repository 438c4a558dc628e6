"""`emo evaluate`: as a process where what it prints counts, through its entry point elsewhere."""

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import checkpoints
from emo import vocabulary
from emo.cli import main
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS, VOTES
from labelling import emo

torch.set_num_threads(1)  # of a model this small, more only wait for each other

GOLD = {"a": ["happy"], "b": ["sad", "lonely"], "c": ["angry"], "d": ["afraid"]}
PREDICTED = {"a": ["joyful"], "b": ["sad"], "c": ["calm"], "d": ["scared", "angry"]}
OTHER = {"a": ["angry"], "b": ["happy"], "c": ["angry"], "d": ["bored"]}


def jsonl(path, values, column="labels"):
    path.write_text(
        "".join(json.dumps({"video_id": name, column: value}) + "\n" for name, value in values.items())
    )
    return path


@pytest.fixture
def files(tmp_path):
    return (
        jsonl(tmp_path / "gold.jsonl", GOLD),
        jsonl(tmp_path / "predicted.jsonl", PREDICTED),
        jsonl(tmp_path / "other.jsonl", OTHER),
    )


def evaluate(*arguments):
    """The JSON object that the command prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(printed.getvalue())


def refused(capsys, *arguments):
    """The one line with which the command refuses, exit code 2."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert captured.out == ""
    return lines[0]


# Label sets: EW, and emo's own vocabulary.


def test_predictions_are_scored_in_one_command_without_an_out_or_wheels(files):
    gold, predicted, _ = files
    done = emo("evaluate", "--predicted", predicted, "--gold", gold)
    assert done.returncode == 0, done.stderr
    assert "emo-clusters: F 62.50, 4 clips" in done.stdout
    assert "95% interval" in done.stdout
    assert "not comparable with EW" in done.stdout
    assert done.stderr.splitlines()[-1] == "emo evaluate: emo-clusters F 62.50, 4 clips"


def test_json_says_what_was_asked_for_and_how_sure_the_number_is(files):
    gold, predicted, _ = files
    found = evaluate("--predicted", predicted, "--gold", gold)
    assert found["metric"] == "emo-clusters"
    precision, recall = (1 + 1 + 0 + 0.5) / 4, (1 + 1 / 2 + 0 + 1) / 4
    assert (found["score"]["p"], found["score"]["r"]) == (pytest.approx(precision), pytest.approx(recall))
    assert found["intervals"]["F"]["low"] <= found["score"]["f"] <= found["intervals"]["F"]["high"]
    assert found["options"] == {"predicted": [str(predicted)], "gold": [str(gold)], "metric": "ew"}


def test_the_official_scores_come_out_of_the_command(ovmerd, wheels_folder):
    official = json.loads((ovmerd / "official_scores.json").read_text())
    for voter, expected in list(official.items())[::5]:
        expert, sample = voter.split("#")
        arguments = ["--predicted", ovmerd / "votes.parquet", "--expert", expert, "--sample", sample]
        found = evaluate(*arguments, "--gold", ovmerd / "gold.parquet", "--wheels", wheels_folder)
        assert found["metric"] == "ew"
        for part, numbers in expected.items():
            assert {name: found["scores"][part][name] for name in numbers} == pytest.approx(numbers, abs=1e-9)


def test_votes_of_several_voters_are_fused_and_each_voter_is_shown(ovmerd, wheels_folder, tmp_path):
    votes, gold = ovmerd / "votes.parquet", ovmerd / "gold.parquet"
    done = emo(
        *("evaluate", "--predicted", votes, "--gold", gold, "--wheels", wheels_folder, "--plots", tmp_path),
        *("--compare", votes, "--compare-expert", "affectgpt", "--compare-sample", 4),
    )
    assert done.returncode == 0, done.stderr
    assert "predicted: co-judgment (balanced) of 17 voters" in done.stdout
    assert re.search(r"affectgpt#4 +66\.77", done.stdout)
    assert re.search(r"F: \+\d\.\d\d \(95% interval .* p = 0\.\d+, 166 clips", done.stdout)
    plots = sorted(path.name for path in tmp_path.iterdir())
    assert plots == ["agreement.svg", "index.html", "labels.svg", "precision-recall.svg"]
    for name in plots:
        if name.endswith(".svg"):
            ElementTree.parse(tmp_path / name)
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == 3
    assert "co-judgment (balanced) of 17 voters" in page
    # Fourteen shares, each a point of the curve.
    assert (tmp_path / "precision-recall.svg").read_text().count("<circle") == 14


def test_counting_unknown_labels_as_wrong_changes_the_name_of_the_metric(ovmerd, wheels_folder):
    arguments = ["--predicted", ovmerd / "votes.parquet", "--expert", "otter"]
    arguments += ["--gold", ovmerd / "gold.parquet", "--wheels", wheels_folder]
    dropped, wrong = evaluate(*arguments), evaluate(*arguments, "--unknown", "wrong")
    assert wrong["metric"] == "ew[unknown=wrong]"
    assert wrong["score"]["p"] < dropped["score"]["p"]
    assert wrong["score"]["r"] == dropped["score"]["r"]
    assert wrong["intervals"]["F"]["value"] == pytest.approx(wrong["score"]["f"])


def test_a_system_compared_with_itself_does_not_differ(files):
    gold, predicted, other = files
    same = evaluate("--predicted", predicted, "--gold", gold, "--compare", predicted)["comparisons"]["F"]
    assert (same["difference"]["value"], same["p_value"]) == (0.0, 1.0)
    found = evaluate("--predicted", predicted, "--gold", gold, "--compare", other)
    difference = found["score"]["f"] - found["compared"]["score"]["f"]
    assert found["comparisons"]["F"]["difference"]["value"] == pytest.approx(difference)
    assert difference > 0


def rows(table, columns):
    filled = {field.name: columns.get(field.name) for field in table.schema}
    size = len(columns["video_id"])
    filled = {name: [None] * size if values is None else values for name, values in filled.items()}
    return pa.table({name: pa.array(filled[name], table.schema.field(name).type) for name in filled})


def fill_out(storage):
    """An OUT of two runs: the newer run corrects clip a, and its expert failed on clip d."""
    for run_id, values in (("1", OTHER), ("2", PREDICTED)):
        names = list(values)
        columns = {"video_id": names, "labels": list(values.values()), "status": ["ok"] * 4}
        committed.commit(
            storage, "judgments", JUDGMENTS, run_id, rows(JUDGMENTS, {**columns, "run_id": [run_id] * 4})
        )
    for expert, values in (("words", PREDICTED), ("voice", OTHER)):
        columns = {
            "video_id": list(values),
            "expert": [expert] * 4,
            "sample": [0] * 4,
            "labels": [*list(values.values())[:3], None],
            "status": ["ok"] * 3 + ["failed"],
            "run_id": ["1"] * 4,
        }
        committed.commit(storage, committed.folder(VOTES, expert), VOTES, "1", rows(VOTES, columns))


def test_of_an_out_the_newest_judgments_count_and_with_an_expert_its_votes(files, tmp_path):
    gold, predicted, _ = files
    out = tmp_path / "out"
    fill_out(Storage(str(out)))
    wanted = evaluate("--predicted", predicted, "--gold", gold)["score"]
    judged = evaluate("--predicted", out, "--gold", gold, "--plots", tmp_path / "plots")
    assert judged["score"] == wanted
    assert any("4 rows of older runs were left out" in note for note in judged["notes"])
    assert evaluate("--predicted", out / "judgments", "--gold", gold)["score"] == wanted
    # The votes that the judgments were made of give the curve and the agreement.
    assert (tmp_path / "plots" / "precision-recall.svg").exists()
    words = evaluate("--predicted", out, "--expert", "words", "--gold", gold)
    assert words["predicted"].startswith("words#0 of ")
    assert words["coverage"]["missing_predictions"] == 1
    assert any("2 rows failed or lack a value" in note for note in words["notes"])
    fused = evaluate("--predicted", out / "votes", "--gold", gold)
    assert list(fused["voters"]) == ["voice#0", "words#0"]


def test_an_out_on_s3_is_read_in_place(files, bucket):
    gold, predicted, _ = files
    url, settings = bucket
    fill_out(Storage(f"{url}/out", settings))
    environment = {"AWS_ENDPOINT_URL": settings.endpoint_url}
    done = emo("evaluate", "--predicted", f"{url}/out", "--gold", gold, "--json", env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["score"] == evaluate("--predicted", predicted, "--gold", gold)["score"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "npz"])
def test_predictions_in_any_kind_of_file_give_the_same_score(files, tmp_path, kind):
    gold, predicted, _ = files
    path = tmp_path / f"same.{kind}"
    names, labels = list(PREDICTED), list(PREDICTED.values())
    if kind == "parquet":
        pq.write_table(pa.table({"name": names, "openset": labels}), path)
    elif kind == "csv":
        path.write_text(
            "name,openset\n" + "".join(f'{name},"{words}"\n' for name, words in PREDICTED.items())
        )
    else:
        np.savez(path, filenames=names, fileitems=np.array([str(words) for words in labels], dtype=object))
    scores = [evaluate("--predicted", place, "--gold", gold)["score"] for place in (predicted, path)]
    assert scores[0] == scores[1]


# MER2024-OV and descriptions: groups and scores, given or by a text model.


def test_given_groups_reproduce_the_published_example(ovmerd, tmp_path):
    example = json.loads((ovmerd / "mer2024_example.json").read_text())
    clips, official = example["clips"], example["official"]
    gold = jsonl(tmp_path / "gold.jsonl", {name: clip["gold"] for name, clip in clips.items()})
    predicted = jsonl(tmp_path / "predicted.jsonl", {name: clip["predicted"] for name, clip in clips.items()})
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({name: clip["grouping"] for name, clip in clips.items()}))
    found = evaluate("--metric", "mer2024", "--predicted", predicted, "--gold", gold, "--groups", groups)
    assert found["judge"] == "given groups"
    for name in ("accuracy", "recall", "avg"):
        assert found[name] == pytest.approx(official[name], abs=1e-9)
    assert found["intervals"]["average"]["value"] == pytest.approx(official["avg"], abs=1e-9)


class Answers(BaseHTTPRequestHandler):
    """Groups words by emo's clusters; gives the length of the judged description as its score, at most 10."""

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        words = re.search(r"^Words: (.*)$", question, re.M)
        if words:
            groups = {}
            for word in words[1].split(", "):
                groups.setdefault(vocabulary.cluster_of(word), []).append(word)
            answer = json.dumps(list(groups.values()))
        else:
            judged = re.search(r"to be judged:\n(.*)\n", question)[1]
            answer = "I cannot say." if "nothing" in judged else str(min(10, len(judged.split())))
        message = {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop", "index": 0}
        body = json.dumps({"choices": [message]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def text_model() -> Iterator[str]:
    """A server of the OpenAI kind; gives the --judge that asks it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"kind=openai,url=http://127.0.0.1:{server.server_port}/v1,model=grouper-1,attempts=1"
    finally:
        server.shutdown()
        server.server_close()


def test_a_text_model_behind_a_server_makes_the_groups_and_is_named(files):
    gold, predicted, other = files
    with text_model() as judge:
        found = evaluate(
            *("--metric", "mer2024", "--predicted", predicted, "--gold", gold),
            *("--compare", other, "--judge", judge),
        )
    assert found["judge"] == "grouper-1"
    assert (found["accuracy"], found["recall"]) == (pytest.approx(2.5 / 4), pytest.approx(2.5 / 4))
    assert found["ungrouped"] == 0
    gain = found["comparisons"]["average"]["difference"]["value"]
    assert gain == pytest.approx(found["avg"] - found["compared"]["avg"])


def test_descriptions_are_compared_by_a_text_model_and_unread_answers_are_counted(tmp_path, capsys):
    gold = jsonl(tmp_path / "gold.jsonl", {name: f"{name} cries" for name in "abcd"}, "reason")
    texts = {"a": "she cries and frowns", "b": "he is glad", "c": "nothing", "d": None}
    predicted = jsonl(tmp_path / "predicted.jsonl", texts, "text")
    with text_model() as judge:
        arguments = ["--metric", "descriptions", "--predicted", predicted, "--gold", gold, "--judge", judge]
        assert main(["evaluate", *map(str, arguments), "--plots", str(tmp_path / "plots")]) == 0
        found = evaluate(*arguments, "--compare", predicted)
    printed = capsys.readouterr()
    assert "judge: grouper-1" in printed.err
    assert "clues: 3.50 (1 answers could not be read)" in printed.out
    assert (tmp_path / "plots" / "clues.svg").exists()
    assert (found["clue"], found["unread_clue"], found["missing_predictions"]) == (3.5, 1, 1)
    assert found["comparisons"]["clues"]["clips"] == 2
    assert found["comparisons"]["labels"]["p_value"] == 1.0


def test_a_model_in_this_process_is_named_with_what_it_could_not_answer(files, tmp_path):
    gold, predicted, _ = files
    model = checkpoints.make_text(tmp_path / "tiny")
    judge = f"kind=model,model={model},device=cpu,max_new_tokens=4"
    asked = ("--metric", "mer2024", "--predicted", predicted, "--gold", gold, "--judge", judge)
    assert main(["evaluate", *map(str, asked)]) == 1, "nothing that it answered could be read"
    found = evaluate(*asked, "--max-failed-share", "1")
    assert found["judge"].startswith(str(model))
    assert any("for 4 clips the judge's answer could not be read" in note for note in found["notes"])
    assert found["accuracy"] == pytest.approx(1 / 4)  # every word stands for itself: only `sad` is the same


# MER-UniBench.


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


# Bad input.


def test_bad_files_are_refused_in_one_line_that_says_what_and_where(files, tmp_path, capsys):
    gold, predicted, _ = files

    def against(content, name="bad.jsonl"):
        path = tmp_path / name
        path.write_text(content)
        return path

    def line(side, path):
        given = {"--gold": gold, "--predicted": predicted, side: path}
        return refused(capsys, *(part for pair in given.items() for part in pair))

    assert line("--gold", against("")).endswith("bad.jsonl: has no labels")
    strangers = jsonl(tmp_path / "strangers.jsonl", {"x": ["sad"], "y": ["sad"]})
    assert "no video_id of the gold set is among the predicted ones: gold has 'x' and 'y'" in line(
        "--gold", strangers
    )
    assert "no clip has a gold label in the vocabulary" in line(
        "--gold", jsonl(tmp_path / "unknown.jsonl", {"a": ["blorpish"], "b": []})
    )
    assert "line 1: no column labels or openset; it has video_id, words" in line(
        "--predicted", jsonl(tmp_path / "wrong.jsonl", {"a": ["sad"]}, "words")
    )
    votes = tmp_path / "votes.parquet"
    pq.write_table(pa.table({"video_id": ["a"], "expert": ["x"], "sample": [0], "labels": [[1]]}), votes)
    assert "column 'labels' is list<" in line("--predicted", votes)
    assert "nowhere.csv: is not there" in line("--predicted", tmp_path / "nowhere.csv")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1")
    assert "cut.parquet: cannot be read as Parquet" in line("--predicted", cut)
    assert "has nothing of expert 'nobody'" in refused(
        capsys, "--gold", gold, "--predicted", predicted, "--expert", "nobody"
    )


def test_wheels_with_a_missing_sheet_or_file_are_refused_by_its_name(files, wheels_folder, tmp_path, capsys):
    gold, predicted, _ = files
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for path in wheels_folder.iterdir():
        if path.name != "wheel3.xlsx":
            (wheels / path.name).write_bytes(path.read_bytes())
    given = ["--gold", gold, "--predicted", predicted, "--wheels", wheels]
    assert "wheel3.xlsx" in refused(capsys, *given)
    (wheels / "wheel3.xlsx").write_text("not a workbook")
    assert "wheel3.xlsx cannot be read as an Excel workbook" in refused(capsys, *given)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--metric", "accuracy"],
            "'accuracy'; expected one of: classes, descriptions, emo-clusters, emobench-generation",
        ),
        (["--groups", "x.json"], "--groups is not used by --metric ew"),
        (["--metric", "emo-clusters", "--wheels", "x"], "--wheels is not used by --metric emo-clusters"),
        (["--unknown", "wrong"], "--unknown is an option of EW, which needs --wheels"),
        (["--metric", "mer2024"], "needs --groups or --judge"),
        (["--metric", "unibench"], "needs --wheels"),
        (["--metric", "descriptions"], "needs --judge"),
        (["--compare-sample", "1"], "say what --compare means; it is not given"),
        (["--metric", "mer2024", "--judge", "model"], "'model' is not KEY=VALUE"),
        (["--metric", "mer2024", "--judge", "kind=gpt"], "kind is 'gpt'; expected model or openai"),
        (["--metric", "mer2024", "--judge", "kind=openai,model=x"], "--judge: url: is missing"),
        (
            ["--metric", "mer2024", "--judge", "kind=openai,model=x,url=http://h/v1,top=1"],
            "--judge: top: unknown key",
        ),
        (["--metric", "mer2024", "--judge", "kind=model,model=/nowhere,device=cpu"], "/nowhere"),
        (["--wheels", "/nowhere"], "wheels: /nowhere is not a folder"),
        (["--gold", "second.csv"], "--gold is given twice"),
        (["--plots", "/dev/null/x"], "--plots /dev/null/x: cannot be made"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_reason(files, capsys, arguments, reason):
    gold, predicted, _ = files
    assert reason in refused(capsys, "--predicted", predicted, "--gold", gold, *arguments)


def test_a_server_that_is_not_there_is_one_line_too(files, capsys):
    gold, predicted, _ = files
    judge = "kind=openai,url=http://127.0.0.1:9/v1,model=x,attempts=1"
    arguments = ["--metric", "mer2024", "--predicted", predicted, "--gold", gold, "--judge", judge]
    assert main(["evaluate", *map(str, arguments)]) != 0
    assert "127.0.0.1:9" in capsys.readouterr().err
