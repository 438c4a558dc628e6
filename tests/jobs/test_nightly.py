"""Night after night: what is new, what may pass, what stays; and a scheduler can tell how each one ended."""

import json
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
import yaml

from clips import make_clip
from emo import estimates
from emo.estimates import Planned, Prices
from emo.experts.protocol import Resources
from emo.nightly import retention, retries, summary
from emo.run.session import Bounds
from emo.store.lease import Lease
from emo.store.runs import FOLDER, Run, StepRecord
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS
from labelling import by_id, emo, last_run, raw_rows, rows


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=1.0, size=(160, 120))


class Place:
    """A source, an OUT and a configuration file between them."""

    def __init__(self, folder, clip, cluster):
        self.source, self.out, self.told = folder / "videos", folder / "out", folder / "told.json"
        self.source.mkdir()
        self._file, self._clip, self._cluster = folder / "emo.yaml", clip, cluster
        self.settings = {
            "experts": [{"kind": "words"}],
            "ingest": {"workers": 1, "shard_rows": 1},
            "nightly": {
                "source": str(self.source),
                "out": str(self.out),
                "command": ["tee", str(self.told)],
            },
        }

    def add(self, name, words="I am happy"):
        shutil.copy(self._clip, self.source / f"{name}.mp4")
        (self.source / f"{name}.txt").write_text(words)

    def night(self, *more):
        self._file.write_text(yaml.safe_dump(self.settings))
        done = emo("nightly", "--config", self._file, "--json", *more, env=self._cluster)
        return done, json.loads(done.stdout) if done.stdout else None


@pytest.fixture
def place(tmp_path, clip, ray_cluster):
    return Place(tmp_path, clip, ray_cluster)


def test_each_night_does_what_is_new_or_changed_and_says_so(place):
    place.add("a")
    place.add("b", "I am sad")
    # Half of the files are broken: the others are labelled all the same.
    for name in ("bad1", "bad2"):
        (place.source / f"{name}.mp4").write_bytes(b"this is no video")
    done, night = place.night()
    assert done.returncode == 0, done.stderr
    good = {"a": ["happy"], "b": ["sad"]}
    assert by_id(rows(place.out, JUDGMENTS, "labels"), "labels") == {**good, "bad1": None, "bad2": None}
    assert [(step["name"], step["ok"], step["failed"]) for step in night["steps"]] == [
        ("ingest", 2, 2),
        ("describe words", 2, 0),
        ("extract", 2, 0),
        ("judge", 2, 2),
    ]
    assert night["steps"][0]["error_codes"] == {"not_a_video": 2}
    assert night["outcome"] == "done"
    assert night["off_by"] > 0
    # Every table is one file again, and the page, the JSON and the command tell the same.
    assert len(list(place.out.glob("clips/*.parquet"))) == 1
    assert json.loads(place.told.read_text()) == night
    base = place.out / "nights" / night["run_id"]
    assert json.loads(base.with_suffix(".json").read_text()) == night
    assert "describe words" in base.with_suffix(".html").read_text()

    # An empty night.
    files = {path: path.stat().st_mtime_ns for path in place.out.rglob("*.parquet")}
    done, night = place.night()
    assert (done.returncode, night["outcome"], night["retried"]) == (0, "done", 0)
    assert all(step["rows"] == 0 for step in night["steps"])
    assert {path: path.stat().st_mtime_ns for path in place.out.rglob("*.parquet")} == files

    # A file that comes late with an old date, one that is replaced by an older one, and one that leaves the
    # source, where it is the rule that it leaves OUT too.
    place.add("late")
    os.utime(place.source / "late.mp4", (1, 1))
    make_clip(place.source / "b.mp4", seconds=0.5, size=(80, 60))
    os.utime(place.source / "b.mp4", (2, 2))
    (place.source / "a.mp4").unlink()
    place.settings["retention"] = {"gone": "drop"}
    done, night = place.night()
    assert done.returncode == 0, done.stderr
    assert night["steps"][0]["rows"] == 2
    widths = {"b": 80, "late": 160, "bad1": None, "bad2": None}
    assert by_id(rows(place.out, CLIPS, "width"), "width") == widths
    assert night["compacted"]["rows_dropped"] >= 1
    assert night["notes"] == ["1 clips have left the source and were removed from the tables"]
    for table, ids in ((CLIPS, set(widths)), (DESCRIPTIONS, {"b", "late"}), (JUDGMENTS, set(widths))):
        assert sorted(raw_rows(place.out, table).column("video_id").to_pylist()) == sorted(ids)
    assert '"a"' not in (place.out / "report/index.html").read_text()

    # The catalogue tells what each night did and took.
    run = last_run(place.out)
    cost = sum(step["seconds"] * step["cpus"] for step in run["steps"])
    state = emo("status", "--out", place.out, "--set", "prices.cpu_hour=3600")
    line = next(line for line in state.stdout.splitlines() if line.startswith(run["run_id"]))
    assert "nightly   done      ingest 2, describe words 2, extract 2, judge 2" in line
    assert f"{cost:.2f} USD" in line
    watched = emo("status", "--out", place.out, "--watch")
    assert f"run {run['run_id']} (nightly): done" in watched.stderr
    assert "describe words" in watched.stderr

    # A source that is suddenly empty is a mistake, not an order to delete everything.
    shutil.rmtree(place.source)
    place.source.mkdir()
    done, night = place.night()
    assert done.returncode == 0
    assert "4 of 4 clips have left the source" in night["notes"][0]
    assert raw_rows(place.out, CLIPS).num_rows == 4


class Server(BaseHTTPRequestHandler):
    """A chat model on /v1, a webhook elsewhere; both answer 500 while the server is `ill`."""

    def do_GET(self):
        self._answer({"object": "list", "data": [{"id": "m"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.ill:
            self._answer({"error": "come back later"}, 500)
            return
        if not self.path.startswith("/v1"):
            self.server.told.append((self.path, body))
        choice = {"message": {"content": "She is very angry."}, "finish_reason": "stop"}
        self._answer({"choices": [choice]})

    def _answer(self, content, status=200):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.told, server.ill = [], True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_may_pass_is_tried_again_up_to_a_bound(place, server):
    port = server.server_port
    place.settings["experts"] = [
        {
            "kind": "openai",
            "name": "far",
            "server": {"url": f"http://127.0.0.1:{port}/v1", "model": "m", "attempts": 1},
        }
    ]
    place.settings["nightly"] |= {"retries": 1, "webhook": f"http://127.0.0.1:{port}/hook?key=hush"}
    place.add("a")
    (place.source / "bad.mp4").write_bytes(b"this is no video")
    done, night = place.night()
    # All descriptions failed: a scheduler sees it from the exit code.
    assert (done.returncode, night["outcome"], night["exit_code"]) == (3, "too_many_failed", 3), done.stderr
    assert f"the summary was not delivered: webhook at 127.0.0.1:{port}: HTTP 500" in done.stderr
    assert "hush" not in done.stderr
    assert [step["error_codes"] for step in night["steps"][:2]] == [{"not_a_video": 1}, {"server_error": 1}]
    found = []
    for _ in range(2):
        done, night = place.night()
        found.append((night["retried"], night["given_up"]))
    # The broken file is left alone; what was given up is no failure of the night.
    assert found == [(1, 0), (0, 1)]
    assert done.returncode == 0
    # A higher bound lets it go on, and the server is back by now.
    place.settings["nightly"]["retries"] = 2
    server.ill = False
    done, night = place.night()
    assert (done.returncode, night["retried"], night["given_up"]) == (0, 1, 0), done.stderr
    assert server.told == [("/hook?key=hush", night)]
    assert by_id(rows(place.out, DESCRIPTIONS, "status"), "status") == {"a": "ok"}
    assert by_id(rows(place.out, JUDGMENTS, "labels"), "labels") == {"a": ["angry"], "bad": None}
    secret = b"hush"
    assert not [path for path in place.out.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_bound_on_hours_ends_a_night_between_shards_and_the_next_goes_on(place):
    # An earlier night had a clock that was far ahead, so the clock has gone back since.
    ahead = "20990101T000000Z"
    Run(ahead, "nightly", None, {}, "2099-01-01T00:00:00+00:00", outcome="done").save(Storage(str(place.out)))
    for number in range(4):
        place.add(f"clip{number}")
    place.settings["nightly"]["max_hours"] = 0.2 / 3600
    done, night = place.night()
    assert done.returncode == 0, done.stderr
    assert night["outcome"] == "stopped_at_bound"
    # Less than one shard fits into so short a night: those that were under way are whole all the same.
    ingest, describe = night["steps"][:2]
    assert ingest["left"] == 4 - ingest["ok"] > 0
    assert describe["left"] == describe["rows"] == len(rows(place.out, CLIPS)) == ingest["ok"]
    assert rows(place.out, JUDGMENTS) == []
    place.settings["nightly"]["max_hours"] = 1
    done, again = place.night()
    assert again["outcome"] == "done", done.stderr
    assert again["steps"][0]["ok"] == ingest["left"]
    assert set(by_id(rows(place.out, JUDGMENTS, "status"), "status").values()) == {"ok"}
    assert raw_rows(place.out, CLIPS).num_rows == 4
    # Newer is what came later, whatever the clock said.
    assert ahead < night["run_id"] < again["run_id"]


def test_a_night_that_overlaps_leaves_at_once_with_a_code_of_its_own(place):
    place.add("a")
    with Lease(Storage(str(place.out)), "nightly"):
        done, night = place.night()
    assert done.returncode == 4
    assert "is in use by emo nightly on" in done.stderr
    assert night["exit_code"] == 4
    assert not (place.out / "clips").exists()
    assert not (place.out / "nights").exists()


def test_a_night_without_source_or_out_is_refused(place):
    place.settings["nightly"] = {}
    done, _ = place.night()
    assert done.returncode == 2
    assert "nightly: no SOURCE is given, and the configuration has no nightly.source" in done.stderr


def failed(**errors):
    return pa.table(
        {
            "video_id": list(errors),
            "error": [error for error, _ in errors.values()],
            "run_id": [run for _, run in errors.values()],
        }
    )


def tried(**attempts):
    return pa.table(
        {
            "video_id": list(attempts),
            "attempts": pa.array([count for count, _ in attempts.values()], pa.int32()),
            "run_id": pa.array([run for _, run in attempts.values()], pa.string()),
        }
    )


def test_only_passing_failures_are_due_and_each_so_often():
    rows_failed = failed(a=("unreachable", "1"), b=("truncated", "1"), c=("timeout", "3"), d=("timeout", "3"))
    found = retries.due(rows_failed, tried(c=(1, "3"), d=(2, "3")), limit=2)
    assert (found.video_ids, found.attempts, found.given_up) == (["a", "c"], [1, 2], 1)


def test_a_row_that_came_right_since_its_retries_starts_from_nothing_when_it_fails_anew():
    found = retries.due(failed(a=("timeout", "5")), tried(a=(2, "3")), limit=2)
    assert (found.video_ids, found.attempts) == (["a"], [1])


def test_a_retry_that_was_killed_counts():
    found = retries.due(failed(a=("timeout", "1")), tried(a=(2, "3")), limit=2)
    assert (found.video_ids, found.given_up) == ([], 1)


def test_what_a_bound_kept_from_being_tried_does_not_count(tmp_path):
    storage = Storage(str(tmp_path))
    due = retries.due(failed(a=("timeout", "1"), b=("timeout", "1")), tried(), limit=3)
    retries.note(storage, "ingest", "2", due)
    retries.note(storage, "ingest", "2", due, only={"a"})
    before = retries.tried_before(storage, "ingest")
    assert [(row["video_id"], row["attempts"]) for row in before.to_pylist()] == [("a", 1)]
    assert retries.tried_before(storage, "extract").num_rows == 0


def test_old_run_files_go_and_the_newest_stay_whatever_their_age(tmp_path):
    storage = Storage(str(tmp_path))
    first = datetime(2026, 1, 1, tzinfo=UTC)
    names = [(first + timedelta(days=day)).strftime("%Y%m%dT%H%M%SZ") for day in range(60)]
    for name in names:
        storage.write(f"{FOLDER}/{name}.json", b"{}")
        storage.write(f"{retention.NIGHTS}/{name}.html", b"")
    storage.write(f"{FOLDER}/notes.json", b"{}")
    removed = retention.prune_runs(storage, 55, first + timedelta(days=60))
    left = [entry.path for entry in storage.entries(FOLDER)]
    assert left == [*(f"{FOLDER}/{name}.json" for name in names[5:]), f"{FOLDER}/notes.json"]
    assert removed == 10
    retention.prune_runs(storage, 1, first + timedelta(days=600))
    assert len(storage.entries(retention.NIGHTS)) == retention.RUNS_KEPT


def test_bounds_on_hours_and_on_gpu_hours():
    assert Bounds(hours=1).reached(3599, 100) is None
    assert Bounds(hours=1).reached(3600, 0) == "the bound of 1 hours was reached"
    assert Bounds(gpu_hours=2.5).reached(10**6, 2.4) is None
    assert Bounds(gpu_hours=2.5).reached(0, 2.5) == "the bound of 2.5 GPU-hours was reached"


def test_estimates_come_from_measured_rates_or_say_that_they_are_assumed():
    step = {"name": "describe big", "ok": 90, "failed": 10, "seconds": 50.0, "workers": 4, "gpus": 8}
    old = {"name": "ingest", "ok": 100, "failed": 0, "seconds": 1.0}
    rates = estimates.measured_rates([{"steps": [step]}, {"steps": [step, old]}])
    assert rates == {"describe big": (2.0, 200)}
    planned = [
        Planned("describe big", 3600, 0, Resources(cpus=1, gpus=2), *rates["describe big"]),
        Planned("ingest", 3600, 0, Resources(cpus=1), 0.25, 0),
    ]
    big, ingest = estimates.estimate(planned, Prices(gpu_hour=2, cpu_hour=0.1))
    assert (big.gpu_hours, big.cpu_hours, big.measured) == (4.0, 2.0, 200)
    assert big.cost == pytest.approx(8.2)
    assert (ingest.worker_seconds, ingest.measured) == (0.25, 0)
    assert estimates.total([big, ingest])["gpu_hours"] == 4.0
    spent = estimates.spent([{**step, "cpus": 4}, old], Prices(gpu_hour=36))
    assert spent["gpu_hours"] == pytest.approx(50 * 8 / 3600)
    assert spent["cost"] == pytest.approx(4.0)


def test_the_page_of_a_night_escapes_what_comes_from_outside():
    step = vars(StepRecord("ingest", rows=1, failed=1, error_codes={"<script>x": 1}))
    night = {
        "run_id": "1",
        "source": "<img src=x onerror=alert(1)>",
        "out": "o",
        "outcome": "failed",
        "exit_code": 1,
        "bound": None,
        "error": "<b>bad</b>",
        "steps": [step],
        "retried": 0,
        "given_up": 0,
        "retry_limit": 3,
        "spent": None,
        "compacted": None,
        "notes": ["<i>note</i>"],
        "report": None,
    }
    page = summary.page(night)
    assert not [tag for tag in ("<script", "<img", "<b>", "<i>") if tag in page]


def test_a_command_that_cannot_be_told_does_not_fail_the_night(tmp_path):
    told = summary.tell({"run_id": "1"}, None, [str(tmp_path / "nothing")])
    assert told == [f"command {tmp_path / 'nothing'}: FileNotFoundError"]
    assert summary.tell({"run_id": "1"}, None, ["false"]) == ["command false: exit code 1"]
