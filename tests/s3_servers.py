"""S3 servers other than the one that all tests use, started as processes of their own.

    python tests/s3_servers.py ceph|s3rver      starts one, says its address, and ends it with Ctrl-C

ceph: radosgw over one monitor and one store in memory (Debian: radosgw, ceph-mon, ceph-osd, ceph-common).
s3rver: npm's s3rver, which writes whatever the condition.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conftest import free_port
from emo.store.s3 import S3Settings, s3_filesystem

NEEDS = {
    "ceph": ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool"),
    "s3rver": ("s3rver",),
}
KEY, SECRET = "test", "test-secret"

_CEPH = """[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{port}/0]
public_network = 127.0.0.0/8
keyring = {folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 2147483648
mon_allow_pool_size_one = true
mon_data_avail_crit = 0
mon_data_avail_warn = 0
run_dir = {folder}/run
log_file = {folder}/$name.log
admin_socket = {folder}/run/$name.asok
pid_file = {folder}/run/$name.pid
"""


def lacking(kind: str) -> list[str]:
    """The programs that a server needs and this machine has not."""
    return [name for name in NEEDS[kind] if shutil.which(name) is None]


@contextmanager
def server(kind: str) -> Iterator[S3Settings]:
    """A running server of that kind; the settings that reach it."""
    with ExitStack() as stack:
        # Short, because of the names of sockets.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"emo-{kind}-", dir="/tmp")))
        port = free_port()
        start = {"ceph": _ceph, "s3rver": _s3rver}[kind]
        start(folder, port, stack)
        key, secret = ("S3RVER", "S3RVER") if kind == "s3rver" else (KEY, SECRET)
        settings = S3Settings(
            endpoint_url=f"http://127.0.0.1:{port}", region="us-east-1", key=key, secret=secret
        )
        _until(lambda: _answers(settings), f"{kind} does not answer: {_log(folder)}")
        yield settings


def settings_with_secrets(s3: S3Settings) -> str:
    """The settings as JSON, for a configuration file or another process."""
    secrets = {name: getattr(s3, name).get_secret_value() for name in ("key", "secret")}
    return json.dumps({**s3.model_dump(exclude={"key", "secret"}), **secrets})


def _ceph(folder: Path, port: int, stack: ExitStack) -> None:
    fsid, monitor = str(uuid.uuid4()), free_port()
    for name in ("mon", "osd", "rgw", "run"):
        (folder / name).mkdir()
    (folder / "ceph.conf").write_text(_CEPH.format(fsid=fsid, port=monitor, folder=folder))
    conf = ["-c", str(folder / "ceph.conf")]
    monmap, data = str(folder / "monmap"), str(folder / "mon")
    _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}/0]", monmap)
    keyring = str(folder / "keyring")
    for number, name in enumerate(("mon.", "client.admin", "client.rgw", "osd.0")):
        caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        new = ["--create-keyring"] if number == 0 else []
        _run("ceph-authtool", *new, keyring, "--gen-key", "-n", name, *caps)
    make = ["--mkfs", "-i", "a", "--monmap", monmap, "--mon-data", data, "--keyring", keyring]
    _run("ceph-mon", *conf, *make)
    _start(folder, stack, "ceph-mon", *conf, "-i", "a", "--mon-data", data, "-f")
    _run("ceph", *conf, "--connect-timeout", "60", "osd", "create")
    osd = ["-i", "0", "--osd-data", str(folder / "osd")]
    _run("ceph-osd", *conf, *osd, "--mkfs", "--osd-uuid", str(uuid.uuid4()))
    _start(folder, stack, "ceph-osd", *conf, *osd, "-f")
    gateway = [*conf, "-n", "client.rgw", "--rgw-data", str(folder / "rgw")]
    user = ["user", "create", "--uid", "emo", "--display-name", "emo"]
    # It makes the pools too, and waits for the store to be up.
    _run("radosgw-admin", *gateway, *user, "--access-key", KEY, "--secret-key", SECRET)
    _start(
        folder,
        stack,
        "radosgw",
        *gateway,
        f"--rgw-frontends=beast endpoint=127.0.0.1:{port}",
        "-f",
    )


def _s3rver(folder: Path, port: int, stack: ExitStack) -> None:
    place = ["--directory", str(folder), "--address", "127.0.0.1", "--port", str(port)]
    _start(folder, stack, "s3rver", *place, "--silent")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


def _start(folder: Path, stack: ExitStack, *command: str) -> None:
    with (folder / "servers.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)


def _answers(settings: S3Settings) -> bool:
    try:
        s3_filesystem(settings.model_copy(update={"max_attempts": 1})).call_s3("list_buckets")
    except OSError:
        return False
    except Exception as error:
        if "EndpointConnectionError" in type(error).__name__:
            return False
        raise
    return True


def _until(condition: Callable[[], bool], otherwise: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)


def _log(folder: Path) -> str:
    return (folder / "servers.log").read_text(errors="replace")[-2000:]


def main(arguments: Sequence[str]) -> None:
    with server(arguments[0]) as settings:
        print(f"{arguments[0]} at {settings.endpoint_url}, key {KEY}, secret {SECRET}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
