"""What must stay secret stays secret, and what comes from outside stays outside."""

import json
import os
import pickle
import subprocess
import threading
from pathlib import Path

import psutil
import pytest
import yaml

from clips import make_clip
from conftest import REPOSITORY
from emo.config import load_config
from emo.errors import InputError
from emo.storage import S3Settings, Storage, s3_filesystem
from labelling import EMO, emo

# Nobody's credentials; looked for everywhere.
KEY, SECRET, TOKEN = "PLANTEDKEY0123456789", "planted/secret+that/nobody/has", "planted-token-of-nobody"
HOOK = "planted-path-of-a-webhook"


def test_planted_credentials_appear_nowhere(bucket, ray_cluster, tmp_path):
    url, s3 = bucket
    clip = make_clip(tmp_path / "clip.mp4", seconds=1.0, size=(160, 120))
    storage = Storage(url, s3)
    storage.write("videos/a.mp4", clip.read_bytes())
    storage.write("videos/a.txt", b"I am happy")
    storage.write("videos/bad.mp4", b"no video")
    settings = {
        "experts": [{"kind": "words"}],
        "ingest": {"workers": 1},
        "s3": {"endpoint_url": s3.endpoint_url, "region": "us-east-1", "key": KEY, "secret": SECRET},
        "nightly": {
            "source": f"{url}/videos",
            "out": f"{url}/out",
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
            for process in psutil.process_iter():
                try:
                    titles.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue
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
    assert done.returncode == 0, done.stderr
    assert failed.returncode not in (0, 3)

    places = {"terminal": done.stdout + done.stderr, "failed terminal": failed.stdout + failed.stderr}
    places |= {f"title {number}": title for number, title in enumerate(titles)}
    written = {entry.path: storage.read(f"out/{entry.path}") for entry in Storage(f"{url}/out", s3).entries()}
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


def test_an_id_that_looks_like_a_path_or_a_page_does_no_harm(tmp_path, ray_cluster):
    clip = make_clip(tmp_path / "clip.mp4", seconds=1.0, size=(160, 120))
    names = ["../../etc/passwd", "<script>alert(1)</script>", "a\u202eb", "-rf"]
    lines = [json.dumps({"uri": str(clip), "video_id": name, "subtitle": "I am happy"}) for name in names]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    out = tmp_path / "deep/er/out"
    options = ["--set", "experts=[{kind: words}]", "--set", "ingest.workers=1"]
    done = emo("label", tmp_path / "manifest.jsonl", "--out", out, *options, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "<script>alert(1)" not in (out / "report/index.html").read_text()
    inside = {path.name for path in tmp_path.iterdir()}
    assert inside == {"clip.mp4", "clip.mp4.0.wav", "manifest.jsonl", "deep"}


def test_nothing_in_the_code_reads_pickles_or_runs_what_it_reads():
    """Words that would: each place that has one was looked at and is named here."""
    words = ("pickle.load", "torch.load(", "yaml.load(", "eval(", "exec(", "shell=True", "allow_pickle=True")
    found = {
        (path.relative_to(REPOSITORY).as_posix(), word)
        for folder in ("emo", "jobs")
        for path in (REPOSITORY / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        for word in words
        if word in line.replace(".eval()", "") and "weights_only=True" not in line
    }
    # What one worker hands to another of the same job; it comes from no file.
    assert found == {("jobs/finetune_data.py", "pickle.load")}
