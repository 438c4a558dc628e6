"""Label Studio's own code on what emo writes for it, and emo on what its export then holds."""

import json
import os
import subprocess

import pytest

import label_studio_server
from emo.cli import main
from emo.review.consensus import read_reviews
from emo.store.storage import Storage
from review_outs import VIDEO, Judged, answer, make_out

pytestmark = pytest.mark.long

# What Label Studio does with a project: read the configuration, check tasks and predictions, convert answers.
PROGRAM = """
import json, sys
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface

folder, project = sys.argv[1:]
config = open(f"{folder}/labelling.xml", encoding="utf-8").read()
interface = LabelInterface(config)
interface.validate()
tasks = json.load(open(f"{folder}/tasks.json", encoding="utf-8"))
faults = [
    fault for task in tasks for one in task["predictions"]
    for fault in interface.validate_prediction(one, return_errors=True)
]
missing = [
    task["data"]["video_id"] for task in tasks for shown in interface.objects
    if task["data"].get(shown.value_name) is None
]
for number, task in enumerate(json.load(open(project, encoding="utf-8"))):
    for one in task["annotations"]:
        faults += interface.validate_annotation(one) is False and [f"annotation {number}"] or []
Converter(config, folder).convert(project, f"{folder}/converted", "CSV", is_dir=False)
print(json.dumps({"tasks": len(tasks), "faults": faults, "missing": missing}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return label_studio_server.environment(tmp_path_factory.mktemp("label-studio"))


def test_label_studio_takes_what_is_exported_and_emo_takes_its_answers(python, tmp_path):
    out = make_out(
        tmp_path / "out",
        [
            Judged("a"),
            Judged('b "<&>"', labels=('so-called "fun" &<', "开心"), transcript="<b>"),
            Judged("c", start_s=1.0, end_s=2.0),
            Judged("none", labels=()),
        ],
    )
    answer(out, "a", ["relieved"])
    to = tmp_path / "to"
    assert main(["export", "--out", out.url, "--to", str(to), "--format", "label-studio"]) == 0
    tasks = json.loads((to / "tasks.json").read_text())
    # What a person does there: keep what is predicted, write a label, make a mark, comment.
    written = {"from_name": "other", "to_name": "video", "type": "textarea", "value": {"text": ["proud"]}}
    mark = {"from_name": "marks", "to_name": "video", "type": "choices", "value": {"choices": ["unusable"]}}
    for number, task in enumerate(tasks):
        kept = [one for prediction in task["predictions"] for one in prediction["result"]]
        result = [*kept, written] if number else [mark]
        task |= {"id": number + 1, "annotations": [{"id": number + 1, "completed_by": 1, "result": result}]}
    project = tmp_path / "project.json"
    project.write_text(json.dumps(tasks))

    done = subprocess.run(
        [python, "-c", PROGRAM, to, project],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"tasks": 4, "faults": [], "missing": []}
    converted = next((to / "converted").glob("*.csv")).read_text()
    assert "proud" in converted

    assert main(["review", "--out", out.url, "--import", str(project)]) == 0
    rows = [row for row in read_reviews(Storage(out.url)) if row["source_tool"] == "label-studio"]
    assert len(rows) == 4
    assert sum(row["labels"] is None for row in rows) == 1
    assert all("proud" in row["labels"] for row in rows if row["labels"] is not None)


def _choices(name, *values):
    return {"from_name": name, "to_name": "video", "type": "choices", "value": {"choices": list(values)}}


def _texts(name, *values):
    return {"from_name": name, "to_name": "video", "type": "textarea", "value": {"text": list(values)}}


def test_its_server_imports_shows_annotates_and_exports_what_emo_reads_back(python, tmp_path):
    odd = ('so-called "fun" &<', "开心", "=HYPERLINK(1)")
    clips = [Judged("a"), Judged('b "<&>"', labels=odd, transcript="<b>"), Judged("c"), Judged("d")]
    out = make_out(tmp_path / "out", [*clips, Judged("none", labels=())])
    to = tmp_path / "to"
    command = ["export", "--out", out.url, "--to", str(to), "--format", "label-studio", "--media"]
    assert main(command) == 0
    tasks = json.loads((to / "tasks.json").read_text())
    with label_studio_server.server(python, tmp_path / "data", to) as studio:
        interface = (to / "labelling.xml").read_text()
        project = studio.ask("/api/projects", {"title": "emo", "label_config": interface})["id"]
        storage = {"project": project, "path": str(to / "videos"), "use_blob_urls": True}
        studio.ask("/api/storages/localfiles", storage)
        told = studio.ask(f"/api/projects/{project}/import", tasks)
        assert (told["task_count"], told["prediction_count"]) == (5, 4)
        listed = studio.ask(f"/api/tasks?project={project}&fields=all&page_size=100")["tasks"]
        there = {one["data"]["video_id"]: studio.ask(f"/api/tasks/{one['id']}") for one in listed}
        assert there.keys() == {clip.video_id for clip in clips} | {"none"}
        [prediction] = there['b "<&>"']["predictions"]
        assert prediction["result"][0]["value"]["choices"] == list(odd)
        assert (prediction["score"], prediction["model_version"][:4]) == (0.5, "emo ")
        assert there["none"]["predictions"] == []
        # What the person is shown comes from the export.
        for task in there.values():
            assert studio.read(task["data"]["video"]) == VIDEO.read_bytes()

        answers = {
            "a": [_choices("emotions", "happy", "tired")],
            'b "<&>"': [_choices("emotions", *odd[:2]), _texts("other", "proud", "calm")],
            "c": [_choices("marks", "unusable"), _texts("comment", "no <face>\nat all")],
            "d": [_choices("emotions", "tired"), _choices("marks", "more than one person")],
        }
        for video_id, result in answers.items():
            where = f"/api/tasks/{there[video_id]['id']}/annotations"
            studio.ask(where, {"result": result, "lead_time": 2.5})
        person = studio.ask("/api/current-user/whoami")["id"]
        skipped = f"/api/tasks/{there['none']['id']}/annotations"
        studio.ask(skipped, {"result": [], "was_cancelled": True})
        exported = studio.ask(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
    (tmp_path / "project.json").write_text(json.dumps(exported))

    assert main(["review", "--out", out.url, "--import", str(tmp_path / "project.json")]) == 0
    rows = {row["video_id"]: row for row in read_reviews(Storage(out.url))}
    assert {name: row["labels"] for name, row in rows.items()} == {
        "a": ["happy", "tired"],
        'b "<&>"': [*odd[:2], "proud", "calm"],
        "c": None,
        "d": ["tired"],
    }
    assert [rows[name]["verdict"] for name in answers] == ["accepted", "corrected", "unusable", "corrected"]
    assert rows['b "<&>"']["removed"] == ["=HYPERLINK(1)"]
    assert (rows["d"]["several_people"], rows["c"]["comment"]) == (True, "no <face>\nat all")
    # Its export says who answered by a number.
    assert {row["reviewer"] for row in rows.values()} == {f"label-studio {person}"}
    assert {row["seconds"] for row in rows.values()} == {2.5}
