"""S3 servers other than the one of all other tests: what each promises, and what emo makes of it."""

import pickle
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


WHOLE = 200_000_000


def sizes(storage):
    """Every object below OUT, those too that no listing of emo shows."""
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    page = storage.backend.filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/")
    return {one["Key"].removeprefix(f"{prefix}/"): one["Size"] for one in page.get("Contents", [])}


def kill_a_writer_half_way(storage, name, within_s=30.0):
    """A process that writes over a small file, killed once the server shows any of it, or after a while."""
    storage.write(name, b"small")
    program = (
        "import pickle, sys; storage = pickle.load(sys.stdin.buffer)\n"
        f"print('writes', flush=True); storage.write(sys.argv[1], bytes({WHOLE}))\n"
    )
    command = [sys.executable, "-c", program, name]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer.stdin.write(pickle.dumps(storage))
    writer.stdin.close()
    assert writer.stdout.readline() == b"writes\n"
    before, deadline = sizes(storage), time.monotonic() + within_s
    while time.monotonic() < deadline and sizes(storage) == before:
        pass
    writer.kill()
    writer.wait()


def test_a_writer_that_is_killed_half_way_leaves_nothing_that_anybody_reads(served, storage):
    kind, _ = served
    if kind == "s3rver":
        # Without knowing its server emo trusts it, and this one shows what arrived: the case is real.
        trusting = Storage(f"{storage.url}/trusting", storage.s3)
        kill_a_writer_half_way(trusting, "a.json")
        assert trusting.entry("a.json").size not in (len(b"small"), WHOLE)
    assert storage.conditions
    for within_s in (30.0, 0.5, 1.0, 2.0):
        kill_a_writer_half_way(storage, "a.json", within_s)
        assert len(storage.read("a.json")) in (len(b"small"), WHOLE)
    storage.sweep("", 0.0)
    assert [key for key in sizes(storage) if key.endswith(".part")] == []


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
