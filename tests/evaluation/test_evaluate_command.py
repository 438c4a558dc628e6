"""`emo evaluate`: as a process where what it prints counts, through its entry point elsewhere."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import checkpoints
from emo import vocabulary
from emo.cli import main
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS, VOTES
from evaluate_command import OTHER, PREDICTED, evaluate, jsonl
from labelling import emo


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
