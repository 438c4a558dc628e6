"""Commands on an OUT in any state: an exit code of ours, one line, and a way out."""

import collections
import json
import shutil

import pytest

from conftest import REPOSITORY
from emo.store.tables import CLIPS
from labelling import emo, label_words, last_run, rows

OTHERS = ("--set", "ingest.frames=2", "--set", "ingest.shard_rows=1")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """An OUT made with settings of its own, whose clips hold a cut and an empty file."""
    folder = tmp_path_factory.mktemp("damaged")
    source = folder / "videos"
    source.mkdir()
    for name in ("drawn_angry", "drawn_tired"):
        shutil.copy(REPOSITORY / f"samples/clips/{name}.mp4", source)
    out = folder / "out"
    done = label_words(source, out, *OTHERS)
    assert done.returncode == 0, done.stderr
    first = next((out / "clips").glob("*.parquet"))
    first.with_name("cut.parquet").write_bytes(first.read_bytes()[:300])
    first.with_name("empty.parquet").write_bytes(b"")
    return out


def test_status_of_broken_tables_ends_with_its_own_code_every_time(damaged):
    codes = collections.Counter(
        emo("status", "--out", damaged, own_process=True).returncode for _ in range(20)
    )
    assert codes == {1: 20}


def test_repair_works_whatever_settings_made_out_and_keeps_them_for_what_follows(damaged, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(damaged, out)
    before = last_run(out)["config"]
    (out / "runs/20990101T000000Z.json").write_text("{half a run")
    done = emo("repair", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "emo repair: 3 files were set aside"
    assert (out / "set-aside/runs/20990101T000000Z.json").exists()
    assert len(rows(out, CLIPS)) == 2
    assert last_run(out)["config"] == before
    state = emo("status", "--out", out, "--json")
    assert state.returncode == 0, state.stderr
    counted = {one["table"]: one["rows"] for one in json.loads(state.stdout)["tables"]}
    assert counted["clips"] == 2
