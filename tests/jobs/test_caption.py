"""`emo caption` from clips to captions and to a folder for ms-swift, as a process on a real Ray cluster."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import soundfile

from captioning import (
    CLIPS_OF,
    OPTIONS,
    ingest,
    whole,
    write_source,
)
from emo.captions.messages import Sample, read_messages, turns_of
from emo.captions.windows import Window, cut_audio
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, CLIPS, DRAFT_LABELS, DRAFTS, VOTES
from labelling import EMO, emo, last_run, raw_rows, rows


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("caption-source"))


@pytest.fixture(scope="module")
def ingested(source, ray_cluster):
    return ingest(source, ray_cluster)


@pytest.fixture(scope="module")
def captioned(source, ingested, ray_cluster):
    """The clips captioned once, with gold, and exported."""
    out = source / "out"
    shutil.copytree(ingested, out)
    arguments = ("--gold", source / "gold.csv", "--export", source / "set", "--json")
    done = emo("caption", "--out", out, *OPTIONS, *arguments, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture
def copy(captioned, tmp_path):
    """A copy of the captioned OUT that a test may change."""
    shutil.copytree(captioned[0], tmp_path / "out")
    return tmp_path / "out"


def test_every_combination_gives_a_caption_that_says_where_it_came_from(captioned):
    out, done = captioned
    found = whole(out)
    assert len(found) == raw_rows(out, CAPTIONS).num_rows == len(CLIPS_OF) * 3 * 3
    assert raw_rows(out, DRAFTS).num_rows == raw_rows(out, DRAFT_LABELS).num_rows == len(found)
    row = found["film_a/welcome:voice:person:0-50:0"]
    source = row["source"]
    assert (source["expert"], source["prompt"], source["window"]) == ("voice", "person", "0-50")
    assert (source["sample"], source["seed"], source["gold_shown"]) == (0, 0, "label_free")
    assert source["prompt_sha"]
    assert (row["frames"], row["audio"]) == ([], True)
    asked, answered = turns_of(row["messages"])
    assert asked.content.startswith("<audio>\nDescribe the main person in this clip")
    assert answered.content.startswith("Speech was heard for ")
    face = found["film_a/welcome:face:person:50-100:0"]
    assert (face["frames"], face["audio"]) == ([2, 3], False)
    assert turns_of(face["messages"])[0].content.startswith("<image><image>\n")
    last = done.stderr.splitlines()[-1]
    kept = sum(row["status"] == "ok" for row in found.values())
    assert last.startswith(f"emo caption: {kept} of 45 captions kept, {45 - kept} filtered, 0 failed, in ")


def test_the_plan_stands_before_the_work(captioned):
    _, done = captioned
    lines = done.stderr.splitlines()
    assert lines[0].endswith("gold.csv: 2 of 5 clips have no gold there")
    assert lines[1] == "caption: voice: 1 prompts (person) x 3 windows (0-100, 0-50, 50-100) x 1 samples"
    assert lines[4] == "caption: 5 clips: 45 captions are possible; all: 45, 9.0 per clip"


def test_what_is_filtered_stays_with_the_names_of_the_filters(captioned):
    out, done = captioned
    found = whole(out)
    # The words expert sees and hears nothing that a model could be trained with.
    words = [row for row in found.values() if row["source"]["expert"] == "words"]
    assert all(row["status"] == "filtered" and "no_media" in row["filters"] for row in words)
    # Happy in voice, face and words, and the gold says negative.
    face = found["film_a/welcome:face:person:0-100:0"]
    assert "happy" in face["labels"]
    assert (face["status"], face["filters"]) == ("filtered", ["contradiction"])
    assert "no_person" in found["film_c/sea:face:person:0-100:0"]["filters"]
    # The silent clip has a voice for nobody.
    assert "no_media" in found["film_f/silent:voice:person:0-100:0"]["filters"]
    assert found["film_a/angry:voice:person:0-100:0"]["status"] == "ok"
    for row in found.values():
        assert row["status"] == ("filtered" if row["filters"] else "ok")
        assert turns_of(row["messages"])[1].content
    summary = json.loads(done.stdout)
    counts = {row["filter"]: row["failed"] for row in summary["filters"]}
    for name, count in counts.items():
        assert count == sum(name in row["filters"] for row in found.values())
    assert min(counts[name] for name in ("no_media", "no_person", "contradiction")) > 0
    assert "not applied" not in done.stderr


def test_no_video_is_on_two_sides(captioned):
    out, done = captioned
    sides = {}
    for row in whole(out).values():
        sides.setdefault(row["video_id"].split("/")[0], set()).add(row["split"])
    assert sides == {"film_a": {"train"}, "film_c": {"validation"}, "film_f": {"test"}}
    summary = json.loads(done.stdout)
    assert sum(split["captions"] for split in summary["splits"].values()) == summary["kept"]


def test_the_export_is_what_ms_swift_reads_with_the_media_of_each_window(captioned, source):
    out, done = captioned
    kept = {id_: row for id_, row in whole(out).items() if row["status"] == "ok"}
    clips = {row["video_id"]: row for row in rows(out, CLIPS, "frames", "audio")}
    counts = {}
    for split in ("train", "validation", "test"):
        path = source / "set" / f"{split}.jsonl"
        samples = [*read_messages(path.read_bytes(), path.name)]
        of_split = [row for _, row in sorted(kept.items()) if row["split"] == split]
        counts[split] = len(of_split)
        assert len(samples) == len(of_split)
        for sample, row in zip(samples, of_split, strict=True):
            assert isinstance(sample, Sample)
            [asked, answer] = turns_of(row["messages"])
            shown = asked.content.removeprefix("<image>" * len(row["frames"]))
            assert sample.turns == (
                replace(asked, content="<video>" * len(sample.videos) + shown),
                answer,
            )
            clip = clips[row["video_id"]]
            assert len(sample.videos) == (len(row["frames"]) > 0)
            shown = [Path(image).read_bytes() for video in sample.videos for image in video]
            assert shown == [clip["frames"][place] for place in row["frames"]]
            if row["audio"]:
                [path] = sample.audios
                start, end = map(int, row["source"]["window"].split("-"))
                heard, _ = soundfile.read(path, dtype="int16")
                expected, _ = soundfile.read(
                    io.BytesIO(cut_audio(clip["audio"], Window(start, end))), dtype="int16"
                )
                assert heard.tolist() == expected.tolist()
    assert min(counts.values()) > 0
    assert json.loads(done.stdout)["exported"] == counts


def test_a_second_run_starts_nothing_and_writes_nothing(copy, source, ray_cluster):
    before = sorted(Path(copy).rglob("*.parquet"))
    done = emo("caption", "--out", copy, *OPTIONS, "--gold", source / "gold.csv", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert "Ray is up" not in done.stderr
    assert sorted(Path(copy).rglob("*.parquet")) == before


def test_captions_that_were_judged_by_a_gold_are_not_judged_without_it(copy, ray_cluster):
    done = emo("caption", "--out", copy, *OPTIONS, env=ray_cluster)
    assert done.returncode == 2
    assert "give it again with --gold" in done.stderr
    off = ("--set", "caption.filters.contradiction=false")
    done = emo("caption", "--out", copy, *OPTIONS, *off, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    face = whole(copy)["film_a/welcome:face:person:0-100:0"]
    assert (face["status"], face["filters"]) == ("ok", [])
    # Nobody was asked again, and only what came out otherwise was written.
    assert raw_rows(copy, DRAFTS).num_rows == 45
    [step] = [step for step in last_run(copy)["steps"] if step["rows"]]
    assert step["name"] == "select captions"
    assert 45 + step["rows"] == raw_rows(copy, CAPTIONS).num_rows


def test_what_is_configured_no_more_is_left_out_and_what_is_new_is_added(copy, source, ray_cluster):
    changed = ("--set", "caption.windows=[0-100, 25-75]", "--set", "caption.experts=[face]")
    done = emo("caption", "--out", copy, *OPTIONS, *changed, "--gold", source / "gold.csv", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    found = whole(copy)
    assert len(found) == 45 + 5
    for row in found.values():
        planned = row["source"]["expert"] == "face" and row["source"]["window"] in ("0-100", "25-75")
        assert ("not_planned" in row["filters"]) != planned
    assert found["film_a/angry:face:person:25-75:0"]["frames"] == [1, 2]


def test_a_run_that_is_killed_goes_on_where_it_was(captioned, ingested, tmp_path, ray_cluster):
    out = tmp_path / "out"
    shutil.copytree(ingested, out)
    arguments = ("caption", "--out", out, *OPTIONS, "--set", "caption.experts=[words, face]")
    running = subprocess.Popen(
        [EMO, *arguments],
        env={**os.environ, **ray_cluster},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("drafts/*/*.parquet")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not list(out.glob("captions/*"))
    done = emo(*arguments, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert raw_rows(out, DRAFTS).num_rows == 30
    undisturbed = whole(captioned[0])
    assert {id_: row["messages"] for id_, row in whole(out).items()} == {
        id_: row["messages"] for id_, row in undisturbed.items() if row["source"]["expert"] != "voice"
    }


def test_other_settings_of_an_expert_are_not_mixed_in(copy, source, ray_cluster):
    other = ("--set", "experts.face.smallest_face=0.3")
    done = emo("caption", "--out", copy, *OPTIONS, *other, "--gold", source / "gold.csv", env=ray_cluster)
    assert done.returncode == 2
    assert "smallest_face was 0.1 and is 0.3" in done.stderr


def test_the_votes_of_a_labelling_run_are_voices_of_the_crowd(copy, source, ray_cluster):
    only = ("--set", "caption.experts=[face]")
    said = {"film_a/welcome": ["glad"], "film_a/angry": ["furious"]}
    votes = [
        {"video_id": clip, "expert": "words", "sample": 0, "labels": labels, "status": "ok", "run_id": "1"}
        for clip, labels in said.items()
    ]
    table = pa.Table.from_pylist(votes, schema=VOTES.schema)
    committed.commit(Storage(str(copy)), committed.folder(VOTES, "words"), VOTES, "1-x", table)
    off = ("--set", "caption.crowd_least=1")
    done = emo(
        "caption", "--out", copy, *OPTIONS, *only, *off, "--gold", source / "gold.csv", env=ray_cluster
    )
    assert done.returncode == 0, done.stderr
    # Of voice and words, the words agree with the face that the person is glad; the voice may be.
    found = whole(copy)
    assert found["film_a/welcome:face:person:0-100:0"]["quality"] >= 0.5


def test_a_target_that_the_filters_make_impossible_is_said(copy, source, ray_cluster):
    options = ("--gold", source / "gold.csv", "--set", "caption.target=45")
    done = emo("caption", "--out", copy, *OPTIONS, *options, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    said = (
        r"the target is 45, (\d+) captions are left to train on after the filters, and all that are possible"
    )
    found = re.search(said, done.stderr)
    assert found
    kept = [row for row in whole(copy).values() if (row["status"], row["split"]) == ("ok", "train")]
    assert int(found[1]) == len(kept) > 0


def test_the_export_may_lie_on_s3(captioned, copy, bucket, s3_endpoint, source, ray_cluster):
    url, settings = bucket
    s3 = ("--set", f"s3={{endpoint_url: '{s3_endpoint}', region: us-east-1}}")
    arguments = ("--gold", source / "gold.csv", "--export", f"{url}/set")
    done = emo("caption", "--out", copy, *OPTIONS, *s3, *arguments, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    target = Storage(f"{url}/set", settings)
    samples = [*read_messages(target.read("train.jsonl"), "train.jsonl")]
    local = [*read_messages((source / "set" / "train.jsonl").read_bytes(), "train.jsonl")]
    assert [sample.turns for sample in samples] == [sample.turns for sample in local]
    for sample, same in zip(samples, local, strict=True):
        of_one, of_other = ([*sum(one.videos, ()), *one.audios] for one in (sample, same))
        for path, here in zip(of_one, of_other, strict=True):
            assert target.read(path) == Path(here).read_bytes()
