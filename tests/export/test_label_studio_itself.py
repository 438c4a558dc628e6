"""Label Studio's own code on what emo writes for it, and emo on what its export then holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emo.cli import main
from emo.review.consensus import read_reviews
from emo.store.storage import Storage
from review_outs import Judged, answer, make_out

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
    """The Python of an environment with Label Studio's SDK: that of EMO_TEST_LABEL_STUDIO, or a new one."""
    if named := os.environ.get("EMO_TEST_LABEL_STUDIO"):
        return Path(named)
    folder = tmp_path_factory.mktemp("label-studio")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "label-studio-sdk"], check=True)
    return folder / "bin/python"


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
