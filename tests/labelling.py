"""What the tests of whole runs share: running `emo` as a process, and reading what it left."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from clips import make_clip
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, JUDGMENTS, VOTES, Table
from standing import Asking, Standing

EMO = Path(sys.executable).with_name("emo")
# After so many seconds a command is taken to hang.
COMMAND_S = 500
# Takes the commands that need no cluster.
_ALONE = Standing(None)
atexit.register(_ALONE.stop)
# The words expert alone: quick, and enough where a test is not about experts.
WORDS_ONLY = ("--set", "experts=[{kind: words}]", "--set", "ingest.workers=1")


def emo(
    *arguments: str | Path, env: Mapping[str, str] | None = None, own_process: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end.

    env: variables for it. With none, or with those of a process that stands there for commands, it runs in
    that, unless it is to have its own_process.
    """
    if not own_process and (env is None or isinstance(env, Asking)):
        standing = _ALONE if env is None else env.standing
        return standing.run([*map(str, arguments)], {**os.environ, **(env or {})}, COMMAND_S)
    return subprocess.run(
        [EMO, *map(str, arguments)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )


def spoken_clips(folder: Path, count: int, broken: bool = False) -> Path:
    """Fill a folder with short clips of three sentences in turn; broken: and with one that is no video."""
    first = make_clip(folder / "clip00.mp4", seconds=1.0, size=(160, 120))
    for number in range(1, count):
        shutil.copy(first, folder / f"clip{number:02d}.mp4")
    if broken:
        (folder / "broken.mp4").write_bytes(b"no video at all")
    for number, path in enumerate(sorted(folder.glob("*.mp4"))):
        path.with_suffix(".txt").write_text(["I am happy", "I am sad", "I am angry"][number % 3])
    return folder


def label_words(
    source: str | Path, out: str | Path, *more: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`emo label` with one quick expert."""
    return emo("label", source, "--out", out, *WORDS_ONLY, *more, env=env)


def emo_losing_a_worker(
    written: Path, *arguments: str | Path, env: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run one command of one pass on the tests' cluster, and kill its worker when the first shard is there.

    written: the folder of its shards; gives also how many of them there were when it was killed.
    """
    before = {worker.pid for worker in of_cluster(env, works)}
    with ThreadPoolExecutor(1) as background:
        run = background.submit(emo, *arguments, env=env)
        deadline = time.monotonic() + 200
        # To look for workers takes long; a worker takes longer to load its model.
        while not (new := [worker for worker in of_cluster(env, works) if worker.pid not in before]):
            assert not run.done(), run.result().stderr
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while not list(written.glob("*.parquet")):
            assert not run.done(), run.result().stderr
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # First it is stopped, so that what is counted is what it left.
        new[0].send_signal(signal.SIGSTOP)
        shards = len(list(written.glob("*.parquet")))
        new[0].kill()
        return run.result(), shards


def of_cluster(env: Mapping[str, str], sought: Callable[[str], bool]) -> list[psutil.Process]:
    """The workers of the cluster that the variables lead to whose title is sought.

    What forks them serves other clusters too; what they say goes into the folder of their own.
    """
    port = env["RAY_ADDRESS"].rpartition(":")[2]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if sought(" ".join(process.cmdline())):
                said = Path(f"/proc/{process.pid}/fd/1").readlink()
                found += [process] if f"-{port}/" in str(said) else []
    return found


def works(title: str) -> bool:
    """Whether a process with this title is a worker of a pass: one of a pool, or one at a light pass."""
    return "MapWorker" in title or "(Sharing)" in title


def until(
    condition: Callable[[], object], process: subprocess.Popen[str], seconds: float, every_s: float = 0.02
) -> None:
    """Wait for a condition while a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(every_s)


def rows(out: str | Path | Storage, table: Table, *columns: str) -> list[dict[str, Any]]:
    """The newest rows of a table."""
    storage = out if isinstance(out, Storage) else Storage(str(out))
    return committed.read_newest(storage, committed.folder(table), table, columns).to_pylist()


# What tells when a row was made; `seen` is made of the runs of the votes.
WHEN = ("run_id", "seen")


def tables(storage, without=WHEN):
    """All that a run found out, row for row, but for when it did."""
    found = {}
    for table in (CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS):
        columns = [name for name in table.schema.names if name not in without]
        newest = committed.read_newest(storage, table.name, table, columns).select(columns)
        everything = committed.read_all(storage, table.name, table, [])
        assert everything.num_rows == newest.num_rows, f"{table.name}: a row is there twice"
        found[table.name] = newest.to_pylist()
    return found


def raw_rows(out: str | Path | Storage, table: Table) -> pa.Table:
    """Every committed row of a table, older ones included."""
    storage = out if isinstance(out, Storage) else Storage(str(out))
    parts = [committed.read_file(storage, table, path) for path in committed.files(storage, table.name)]
    return pa.concat_tables([table.schema.empty_table(), *parts])


def answers(out: str | Path, expert: str) -> dict[str, list[dict[str, Any]]]:
    """The newest descriptions of one expert by clip, the samples in order."""
    columns = ("status", "error", "text", "degraded", "adapter", "output_tokens", "finish_reason")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows(out, DESCRIPTIONS, *columns):
        if row["expert"] == expert:
            found.setdefault(row["video_id"], []).append(row)
    return {clip: sorted(samples, key=lambda row: row["sample"]) for clip, samples in found.items()}


def whole(out: str | Path, expert: str) -> list[dict[str, Any]]:
    """Every committed description of an expert, but for the run that made it."""
    found = raw_rows(out, DESCRIPTIONS).drop_columns(["run_id"]).to_pylist()
    mine = [row for row in found if row["expert"] == expert]
    return sorted(mine, key=lambda row: (row["video_id"], row["sample"]))


def by_id(found: Sequence[dict[str, Any]], column: str) -> dict[str, Any]:
    """One column by video_id."""
    return {row["video_id"]: row[column] for row in found}


def last_run(out: str | Path) -> dict[str, Any]:
    """The newest run file."""
    return json.loads(sorted(Path(out, "runs").glob("*.json"))[-1].read_text())
