"""Storage behaves the same on a local disk and on a real S3 server, and says clearly what is wrong."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import free_port
from emo.errors import InputError, StorageError
from emo.store.backend import LOCK_SUFFIX
from emo.store.s3 import S3Settings
from emo.store.storage import Storage


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path, bucket):
    if request.param == "local":
        return Storage(str(tmp_path / "out"))
    url, settings = bucket
    return Storage(f"{url}/some/prefix", settings)


def test_what_was_written_is_read_and_listed(storage):
    storage.check()
    storage.write("a/one.parquet", b"1")
    storage.write("a/b/two.parquet", b"22")
    storage.write("c.json", b"333")
    assert storage.read("a/b/two.parquet") == b"22"
    assert [(e.path, e.size) for e in storage.entries()] == [
        ("a/b/two.parquet", 2),
        ("a/one.parquet", 1),
        ("c.json", 3),
    ]
    assert [e.path for e in storage.entries("a")] == ["a/b/two.parquet", "a/one.parquet"]
    assert storage.entries("nothing") == []


def test_a_prefix_is_a_folder_and_not_the_start_of_a_name(storage):
    storage.write("clips/x", b"1")
    storage.write("clips-old/y", b"1")
    assert [e.path for e in storage.entries("clips")] == ["clips/x"]


def test_a_slash_at_the_end_of_a_root_changes_nothing(storage):
    storage.write("clips/x", b"1")
    for end in ("/", "//"):
        same = Storage(storage.url + end, storage.s3)
        assert same.full("clips/x") == storage.full("clips/x")
        assert same.names() == ["clips/x"]
        assert same.read("clips/x") == b"1"


def test_a_missing_file_is_file_not_found(storage):
    with pytest.raises(FileNotFoundError):
        storage.read("nowhere")


def test_deleting_twice_is_fine(storage):
    storage.write("x", b"1")
    storage.delete("x")
    storage.delete("x")
    assert storage.entries() == []


def test_replace_if_writes_only_over_the_version_that_was_read(storage):
    first = storage.replace_if("lease", None, b"a")
    assert first is not None
    assert storage.replace_if("lease", None, b"b") is None
    second = storage.replace_if("lease", first, b"c")
    assert second is not None
    assert storage.replace_if("lease", first, b"d") is None
    assert storage.read_versioned("lease") == (b"c", second)
    assert storage.read_versioned("gone") is None
    assert storage.replace_if("gone", second, b"d") is None


def test_of_many_writers_at_once_one_wins(storage):
    won = []

    def contend(number: int) -> None:
        if storage.replace_if("lease", None, f"{number}".encode()):
            won.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("lease") == f"{won[0]}".encode()


def test_a_lock_that_nobody_gives_back_is_named_and_is_no_wait_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("emo.store.local.LOCKED_S", 0.2)
    storage = Storage(str(tmp_path))
    first = storage.replace_if("lease", None, b"a")
    # As a process holds it that was stopped at that moment.
    with (tmp_path / f".lease{LOCK_SUFFIX}").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=r"lease: another process has held its lock for 0 s"):
            storage.replace_if("lease", first, b"b")
    assert storage.replace_if("lease", first, b"b") is not None


def test_a_path_cannot_leave_the_root(storage):
    for path in ("../x", "a/../../x", ".."):
        with pytest.raises(InputError, match="leaves"):
            storage.write(path, b"1")


def test_download_gives_a_local_file_with_the_suffix(storage):
    storage.write("clip.mkv", b"video")
    with storage.download("clip.mkv") as path:
        assert path.endswith(".mkv")
        assert Path(path).read_bytes() == b"video"


def test_a_half_written_file_is_never_seen(tmp_path):
    """Writers are killed with -9 again and again: the file is whole every time, and no part is listed."""
    program = (
        "import sys; from emo.store.storage import Storage\n"
        "s = Storage(sys.argv[1])\n"
        "print('up', flush=True)\n"
        "while True:\n"
        "    for c in b'ab': s.write('file', bytes([c]) * 4_000_000)\n"
    )
    storage = Storage(str(tmp_path))
    for delay in (0.02, 0.05, 0.11, 0.17):
        writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        threading.Event().wait(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        if storage.entries():
            data = storage.read("file")
            assert len(data) == 4_000_000
            assert len(set(data)) == 1
        assert [e.path for e in storage.entries()] in ([], ["file"])


def test_what_killed_writers_left_is_swept_and_a_living_writer_is_let_be(tmp_path):
    """Both writers stand still in the middle of a file, for as long as nobody writes; one is then killed."""
    program = (
        "import os, sys, time; from emo.store.storage import Storage\n"
        "def stand_still(handle):\n"
        "    print('writing', flush=True); sys.stdin.readline()\n"
        "os.fsync = stand_still\n"
        "Storage(sys.argv[1]).write(f'clips/{sys.argv[2]}', b'whole')\n"
    )
    storage = Storage(str(tmp_path))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in ("living", "killed")
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"writing\n"
    storage.replace_if("clips/leased", None, b"x")
    parts = list((tmp_path / "clips").glob(".*.part"))
    assert len(parts) == 3
    for part in parts:
        os.utime(part, (1e9, 1e9))
    assert storage.sweep("clips", 90) == 0
    writers[1].kill()
    writers[1].wait()
    # A young one may be between its birth and its lock.
    killed = next(part for part in parts if ".killed." in part.name)
    os.utime(killed)
    assert storage.sweep("clips", 90) == 0
    os.utime(killed, (1e9, 1e9))
    assert storage.sweep("", 90, recursive=False) == 0
    assert storage.sweep("", 90) == 1
    assert not killed.exists()
    writers[0].communicate(b"\n", timeout=30)
    assert writers[0].returncode == 0
    assert storage.read("clips/living") == b"whole"
    # The lock file of `replace_if` stays.
    assert [path.name for path in (tmp_path / "clips").glob(".*")] == [".leased.lock.part"]


def test_a_missing_bucket_gives_one_line(s3_endpoint):
    storage = Storage("s3://no-such-bucket/x", S3Settings(endpoint_url=s3_endpoint))
    for call in (storage.check, storage.entries, lambda: storage.read("a"), lambda: storage.write("a", b"")):
        with pytest.raises(StorageError, match=r"^s3://no-such-bucket/x.*: the bucket does not exist$"):
            call()


def test_a_server_that_is_not_there_gives_one_line():
    nobody = f"http://127.0.0.1:{free_port()}"
    storage = Storage("s3://bucket/x", S3Settings(endpoint_url=nobody, max_attempts=2))
    with pytest.raises(StorageError, match="S3 does not answer"):
        storage.check()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(403, "AccessDenied", "access is refused"), (403, "InvalidAccessKeyId", "access is refused")],
)
def test_refused_access_gives_one_line(status, code, expected):
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    with _answering(status, body) as port:
        storage = Storage("s3://bucket/x", S3Settings(endpoint_url=f"http://127.0.0.1:{port}"))
        with pytest.raises(StorageError, match=expected):
            storage.check()


def test_credentials_do_not_show_in_text():
    settings = S3Settings(key="AKIA-planted", secret="planted-secret", token="planted-token")
    assert "planted" not in repr(settings) + str(settings) + settings.model_dump_json()


class _answering:
    """A server that gives every request the same answer."""

    def __init__(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        self._answer = f"{head}Connection: close\r\n\r\n".encode() + body

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return self._socket.getsockname()[1]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class _counting(_answering):
    """The same, and how many requests came."""

    def __enter__(self) -> "_counting":
        self.requests = 0
        self.port = super().__enter__()
        return self

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.requests += 1
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)


@pytest.mark.parametrize("call", ["check", "read", "write", "entry"])
def test_a_request_is_tried_as_often_as_the_settings_say_and_a_person_sees_it(call, capsys):
    body = b"<Error><Code>InternalError</Code><Message>no</Message></Error>"
    with _counting(500, body) as server:
        settings = S3Settings(endpoint_url=f"http://127.0.0.1:{server.port}", max_attempts=3)
        storage = Storage("s3://bucket/x", settings)
        arguments = {"check": (), "read": ("a",), "write": ("a", b"1"), "entry": ("a",)}[call]
        with pytest.raises(StorageError):
            getattr(storage, call)(*arguments)
        assert server.requests == 3
        said = capsys.readouterr().err
    assert f"S3 at http://127.0.0.1:{server.port} did not answer as it should (" in said
    assert "), 2 times of 3; trying again" in said


def test_what_a_server_does_with_conditions_is_tried_once_and_kept(bucket):
    url, settings = bucket
    found = Storage(f"{url}/out", settings).conditions
    assert (found.honoured, found.tag) == (True, "quoted")
    # As if it had been another server that was asked.
    again = Storage(f"{url}/out", settings)
    again.write(
        "conditions.json", f'{{"endpoint": "{settings.endpoint_url}", "new": true, "tag": "bare"}}'.encode()
    )
    assert again.conditions.tag == "bare"
    moved = Storage(f"{url}/out", settings)
    moved.write("conditions.json", b'{"endpoint": "http://elsewhere", "new": false, "tag": null}')
    assert moved.conditions == found
    assert moved.names() == ["conditions.json"]


def test_where_a_server_ignores_conditions_no_write_pretends_to_have_one(bucket):
    url, settings = bucket
    storage = Storage(f"{url}/out", settings)
    storage.write(
        "conditions.json", f'{{"endpoint": "{settings.endpoint_url}", "new": false, "tag": null}}'.encode()
    )
    with pytest.raises(StorageError, match="does not compare before it writes"):
        storage.replace_if("lease.json", None, b"1")


def test_a_new_name_is_flushed_with_its_folder_and_those_above_that_are_new(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync

    def fsync(handle):
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    Storage(str(tmp_path)).write("a/b/file", b"1")
    assert set(flushed[1:]) == {tmp_path / "a/b", tmp_path / "a", tmp_path}
    assert flushed[0].name.endswith(".part")
