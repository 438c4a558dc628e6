"""What must stay secret stays secret, and what comes from outside stays outside."""

import io
import json
import os
import pickle
import re
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from clips import make_clip
from conftest import REPOSITORY
from emo.config import load_config
from emo.errors import InputError
from emo.run.session import session
from emo.store.s3 import S3Settings, s3_filesystem
from emo.store.storage import Storage
from labelling import EMO

# Nobody's credentials; looked for everywhere.
KEY, SECRET, TOKEN = "PLANTEDKEY0123456789", "planted/secret+that/nobody/has", "planted-token-of-nobody"
HOOK = "planted-path-of-a-webhook"


# Ids that look like a path, a page, a file name that reads backwards, an option.
NAMES = ["../../etc/passwd", "<script>alert(1)</script>", "a\u202eb", "-rf"]


@dataclass
class Night:
    """A night that worked and one that failed: what they said, all that they wrote to the bucket, and the
    titles of all processes meanwhile.
    """

    done: subprocess.CompletedProcess
    failed: subprocess.CompletedProcess
    bucket: dict[str, bytes]
    titles: set[str]


@pytest.fixture(scope="module")
def night(s3_endpoint, ray_cluster, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("night")
    reach = S3Settings(endpoint_url=s3_endpoint, region="us-east-1")
    s3_filesystem(reach).call_s3("create_bucket", Bucket="secrets")
    storage = Storage("s3://secrets", reach)
    clip = make_clip(tmp_path / "clip.mp4", seconds=1.0, size=(160, 120))
    storage.write("videos/a.mp4", clip.read_bytes())
    storage.write("videos/bad.mp4", b"no video")
    lines = [{"uri": "videos/a.mp4", "video_id": name, "subtitle": "I am happy"} for name in NAMES]
    lines.append({"uri": "videos/bad.mp4"})
    storage.write("manifest.jsonl", "\n".join(map(json.dumps, lines)).encode())
    settings = {
        "experts": [{"kind": "words"}],
        "ingest": {"workers": 1},
        "s3": {"endpoint_url": s3_endpoint, "region": "us-east-1", "key": KEY, "secret": SECRET},
        "nightly": {
            "source": "s3://secrets/manifest.jsonl",
            "out": "s3://secrets/out",
            "webhook": f"http://127.0.0.1:1/{HOOK}",
        },
    }
    settings["s3"]["token"] = TOKEN
    file = tmp_path / "emo.yaml"
    file.write_text(yaml.safe_dump(settings))
    titles = set()
    ended = threading.Event()

    def watch():
        while not ended.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # one that has just ended
                    titles.add(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            ended.wait(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    environment = {**os.environ, **ray_cluster, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    command = [str(EMO), "nightly", "--config", str(file), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    # A command that fails tells more than one that does not.
    broken = {**settings, "nightly": {**settings["nightly"], "out": "s3://no-such-bucket-here/out"}}
    file.write_text(yaml.safe_dump(broken))
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    ended.set()
    watcher.join()
    written = {entry.path: storage.read(entry.path) for entry in storage.entries()}
    return Night(done, failed, written, titles)


def test_planted_credentials_appear_nowhere(night, ray_cluster):
    done, failed = night.done, night.failed
    assert done.returncode == 0, done.stderr
    assert failed.returncode not in (0, 3)
    places = {"terminal": done.stdout + done.stderr, "failed terminal": failed.stdout + failed.stderr}
    places |= {f"title {number}": title for number, title in enumerate(night.titles)}
    written = {path.removeprefix("out/"): data for path, data in night.bucket.items() if "out/" in path}
    assert {"runs", "clips", "votes", "nights", "report"} <= {path.split("/")[0] for path in written}
    places |= {path: data.decode("latin-1") for path, data in written.items()}
    port = ray_cluster["RAY_ADDRESS"].rpartition(":")[2]
    logs = [path for path in Path(f"/tmp/emo-test-ray-{port}").rglob("logs/**/*") if path.is_file()]
    logs += [Path(line.split()[-1]) for line in done.stderr.splitlines() if "own messages are in" in line]
    assert len(logs) > 5
    places |= {str(path): path.read_text(errors="replace") for path in logs}
    found = [
        (place, secret)
        for place, text in places.items()
        for secret in (KEY, SECRET, TOKEN, HOOK)
        if secret in text
    ]
    assert found == []
    # The run file says that there were some.
    run = json.loads(next(data for path, data in written.items() if path.startswith("runs/")))
    assert run["config"]["s3"]["secret"] == "**********"


def test_an_id_that_looks_like_a_path_or_a_page_does_no_harm(night):
    assert night.done.returncode == 0, night.done.stderr
    page = night.bucket["out/report/index.html"].decode()
    assert "<script>alert(1)" not in page
    votes = [data for path, data in night.bucket.items() if path.startswith("out/votes/")]
    ids = {name for data in votes for name in pq.read_table(io.BytesIO(data))["video_id"].to_pylist()}
    assert ids == set(NAMES)
    # No id became a part of a name: all files are called by runs, steps and hashes.
    tables = "clips|descriptions/words|votes/words|judgments|runs|nights|report"
    plain = re.compile(rf"(out/(({tables})/)?)?[\w.-]+")
    videos = {"videos/a.mp4", "videos/bad.mp4"}
    assert [path for path in night.bucket.keys() - videos if not plain.fullmatch(path)] == []
    assert not [path for path in night.bucket if any(name in path for name in ("passwd", "alert", "rf"))]


@pytest.mark.parametrize("key", ["s3.key", "s3.secret", "s3.token", "nightly.webhook"])
def test_credentials_are_not_taken_from_a_command_line(key):
    with pytest.raises(InputError, match="no credentials on a command line") as caught:
        load_config(overrides=[f"{key}={SECRET}"])
    assert SECRET not in str(caught.value)


def test_settings_that_are_printed_or_logged_hide_their_secrets():
    settings = S3Settings(key=KEY, secret=SECRET, token=TOKEN)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(s3_filesystem(settings))):
        assert not [secret for secret in (KEY, SECRET, TOKEN) if secret in shown]
    # Workers get the real ones.
    assert pickle.loads(pickle.dumps(settings)).secret.get_secret_value() == SECRET


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "runs/../../x"])
def test_no_path_leaves_out(tmp_path, path):
    storage = Storage(str(tmp_path / "out"))
    for attempt in (storage.read, storage.delete, lambda name: storage.write(name, b"x")):
        with pytest.raises(InputError, match="leaves"):
            attempt(path)
    assert not (tmp_path / "outside").exists()


def test_nothing_in_the_code_reads_pickles_or_runs_what_it_reads():
    """Words that would: each place that has one was looked at and is named here."""
    words = ("pickle.load", "torch.load(", "yaml.load(", "eval(", "exec(", "shell=True", "allow_pickle=True")
    found = {
        (path.relative_to(REPOSITORY).as_posix(), word)
        for folder in ("emo", "jobs")
        for path in (REPOSITORY / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        for word in words
        if word in re.sub(r"\.eval\(\)|ast\.literal_eval\(", "", line) and "weights_only=True" not in line
    }
    # What one worker hands to another of the same job; it comes from no file.
    assert found == {("emo/run/training_data.py", "pickle.load")}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"s3": {"endpoint_url": f"http://user:{SECRET}@host:9000"}}, "s3.endpoint_url: no credentials"),
        ({"s3": {"endpoint_url": f"http://{KEY}@host:9000"}}, "s3.endpoint_url: no credentials"),
        ({"s3": {"secret": [SECRET]}}, "s3.secret: "),
        ({"nightly": {"webhook": f"ftp://host/{SECRET}"}}, "nightly.webhook: "),
        ({"nightly": {"command": f"notify {SECRET}"}}, "nightly.command: "),
    ],
)
def test_a_credential_at_the_wrong_place_is_refused_and_not_shown(tree, expected, tmp_path):
    file = tmp_path / "emo.yaml"
    file.write_text(yaml.safe_dump({"experts": [{"kind": "words"}], **tree}))
    with pytest.raises(InputError) as caught:
        load_config(file=str(file))
    assert expected in str(caught.value)
    assert not [secret for secret in (KEY, SECRET) if secret in str(caught.value)]


def test_no_run_file_shows_a_word_of_the_command_that_is_told_of_a_night(tmp_path):
    command = ["notify", "--token", SECRET]
    file = tmp_path / "emo.yaml"
    file.write_text(yaml.safe_dump({"experts": [{"kind": "words"}], "nightly": {"command": command}}))
    config = load_config(file=str(file))
    assert [word.get_secret_value() for word in config.nightly.command] == command
    with session(config, str(tmp_path / "out"), "nightly", None):
        pass
    [run] = (tmp_path / "out/runs").glob("*.json")
    assert json.loads(run.read_text())["config"]["nightly"]["command"] == ["**********"] * 3
    assert SECRET not in run.read_text()


@pytest.mark.parametrize(
    "override", [f"s3={{secret: {SECRET}}}", f"nightly={{webhook: 'http://h/{SECRET}'}}"]
)
def test_a_section_on_a_command_line_may_hold_no_credential_either(override):
    with pytest.raises(InputError, match="no credentials on a command line") as caught:
        load_config(overrides=[override])
    assert SECRET not in str(caught.value)
