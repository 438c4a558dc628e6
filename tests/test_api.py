"""emo from Python: the same results as the commands, with errors that say what was wrong."""

import json
import shutil

import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import emo
from conftest import REPOSITORY
from emo.cojudgment.learning import MIN_CLIPS
from emo.cojudgment.votes import read_voters
from emo.errors import InputError, RowError, TooManyFailedError
from emo.review.teaching import learn
from emo.store.runs import StepRecord, too_many_failed

EARLIER = REPOSITORY / "tests/fixtures/out_of_0_1_0"
VOTES = [
    {"video_id": "b", "expert": "x", "sample": 0, "labels": []},
    {"video_id": "a", "expert": "x", "sample": 0, "labels": ["happy", "proud"]},
    {"video_id": "a", "expert": "y", "sample": 0, "labels": ["glad"]},
]


@pytest.fixture
def joined(ray_cluster, monkeypatch):
    """This process joins the tests' cluster."""
    for name, value in ray_cluster.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("drawn_angry", "drawn_tired"):
        shutil.copy(REPOSITORY / f"samples/clips/{name}.mp4", folder)
    return folder


SMALL = {"ingest.frames": 2, "ingest.longest_side": 64, "ingest.workers": 1}


def test_two_clips_are_labelled_read_and_found_done(videos, tmp_path, joined):
    out = tmp_path / "out"
    done = emo.label(videos, out, set=SMALL)
    assert [(step.name, step.ok, step.failed) for step in done.steps] == [
        ("ingest", 2, 0),
        ("describe voice", 2, 0),
        ("describe face", 2, 0),
        ("describe words", 2, 0),
        ("extract", 6, 0),
        ("judge", 2, 0),
    ]
    judged = emo.read(out, "judgments", ["labels", "run_id"]).to_pylist()
    assert [row["video_id"] for row in judged] == ["drawn_angry", "drawn_tired"]
    assert {row["run_id"] for row in judged} == {done.run_id}
    assert done.report == str(out / "report/index.html")
    assert "drawn_angry" in (out / "report/index.html").read_text()
    again = emo.label(videos, out, set=SMALL)
    assert {step.name: (step.rows, step.skipped) for step in again.steps}["judge"] == (0, 2)
    # The votes of the run, judged apart from it, give what the run gave.
    fused = emo.judge(out / "votes").to_pylist()
    assert [row["labels"] for row in fused] == [row["labels"] for row in judged]


def test_a_source_without_videos_starts_nothing(tmp_path):
    (tmp_path / "videos").mkdir()
    done = emo.label(tmp_path / "videos", tmp_path / "out")
    assert (done.run_id, list(done.steps), done.report) == (None, [], None)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_a_configuration_is_named_before_anything_starts(tmp_path):
    for arguments, says in (
        ({"set": {"ingest.frame": 4}}, r"ingest\.frame: unknown key; did you mean frames"),
        ({"config": {"experts": [{"kind": "wordz"}]}}, "unknown expert kind 'wordz'"),
        ({"config": {"experts": []}, "preset": "light"}, "a mapping is the whole configuration"),
        ({"preset": "lite"}, "unknown preset 'lite'"),
    ):
        with pytest.raises(InputError, match=says):
            emo.label(tmp_path, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("made", [list, pa.Table.from_pylist, pandas.DataFrame, polars.DataFrame])
def test_votes_are_judged_whatever_holds_them(made):
    rows = emo.judge(made(VOTES))
    assert rows.column("video_id").to_pylist() == ["a", "b"]
    assert rows.column("labels").to_pylist() == [["glad", "proud"], []]
    assert rows.column("n_voters").to_pylist()[0] == 2
    assert not {"run_id", "seen"} & set(rows.column_names)


def test_votes_of_a_file_are_judged_and_given_in_any_form(tmp_path):
    pq.write_table(pa.Table.from_pylist(VOTES), tmp_path / "votes.parquet")
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in VOTES))
    whole = emo.judge(tmp_path / "votes.parquet")
    assert emo.judge(tmp_path / "votes.jsonl") == whole
    assert emo.judge(VOTES, form="pandas")["video_id"].tolist() == ["a", "b"]
    assert emo.judge(VOTES, form="polars")["labels"].to_list() == whole.column("labels").to_pylist()


def test_what_experts_are_worth_is_learned_as_on_the_command_line(tmp_path):
    clips = [f"clip{number}" for number in range(MIN_CLIPS)]
    rows = [
        {"video_id": clip, "expert": expert, "sample": 0, "labels": [("happy", "sad")[(place + off) % 2]]}
        for place, clip in enumerate(clips)
        # The last one disagrees with all others on every third clip.
        for expert, off in zip("uvwxyz", (0, 0, 0, 0, 0, place % 3 == 0), strict=True)
    ]
    worth = learn(read_voters(pa.Table.from_pylist(rows)).table, None)
    assert worth.weights["v"] > worth.weights["z"]
    worth.save(tmp_path / "worth.json")
    estimated = emo.judge(rows, estimate=True)
    assert set(estimated.column("judge").to_pylist()) == {f"balanced+estimated-{worth.sha}"}
    assert emo.judge(rows, learned=tmp_path / "worth.json") == emo.judge(rows, learned=worth) == estimated
    with pytest.raises(InputError, match="exclude each other"):
        emo.judge(VOTES, estimate=True, gold="gold.csv")
    with pytest.raises(InputError, match="there is no form 'csv'"):
        emo.judge(VOTES, form="csv")
    with pytest.raises(InputError, match="no column 'labels'"):
        emo.judge([{"video_id": "a", "expert": "x", "sample": 0}])
    with pytest.raises(InputError, match="cannot be read as a table"):
        emo.judge([1, 2])


def test_texts_give_their_words_in_their_order_and_a_bad_one_its_own_error():
    words, none, bad = emo.extract(["She is proud, and nervous.", "The room is empty.", ""])
    assert (words, none) == (["proud", "nervous"], [])
    assert isinstance(bad, RowError)
    assert bad.code == "empty_answer"
    assert emo.extract([]) == []
    with pytest.raises(InputError, match="expected a list of texts"):
        emo.extract("happy")
    with pytest.raises(InputError, match="1 transcripts for 2 texts"):
        emo.extract(["a", "b"], transcripts=["c"])


def test_an_out_is_scored_as_by_the_command(tmp_path):
    gold = tmp_path / "gold.csv"
    gold.write_text('video_id,labels\ndrawn_afraid,"[afraid]"\n')
    result = emo.evaluate(EARLIER, gold, metric="emo-clusters")
    assert result.as_json()["metric"] == "emo-clusters"
    assert result.as_json()["coverage"]["clips"] == 1
    assert result.headline().startswith("emo-clusters F ")
    compared = emo.evaluate(EARLIER, gold, metric="emo-clusters", compare=EARLIER)
    assert compared.comparisons["F"].difference.value == 0
    with pytest.raises(
        InputError, match="there is no option wheel; expected some of: by, classes, clues, compare"
    ):
        emo.evaluate(EARLIER, gold, wheel="x")


def test_names_stay_functions_after_everything_was_imported():
    import emo.api
    import emo.cojudgment.fusion
    import emo.jobs.judge

    for name in ("label", "read", "judge", "extract", "evaluate"):
        assert callable(getattr(emo, name)), name
    assert set(emo.__all__) <= set(dir(emo))
    with pytest.raises(AttributeError, match="no attribute 'labels'"):
        _ = emo.labels


def test_too_many_failed_names_the_step_and_counts_only_what_was_tried():
    steps = [StepRecord("ingest", rows=4, ok=3, failed=1), StepRecord("judge", rows=4, failed=2, left=2)]
    assert too_many_failed(steps, 0.5) == "all rows of judge failed"
    assert too_many_failed(steps[:1], 0.25) is None
    assert too_many_failed(steps[:1], 0.2) == "more than max_failed_share=0.2 of ingest failed"
    assert too_many_failed([StepRecord("judge", rows=3, left=3)], 0.0) is None


def test_calls_within_a_cluster_share_its_ray_and_none_is_left_after_it(
    videos, tmp_path, ray_cluster, monkeypatch
):
    import ray

    # Other tests of this process may have been users of a Ray before.
    assert not ray.is_initialized()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    address = ray_cluster["RAY_ADDRESS"]
    asked = {"experts": [{"kind": "words"}], "ingest": {"workers": 1}, "ray": {"address": address}}
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(REPOSITORY / "samples/clips/broken_truncated.mp4", broken)
    with emo.cluster(address):
        done = emo.label(videos, "one", config=asked)
        assert done.steps[0].ok == 2
        job = ray.get_runtime_context().get_job_id()
        # Where all rows fail it is raised, and the rows are there.
        with pytest.raises(TooManyFailedError, match="all rows of ingest failed; what was made is in"):
            emo.label(broken, "two", config=asked)
        [row] = emo.read("two", "clips", ["error"], failed=True).to_pylist()
        assert row["error"] == "truncated"
        assert ray.get_runtime_context().get_job_id() == job
        with pytest.raises(InputError, match=r"and this call asks for 127\.0\.0\.1:1$"):
            emo.label(videos, "three", config=asked | {"ray": {"address": "127.0.0.1:1"}})
        with pytest.raises(
            InputError, match=r"^ray\.num_cpus is 7, but the Ray of this process has started already$"
        ):
            emo.label(videos, "three", config=asked | {"ray": asked["ray"] | {"num_cpus": 7}})
    assert not ray.is_initialized()
