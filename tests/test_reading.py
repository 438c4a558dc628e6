"""The tables of an OUT are read by emo.read and by the programs of others; those of earlier versions too."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import emo
from conftest import REPOSITORY
from emo.errors import InputError, RowError, StorageError
from emo.jobs.split import failed_row
from emo.store import committed, tables
from emo.store.compaction import compact
from emo.store.storage import Storage
from emo.store.tables import (
    CLIPS,
    DESCRIPTIONS,
    JUDGMENTS,
    REVIEWS,
    SCHEMA_KEY,
    SEGMENTS,
    TABLES,
    TOGETHER,
    VOTES,
)
from labelling import emo as run
from labelling import label_words
from review_outs import answer

EARLIER = REPOSITORY / "tests/fixtures/out_of_0_1_0"
EXPERTS = ("face", "voice", "words")


@pytest.fixture
def earlier(tmp_path):
    """An OUT as version 0.1.0 left it, schema 1."""
    return Path(shutil.copytree(EARLIER, tmp_path / "out"))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """An OUT of this version with rows of two runs: those of 0.1.0, some of them committed once more."""
    folder = tmp_path_factory.mktemp("new") / "out"
    shutil.copytree(EARLIER / "runs", folder / "runs")
    before, after = Storage(str(EARLIER)), Storage(str(folder))
    for table in TABLES.values():
        for number, path in enumerate(committed.files(before, table.name)):
            rows = committed.read_file(before, table, path)
            expert = rows.column("expert")[0].as_py() if "expert" in table.key else None
            where = committed.folder(table, expert)
            committed.commit(after, where, table, f"1-{number}", rows)
            if number == 0:
                place = rows.schema.get_field_index("run_id")
                later = rows.set_column(place, rows.schema.field(place), pa.array(["9"] * rows.num_rows))
                committed.commit(after, where, table, "9-0", later)
    film = dict.fromkeys(("size", "modified", "transcript_version", "language"))
    film |= {"video_id": "film", "uri": "/films/film.mp4"}
    lost = failed_row(film, RowError("truncated", "the file was cut"), "1")
    committed.commit(after, SEGMENTS.name, SEGMENTS, "1-0", lost)
    for reviewer in ("ann", "bob"):
        answer(after, "drawn_afraid", ["afraid"], reviewer)
    scores = {"video_id": ["drawn_afraid"], "score": [0.4], "experts": [["face", "voice"]]}
    scores |= {"nearer": [0.9], "loss": ["symmetric"]}
    committed.commit(after, TOGETHER.name, TOGETHER, "1-0", TOGETHER.rows(scores, "1", [None]))
    return folder


def test_every_row_of_the_release_is_read_as_it_was(earlier):
    storage = Storage(str(earlier))
    counts = {
        name: committed.read_newest(storage, name, table, []).num_rows for name, table in TABLES.items()
    }
    assert counts == {
        "segments": 0,
        "clips": 10,
        "descriptions": 27,
        "votes": 27,
        "judgments": 10,
        "drafts": 27,
        "draft_labels": 27,
        "captions": 27,
        "reviews": 0,
        "together": 0,
    }
    for expert in EXPERTS:
        where = committed.folder(VOTES, expert)
        assert committed.read_newest(storage, where, VOTES, ["labels"]).num_rows == 9
    judged = emo.read(str(earlier), "judgments", ["labels"]).to_pylist()
    assert len(judged) == 9
    assert {"video_id": "drawn_afraid", "labels": ["afraid", "scared", "nervous"]} in judged


def _without_columns(out, keep_values=False):
    """Take out of every file what may be null and what its table does not need: as if these came later."""
    for table in TABLES.values():
        for path in sorted((out / table.name).rglob("*.parquet")):
            rows = pq.ParquetFile(path).read()
            later = [f.name for f in table.schema if f.nullable and f.name not in (*table.needs, *_USED)]
            # The fixture itself comes from before some of them.
            pq.write_table(rows.drop_columns([name for name in later if name in rows.column_names]), path)


# Without these the rows would say something else: judgments by another judge are made anew.
_USED = ("judge", "error", "error_message", "size", "modified", "transcript_version")


def test_files_from_before_a_column_are_read_compacted_and_left_where_they_are(earlier):
    _without_columns(earlier)
    storage = Storage(str(earlier))
    # Version 0.1.0 knew neither reviews nor segments.
    for table in (one for one in TABLES.values() if one not in (REVIEWS, SEGMENTS, TOGETHER)):
        for expert in EXPERTS if "expert" in table.key and table.name != "captions" else (None,):
            where = committed.folder(table, expert)
            before = committed.read_newest(storage, where, table, table.schema.names)
            path = committed.files(storage, where)[0]
            some = committed.read_file(storage, table, path)
            found = committed.read_rows(
                storage, table, path, table.key[0], [some.column(0)[0].as_py()], table.schema.names
            )
            assert found.schema.names == table.schema.names
            compact(storage, where, table, "9")
            assert committed.read_newest(storage, where, table, table.schema.names) == before
            assert not any(committed.is_earlier(path) for path in committed.files(storage, where))


def test_commands_work_on_an_out_from_before_a_column(earlier, ray_cluster):
    _without_columns(earlier)
    for command in (["judge", "--redo"], ["report"], ["status"], ["failures"], ["repair"]):
        done = run(*command, "--out", earlier, "--json", env=ray_cluster)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["outcome"], told["exit_code"]) == ("done", 0)
    assert told["moved"] == []
    assert len(emo.read(str(earlier), "judgments")) == 9


def test_an_out_of_the_release_goes_on(earlier, tmp_path, ray_cluster):
    """More clips of the same kind, as a night brings them; the old ones stay done, but are judged anew."""
    settings = ("ingest.frames=2", "ingest.longest_side=64", "ingest.jpeg_quality=40", "ingest.max_audio_s=1")
    more = [word for one in settings for word in ("--set", one)]
    source = tmp_path / "videos"
    source.mkdir()
    shutil.copy(REPOSITORY / "samples/clips/drawn_angry.mp4", source / "another.mp4")
    done = run("label", source, "--out", earlier, *more, "--json", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert {step["name"]: (step["ok"], step["skipped"]) for step in json.loads(done.stdout)["steps"]} == {
        "ingest": (1, 0),
        "describe voice": (1, 9),
        "describe face": (1, 9),
        "describe words": (1, 9),
        "extract": (3, 27),
        # Version 0.1.0 judged by an earlier version of the rule.
        "judge": (10, 0),
    }
    assert sorted(path.name for path in (earlier / "votes").iterdir())[-3:] == ["face", "voice", "words"]


def test_new_files_say_their_schema_and_those_of_a_later_version_are_never_rewritten(tmp_path):
    storage = Storage(str(tmp_path))
    rows = committed.read_file(
        Storage(str(EARLIER)), JUDGMENTS, committed.files(Storage(str(EARLIER)), "judgments")[0]
    )
    committed.commit(storage, "judgments", JUDGMENTS, "1-a", rows)
    committed.commit(storage, "judgments", JUDGMENTS, "1-b", rows)
    assert committed.schema_version(storage, "judgments/1-a.parquet") == tables.SCHEMA_VERSION
    assert (
        committed.schema_version(
            Storage(str(EARLIER)), next(iter(committed.files(Storage(str(EARLIER)), "clips")))
        )
        == 1
    )
    later = rows.append_column("arousal", pa.nulls(rows.num_rows, pa.float64()))
    sink = io.BytesIO()
    pq.write_table(later.replace_schema_metadata({SCHEMA_KEY: str(tables.SCHEMA_VERSION + 1)}), sink)
    storage.write("judgments/1-c.parquet", sink.getvalue())
    assert committed.read_newest(storage, "judgments", JUDGMENTS, ["labels"]).num_rows == rows.num_rows
    compact(storage, "judgments", JUDGMENTS, "9")
    assert storage.read("judgments/1-c.parquet") == sink.getvalue()


def test_a_file_without_what_its_table_is_for_is_none_of_it(earlier):
    storage = Storage(str(earlier))
    path = committed.files(storage, committed.folder(DESCRIPTIONS, "voice"))[0]
    pq.write_table(pq.ParquetFile(earlier / path).read().drop_columns("text"), earlier / path)
    with pytest.raises(StorageError, match="it has no column 'text'"):
        committed.read_newest(storage, committed.folder(DESCRIPTIONS, "voice"), DESCRIPTIONS, ["text"])


def test_the_rows_that_count_are_read_in_any_form(out):
    votes = emo.read(str(out), "votes", ["labels", "run_id"])
    assert votes.column_names == ["video_id", "expert", "sample", "labels", "run_id"]
    assert votes.num_rows == 27
    assert set(votes.column("run_id").to_pylist()) == {"20261128T222924Z", "9"}
    frame = emo.read(str(out), "votes", ["labels", "run_id"], form="pandas")
    assert frame["video_id"].tolist() == votes.column("video_id").to_pylist()
    polars = emo.read(str(out), "votes", ["labels", "run_id"], form="polars")
    assert polars["labels"].to_list() == votes.column("labels").to_pylist()
    assert len(emo.read(str(out), "clips", ["uri"])) == 9
    assert len(emo.read(str(out), "clips", ["uri"], failed=True)) == 10


def test_what_cannot_be_read_is_named(out, tmp_path):
    for arguments, says in (
        ((str(out), "label"), "no table 'label'; expected one of: labels, segments, clips"),
        ((str(out), "votes", ["label"]), "votes has no column 'label'; it has: video_id, expert"),
        ((str(tmp_path), "votes"), "holds no run of emo"),
    ):
        with pytest.raises(InputError, match=says):
            emo.read(*arguments)
    with pytest.raises(InputError, match="no form 'csv'"):
        emo.read(str(out), "votes", form="csv")


def test_importing_emo_imports_nothing_heavy():
    heavy = (
        "[name for name in ('pyarrow', 'numpy', 'ray', 'torch', 'emo.store.storage') if name in sys.modules]"
    )
    code = f"import emo, sys; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("name", list(TABLES))
def test_other_programs_open_every_table(out, name, tmp_path):
    import datasets
    import duckdb
    import pandas
    import polars

    folder = str(out / name)
    count = sum(pq.ParquetFile(path).metadata.num_rows for path in (out / name).rglob("*.parquet"))
    names = set(TABLES[name].schema.names)
    experts = {"face", "voice", "words"}

    def right(columns, rows, expert=None):
        assert (set(columns), rows) == (names, count)
        if "expert" in names and expert is not None:
            assert set(expert) == experts

    arrow = pq.read_table(folder)
    right(arrow.column_names, arrow.num_rows, arrow["expert"].to_pylist() if "expert" in names else None)
    hive = ds.dataset(folder, partitioning="hive").to_table()
    right(hive.column_names, hive.num_rows)
    frame = pandas.read_parquet(folder)
    right(frame.columns, len(frame), frame.get("expert"))
    for glob in (folder, f"{folder}/**/*.parquet"):
        read = polars.read_parquet(glob)
        right(read.columns, read.height, read["expert"].to_list() if "expert" in names else None)
    for options in ("", ", hive_partitioning = true", ", union_by_name = true"):
        found = duckdb.sql(f"select * from read_parquet('{folder}/**/*.parquet'{options})")
        right(found.columns, len(found.fetchall()))
    loaded = datasets.load_dataset("parquet", data_dir=folder, cache_dir=str(tmp_path / "cache"))["train"]
    right(loaded.column_names, loaded.num_rows)


def test_a_fresh_out_has_one_folder_per_expert_named_as_it_is(tmp_path, ray_cluster):
    done = label_words(REPOSITORY / "samples/clips/drawn_angry.mp4", tmp_path / "out", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    for table in (DESCRIPTIONS, VOTES):
        assert [path.name for path in (tmp_path / "out" / table.name).iterdir()] == ["words"]
    assert pq.read_table(tmp_path / "out/descriptions").column("expert").to_pylist() == ["words"]
    assert pq.read_schema(next((tmp_path / "out/clips").iterdir())).names == CLIPS.schema.names
