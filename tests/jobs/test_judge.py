"""The reduce reads the votes that count, whatever files and runs they stand in."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chat_server import chat_server, requests_to
from emo.cojudgment.rule import Rule
from emo.cojudgment.settings import Judge
from emo.config import load_config
from emo.errors import InputError, RowError
from emo.experts import settings_of
from emo.experts.protocol import Description
from emo.jobs import extract, judge, judge_given
from emo.jobs.describe import rows_of
from emo.jobs.extract import vote_rows
from emo.needs import check_here
from emo.step import failures
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from ingested import commit_clips

EXPERTS = ["a", "b"]


def commit_texts(storage, run, expert, clips, samples, text=""):
    descriptions = [[Description(text or f"{run} {sample}") for sample in range(samples)] for _ in clips]
    settings = settings_of({"kind": "words", "name": expert}).model_copy(update={"samples": samples})
    rows = rows_of(clips, descriptions, settings, None, run)
    where = committed.folder(DESCRIPTIONS, expert)
    committed.commit(storage, where, DESCRIPTIONS, f"{run}-{'-'.join(clips)}", rows)


def commit_votes(storage, run, expert, clips, samples, shard, label):
    """Votes of all samples, cut into files of so many rows, as extract cuts them."""
    keys = [(clip, expert, sample) for clip in clips for sample in range(samples)]
    for start in range(0, len(keys), shard):
        part = keys[start : start + shard]
        names = ("video_id", "expert", "sample")
        table = pa.table(dict(zip(names, map(list, zip(*part, strict=True)), strict=True)))
        rows = vote_rows(table, [[label]] * len(part), "rules", run)
        committed.commit(storage, committed.folder(VOTES, expert), VOTES, f"{run}-{start}", rows)


def judged(storage, shard=100, by=Judge()):  # noqa: B008 - frozen
    step = judge.JudgeStep(by, EXPERTS)
    worker = step.work(storage, "9", step.given(storage)).worker()
    parts = [worker(rows) for rows in committed.batched(step.given(storage), shard)]
    return {row["video_id"]: row for row in pa.concat_tables(parts).to_pylist()}


runs = st.lists(st.lists(st.none() | st.sampled_from("abcde"), min_size=4, max_size=4), max_size=4)


@given(runs)
def test_the_newest_run_of_a_clip_is_the_greatest_of_all_experts(rows):
    found = []
    for row in rows:
        texts = sorted({run for run in row if run is not None})
        places = np.array([-1 if run is None else texts.index(run) for run in row])
        found.append((places, pa.array(texts, pa.string())))
    each = [max((row[at] for row in rows if row[at] is not None), default=None) for at in range(4)]
    assert judge._greatest(found, 4).to_pylist() == each


def test_a_shard_names_its_files_in_full_and_not_those_of_all_clips(storage):
    commit_clips(storage, "1", ["v1", "v2"])
    for clip in ("v1", "v2"):
        commit_texts(storage, f"2{clip}", "a", [clip], 1)
        commit_votes(storage, f"2{clip}", "a", [clip], 1, 1, "happy")
    step = judge.JudgeStep(Judge(), EXPERTS)
    shard = step.work(storage, "9", step.given(storage)).rows.slice(1)
    assert shard.column("votes").to_pylist() == [["votes/a/2v2-0.parquet"]]
    assert shard.column("texts").to_pylist() == [["descriptions/a/2v2-v2.parquet"]]
    assert shard.schema.field("votes").type == shard.schema.field("texts").type == pa.list_(pa.string())


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 7), st.integers(1, 5))
def test_every_sample_is_a_voter_however_files_and_shards_are_cut(tmp_path_factory, n, samples, shard, cut):
    storage = Storage(str(tmp_path_factory.mktemp("out")))
    clips = [f"clip{number}" for number in range(n)]
    commit_clips(storage, "1", clips)
    for expert in EXPERTS:
        commit_texts(storage, "1", expert, clips, samples)
        commit_votes(storage, "1", expert, clips, samples, shard, "happy")
    assert {name: row["n_voters"] for name, row in judged(storage, cut).items()} == dict.fromkeys(
        clips, 2 * samples
    )


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path))


def test_judgments_of_an_older_version_of_the_rule_are_made_anew(storage, monkeypatch):
    commit_clips(storage, "1", ["x"])
    commit_texts(storage, "1", "a", ["x"], 1)
    commit_votes(storage, "1", "a", ["x"], 1, 10, "happy")
    with monkeypatch.context() as before:
        before.setattr(judge, "VERSION", judge.VERSION - 1)
        old = judge.JudgeStep(Judge(), EXPERTS)
        rows = old.work(storage, "2", old.given(storage)).worker()(old.given(storage))
        committed.commit(storage, committed.folder(JUDGMENTS), JUDGMENTS, "2", rows)
        assert old.left(storage, old.given(storage)).num_rows == 0
    step = judge.JudgeStep(Judge(), EXPERTS)
    assert step.left(storage, step.given(storage)).num_rows == 1


def test_votes_on_an_older_version_of_the_file_do_not_count(storage):
    commit_clips(storage, "1", ["x"])
    commit_texts(storage, "1", "a", ["x"], 1)
    commit_clips(storage, "2", ["x"])
    # Not even when they are younger than the clip: the text was not.
    commit_votes(storage, "3", "a", ["x"], 1, 10, "happy")
    row = judged(storage)["x"]
    assert (row["status"], row["error"], row["labels"]) == ("failed", "no_voter", None)
    # And such a text is not extracted again.
    experts = [settings_of({"kind": "words", "name": name}) for name in EXPERTS]
    assert extract.ExtractStep(load_config().extract, experts).given(storage).num_rows == 0


def test_samples_that_a_newer_run_did_not_give_do_not_count(storage):
    commit_clips(storage, "1", ["x"])
    commit_texts(storage, "1", "a", ["x"], 3)
    commit_votes(storage, "1", "a", ["x"], 3, 10, "sad")
    commit_texts(storage, "2", "a", ["x"], 1)
    commit_votes(storage, "2", "a", ["x"], 1, 10, "happy")
    row = judged(storage)["x"]
    assert (row["labels"], row["n_voters"]) == (["happy"], 1)


def test_a_vote_that_is_older_than_its_text_does_not_count(storage):
    commit_clips(storage, "1", ["x"])
    commit_votes(storage, "1", "a", ["x"], 1, 10, "sad")
    commit_texts(storage, "2", "a", ["x"], 1)
    assert judged(storage)["x"]["error"] == "no_voter"


def test_a_clip_that_failed_keeps_no_old_labels(storage):
    commit_clips(storage, "1", ["x", "y"])
    for expert in EXPERTS:
        commit_texts(storage, "1", expert, ["x", "y"], 1)
        commit_votes(storage, "1", expert, ["x", "y"], 1, 10, "happy")
    commit_clips(storage, "2", ["x"], errors=("x",))
    found = judged(storage)
    assert (found["x"]["error"], found["x"]["labels"]) == ("clip_failed", None)
    assert found["y"]["labels"] == ["happy"]


def test_given_votes_judge_every_clip_and_name_those_whose_voters_all_failed(tmp_path):
    import pyarrow.parquet as pq

    table = pa.table(
        {"video_id": ["b", "a", "a"], "expert": ["e", "e", "f"], "sample": pa.array([0, 0, 0], pa.int32())}
    )
    rows = vote_rows(table, [RowError("unparsable", ""), ["happy"], ["happy", "proud"]], "rules", "1")
    pq.write_table(rows, tmp_path / "votes.parquet")
    voters = judge_given.votes_from(str(tmp_path / "votes.parquet"), Storage(str(tmp_path)).s3)
    found = judge_given.given_rows(judge_given.by_clip(voters), Rule(), "j", "9").to_pylist()
    assert [(row["video_id"], row["status"], row["n_voters"]) for row in found] == [
        ("a", "ok", 2),
        ("b", "failed", 0),
    ]


def test_files_of_given_votes_may_have_other_columns_and_types_and_a_bad_one_is_named(tmp_path):
    import pyarrow.parquet as pq

    row = {"video_id": ["a"], "expert": ["e"], "labels": [["happy"]]}
    mine = {**row, "sample": pa.array([0], pa.int64()), "status": ["failed"], "run_id": ["2"]}
    theirs = {
        **row,
        "sample": pa.array([1], pa.int16()),
        "expert": pa.array(["e"]).dictionary_encode(),
        "labels": pa.array([["sad"]], pa.large_list(pa.large_string())),
    }
    pq.write_table(pa.table(mine), tmp_path / "mine.parquet")
    pq.write_table(pa.table(theirs), tmp_path / "theirs.parquet")
    s3 = Storage(str(tmp_path)).s3
    voters = judge_given.votes_from(str(tmp_path), s3)
    assert voters.table.to_pylist() == [
        {
            "video_id": "a",
            "expert": "e",
            "sample": 1,
            "labels": ["sad"],
            "strengths": None,
            "alternatives": None,
        }
    ]
    assert voters.failed == 1
    pq.write_table(pa.table({**mine, "status": ["OK"]}), tmp_path / "mine.parquet")
    with pytest.raises(InputError, match=r"/mine\.parquet: column 'status' has 'OK'"):
        judge_given.votes_from(str(tmp_path), s3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"video_id": "\ud800"}, "video_id is .* not text in Unicode"),
        ({"labels": ["a\0b"]}, "a label is .* a character that no text has"),
        ({"sample": float("inf")}, "sample is inf; expected a number from 0"),
        ({"strengths": [10**400]}, "strengths is .*; expected a list of numbers"),
        ({"status": "x" * 5000}, "column 'status' has 'xxx"),
    ],
)
def test_a_written_vote_that_no_table_can_hold_is_one_short_line(tmp_path, change, says):
    vote = {"video_id": "a", "expert": "e", "sample": 0, "labels": ["happy"], **change}
    (tmp_path / "votes.jsonl").write_text(json.dumps(vote))
    with pytest.raises(InputError, match=says) as error:
        judge_given.votes_from(str(tmp_path / "votes.jsonl"), Storage(str(tmp_path)).s3)
    assert len(str(error.value)) < 500


def test_a_text_model_decides_where_voters_do_not_agree_and_no_clip_is_asked_about_twice(tmp_path):
    storage = Storage(str(tmp_path))
    commit_clips(storage, "1", ["agreed", "open"])
    for expert, label in zip(EXPERTS, ("happy", "sad"), strict=True):
        commit_texts(storage, "1", expert, ["agreed", "open"], 1, text="first happy then, sad, as it seems")
        commit_votes(storage, "1", expert, ["agreed"], 1, 1, "happy")
        commit_votes(storage, "2", expert, ["open"], 1, 1, label)
    assert judged(storage)["open"]["labels"] == ["happy", "sad"]
    with chat_server() as url:
        asked = Judge(adjudicate={"below": 0.9, "server": {"url": url, "model": "tiny"}})
        step = judge.JudgeStep(asked, EXPERTS)
        rows = judged(storage, by=asked)
        [question] = [request["text"] for request in requests_to(url)["requests"]]
    assert "Emotions they named: happy, sad" in question
    # The server repeats the question, in which this word stands alone.
    assert rows["open"]["labels"] == ["sad"]
    assert [one["label"] for one in rows["open"]["evidence"]] == ["sad", "happy"]
    assert rows["open"]["judge"] == f"{step.mark}+tiny"
    assert rows["agreed"]["judge"] == step.mark
    assert "below 0.9 by tiny" in step.mark
    table = pa.Table.from_pylist(list(rows.values()), schema=JUDGMENTS.schema)
    committed.commit(storage, committed.folder(JUDGMENTS), JUDGMENTS, "9-x", table)
    assert step.left(storage, step.given(storage)).num_rows == 0
    assert len(left(storage)) == 2


def test_an_adjudication_wants_one_model_that_is_there():
    with pytest.raises(ValidationError, match="expected either model or server"):
        Judge(adjudicate={})
    asked = Judge(adjudicate={"model": {"model": "/nowhere", "device": "cpu"}})
    with pytest.raises(InputError, match=r"^judge\.adjudicate: .*nowhere"):
        check_here(judge.JudgeStep(asked, EXPERTS).needs(), print)


def commit_judgments(storage, run="1"):
    step = judge.JudgeStep(Judge(), EXPERTS)
    rows = step.work(storage, run, step.given(storage)).worker()(step.given(storage))
    committed.commit(storage, committed.folder(JUDGMENTS), JUDGMENTS, f"{run}-all", rows)


def left(storage):
    step = judge.JudgeStep(Judge(), EXPERTS)
    return step.left(storage, step.given(storage)).column("video_id").to_pylist()


def hide(storage, expert):
    """What a listing that lags does not show of an expert's votes; its file and its bytes."""
    (path,) = committed.files(storage, committed.folder(VOTES, expert))
    data = storage.read(path)
    storage.delete(path)
    return path, data


@pytest.mark.parametrize("late", [("b",), ("a", "b")], ids=["one_voter", "every_voter"])
def test_votes_of_the_same_run_that_show_late_are_judged_by_the_next_run(storage, late):
    """With one of them the clip had got a label of too few voters, with all of them `no_voter`."""
    commit_clips(storage, "1", ["x", "y"])
    for expert in EXPERTS:
        commit_texts(storage, "1", expert, ["x", "y"], 2)
        commit_votes(storage, "1", expert, ["x", "y"], 2, 10, "happy")
    hidden = [hide(storage, expert) for expert in late]
    commit_judgments(storage)
    assert left(storage) == []
    for path, data in hidden:
        storage.write(path, data)
    assert left(storage) == ["x", "y"]
    commit_judgments(storage, "2")
    assert left(storage) == []
    assert {row["n_voters"] for row in judged(storage).values()} == {4}


def test_a_judgment_that_does_not_say_what_it_saw_stays_unless_it_found_no_vote(storage):
    """As an earlier version left them."""
    commit_clips(storage, "1", ["x", "y"])
    commit_texts(storage, "1", "a", ["x", "y"], 1)
    commit_votes(storage, "1", "a", ["x"], 1, 10, "happy")
    commit_judgments(storage)
    (path,) = committed.files(storage, JUDGMENTS.name)
    rows = committed.read_file(storage, JUDGMENTS, path)
    place = rows.schema.get_field_index("seen")
    rows = rows.set_column(place, rows.schema.field("seen"), pa.nulls(rows.num_rows, pa.int64()))
    committed.commit(storage, JUDGMENTS.name, JUDGMENTS, "1-all", rows)
    assert left(Storage(storage.url)) == []
    votes = {"video_id": ["y"], "expert": ["a"], "sample": pa.array([0], pa.int32())}
    made = vote_rows(pa.table(votes), [["sad"]], "rules", "1")
    committed.commit(storage, committed.folder(VOTES, "a"), VOTES, "1-late", made)
    assert left(Storage(storage.url)) == ["y"]


def test_failures_of_votes_from_elsewhere_are_told_though_their_out_has_no_clips(storage):
    rows = pa.table({"video_id": ["x"]})
    failed = judge.unjudged_rows(
        rows, [RowError(judge.NO_VOTER, "every voter of this clip failed")], "r", "1"
    )
    committed.commit(storage, committed.folder(JUDGMENTS), JUDGMENTS, "1-all", failed)
    [told] = failures(storage, [judge.JudgeStep(Judge(), EXPERTS)])
    assert (told["step"], told["video_id"], told["error"]) == ("judge", "x", "no_voter")
