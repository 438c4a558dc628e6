"""S3 servers other than the one of all other tests: what each promises, and what emo makes of it."""

import subprocess
import sys
import threading
import time

import pytest

import s3_servers
from clips import make_clip
from emo.errors import LeaseHeldError
from emo.store import lease
from emo.store.lease import Lease, read_lease
from emo.store.s3 import s3_filesystem
from emo.store.storage import Storage, storage_of
from emo.store.tables import CLIPS, JUDGMENTS
from labelling import label_words, raw_rows, rows
from leases import stands_still_and_is_replaced, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=list(s3_servers.NEEDS))
def served(request):
    if lacking := s3_servers.lacking(request.param):
        pytest.skip(f"not on this machine: {', '.join(lacking)}")
    with s3_servers.server(request.param) as settings:
        yield request.param, settings


@pytest.fixture
def storage(served, request):
    _, settings = served
    bucket = f"b{abs(hash(request.node.nodeid)):x}"[:40]
    s3_filesystem(settings).call_s3("create_bucket", Bucket=bucket)
    return Storage(f"s3://{bucket}/out", settings)


def test_what_a_server_does_with_conditions_is_found_out_once_and_kept(served, storage):
    kind, _ = served
    found = storage.conditions
    assert (found.new, found.tag) == {"ceph": (True, "bare"), "s3rver": (False, None)}[kind]
    assert storage.names() == ["conditions.json"]
    assert Storage(storage.url, storage.s3).conditions == found


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in {"EXPIRES_S": 3.0, "RENEW_S": 0.3, "LOOK_S": 0.1, "SETTLE_S": 0.3}.items():
        monkeypatch.setattr(lease, name, seconds)


def test_a_lease_is_renewed_keeps_others_out_and_is_given_back(storage, quick):
    with Lease(storage, "label") as held:
        first = read_lease(storage).version
        until(lambda: read_lease(storage).version != first, seconds=30)
        with pytest.raises(LeaseHeldError, match="in use by emo label"), Lease(storage, "nightly"):
            pass
        held.check()
    assert read_lease(storage) is None


def test_of_many_that_begin_at_once_no_two_hold_it(storage, quick):
    holding, most, lock = [0], [0], threading.Lock()

    def contend():
        try:
            with Lease(Storage(storage.url, storage.s3), "label"):
                with lock:
                    holding[0] += 1
                    most[0] = max(most[0], holding[0])
                time.sleep(2)
                with lock:
                    holding[0] -= 1
        except LeaseHeldError:
            pass

    assert storage.conditions
    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 1
    with Lease(storage, "label"):
        pass


def test_the_lease_of_a_killed_process_is_free_at_once(storage):
    program = (
        "import sys, time; from emo.store.lease import Lease\n"
        "from emo.store.s3 import S3Settings\n"
        "from emo.store.storage import Storage\n"
        "s3 = S3Settings.model_validate_json(sys.argv[2])\n"
        "with Lease(Storage(sys.argv[1], s3), 'label'): print('held', flush=True); time.sleep(600)\n"
    )
    settings = s3_servers.settings_with_secrets(storage.s3)
    holder = subprocess.Popen([sys.executable, "-c", program, storage.url, settings], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LeaseHeldError, match=f"process {holder.pid}"), Lease(storage, "label"):
            pass
    finally:
        holder.kill()
        holder.wait()
    began = time.monotonic()
    with Lease(storage, "label"):
        assert time.monotonic() - began < 30


def test_a_holder_that_stood_still_learns_that_another_has_it(storage, quick, monkeypatch):
    stands_still_and_is_replaced(storage, monkeypatch, seconds=30)


def test_a_whole_run_and_the_next_one_go_through(storage, tmp_path, ray_cluster):
    videos = tmp_path / "videos"
    videos.mkdir()
    make_clip(videos / "a.mp4", seconds=1.0, size=(160, 120))
    (videos / "a.txt").write_text("I am happy")
    config = tmp_path / "config.yaml"
    config.write_text(f"s3: {s3_servers.settings_with_secrets(storage.s3)}\n")
    settings = ["--config", config]
    for name in ("a", "b"):
        (videos / f"{name}.txt").write_text("I am happy")
        (videos / f"{name}.mp4").write_bytes((videos / "a.mp4").read_bytes())
        done = label_words(videos, storage.url, *settings, env=ray_cluster)
        assert done.returncode == 0, done.stderr
    assert [row["labels"] for row in rows(storage, JUDGMENTS, "labels")] == [["happy"], ["happy"]]
    assert sorted(raw_rows(storage, CLIPS).column("video_id").to_pylist()) == ["a", "b"]


def test_every_key_is_its_own_object(served, storage):
    kind, settings = served
    if kind == "s3rver":
        pytest.skip("s3rver keeps objects as files, and refuses such keys itself")
    bucket = storage.url.split("/")[2]
    keys = ("lead.mp4", "/lead.mp4", "a/b.mp4", "a//b.mp4", "v.mp4", "v.mp4?versionId=3", "ü +%41&.mp4")
    for key in keys:
        s3_filesystem(settings).call_s3("put_object", Bucket=bucket, Key=key, Body=key.encode())
    for key in keys:
        folder, name = storage_of(f"s3://{bucket}/{key}", settings)
        assert folder.read(name) == key.encode()
    assert [entry.path for entry in Storage(f"s3://{bucket}", settings).entries()] == sorted(keys)
