"""What `emo caption` asks models, how many captions that gives, and what it refuses before it asks."""

import json
import re
import shutil
from pathlib import Path

import pytest

from captioning import (
    EXPERTS,
    HALVES,
    OPTIONS,
    ingest,
    whole,
    write_source,
)
from chat_server import chat_server, requests_to
from emo.captions.messages import turns_of
from emo.store.tables import CAPTIONS, DRAFTS
from labelling import emo, raw_rows, rows


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("caption-source"))


@pytest.fixture(scope="module")
def ingested(source, ray_cluster):
    return ingest(source, ray_cluster)


def test_a_model_is_asked_each_prompt_about_each_window_and_shown_the_gold_only_where_it_must(
    ingested, source, tmp_path, ray_cluster
):
    out = tmp_path / "out"
    shutil.copytree(ingested, out)
    (tmp_path / "told.txt").write_text(
        '{"answer": "The woman looks to the side and is {label}, as her hands and her mouth show well.",\n'
        '"about": "the person"}'
    )
    (tmp_path / "free.txt").write_text("What does the woman in this clip feel?\n")
    prompts = f"caption.prompts=[{tmp_path}/told.txt, {tmp_path}/free.txt]"
    with chat_server() as url:
        expert = (
            f"{{kind: openai, name: captioner, seed: 7, audio: flac, server: {{url: '{url}', model: tiny}}}}"
        )
        options = ("--set", f"experts=[{expert}]", "--set", "ingest.frames=4", "--set", prompts)
        options += ("--set", "caption.windows=[0-100, 50-100]")
        refused = emo("caption", "--out", out, *options, env=ray_cluster)
        assert refused.returncode == 2
        assert "told shows the gold; give it with --gold" in refused.stderr
        options += ("--gold", source / "gold.csv")
        target = ("--set", "caption.target=28")
        done = emo("caption", "--out", out, *options, *target, "--plan", "--json", env=ray_cluster)
        assert json.loads(done.stdout) == {
            "clips": 5,
            "clips_without_frames": 0,
            "experts": {"captioner": ["told", "free"]},
            "windows": ["0-100", "50-100"],
            "samples": 2,
            "possible": 32,
            "at_most": 1600,
            "target": 28,
            "captions": 28,
            "outcome": "done",
            "exit_code": 0,
        }
        assert requests_to(url)["requests"] == []
        samples = ("--set", "caption.samples=2")
        done = emo("caption", "--out", out, *options, *samples, env=ray_cluster)
        assert done.returncode == 0, done.stderr
        asked = [request["text"] for request in requests_to(url)["requests"]]
    assert "2 clips have no gold: no prompt that shows it is asked about them" in done.stderr
    found = whole(out)
    assert len(found) == 32
    drafts = {
        (row["video_id"], row["prompt"], row["window"], row["sample"]): row
        for row in rows(out, DRAFTS, "text", "question", "frames", "audio")
    }
    assert len(drafts) == len(found)
    told = [row for row in found.values() if row["source"]["gold_shown"] == "label_conditioned"]
    assert {row["video_id"] for row in told} == {"film_a/angry", "film_a/welcome", "film_c/sad"}
    assert {row["source"]["prompt"] for row in told} == {"told:negative"}
    for row in told:
        question, answer = turns_of(row["messages"])
        assert "negative" not in question.content
        assert question.content.endswith('"about": "the person"}')
        assert "is negative, as her hands" in answer.content
    assert any("is negative" in text for text in asked)
    assert all("{label}" not in text for text in asked)
    # The server answers with what it was sent: half of the frames, half of the sound.
    half = drafts["film_a/angry", "free", "50-100", 0]
    assert (half["frames"], half["audio"]) == ([2, 3], True)
    assert half["text"].count("image/jpeg") == 2
    assert "flac=FLAC 16000 Hz" in half["text"]
    silent = drafts["film_f/silent", "free", "0-100", 0]
    assert (silent["frames"], silent["audio"]) == ([0, 1, 2, 3], False)
    # Two samples of a question, and two windows, are drawn with seeds of their own.
    seeds = {row["text"].partition("seed=")[2] for key, row in drafts.items() if key[1] == "free"}
    assert len(seeds) == sum(key[1] == "free" for key in drafts)


def test_the_target_counts_what_the_filters_leave(ingested, tmp_path, ray_cluster):
    out = tmp_path / "out"
    shutil.copytree(ingested, out)
    target = ("--set", "caption.experts=[face]", "--set", "caption.target=8")
    # All of them are to be trained on; the target counts no others.
    target += ("--set", "caption.splits={train: 1.0, validation: 0.0, test: 0.0}")
    arguments = ("--export", tmp_path / "set", "--json")
    done = emo("caption", "--out", out, *OPTIONS, *target, *arguments, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["target"] == 8
    # Those of the first plan too, once each.
    found = whole(out)
    assert len(found) == raw_rows(out, CAPTIONS).num_rows == summary["captions"]
    assert sum(row["status"] == "ok" for row in found.values()) == summary["kept"]
    assert sum(summary["exported"].values()) == summary["kept"]
    assert summary["kept"] >= 8
    assert 8 < summary["captions"] < 15, "some were filtered, and not all combinations were needed"
    assert re.search(r"caption: \d+ of 8 are left to train on, the target is 8\n", done.stderr)
    again = emo("caption", "--out", out, *OPTIONS, *target, "--json", env=ray_cluster)
    assert json.loads(again.stdout)["captions"] == summary["captions"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "caption.target=46"], "caption.target is 46, and 5 clips give 45 captions"),
        (["--set", "caption.prompts=[persn]"], "unknown caption prompt 'persn'; expected"),
        (["--set", "caption.prompts=[voice]"], "voice takes no prompt; its captions need"),
        (["--set", "caption.windows=[0-150]"], "caption.windows: window 0-150: expected 0 <= start < end"),
        (["--set", "caption.filters.crowds=false"], "caption.filters: unknown filter crowds; expected"),
        (["--set", "caption.splits={train: 0.5}"], "shares of train, validation, test that sum to 1"),
        (["--set", "caption.video_of=film"], "caption.video_of: expected a pattern with one group, not 0"),
        (["--set", "caption.experts=[nobody]"], "no expert is named 'nobody'"),
        (["--gold", "nowhere.csv"], "gold 'nowhere.csv' does not exist"),
    ],
)
def test_bad_input_is_told_before_anything_starts(ingested, options, says):
    done = emo(
        "caption",
        "--out",
        ingested,
        *EXPERTS,
        "--set",
        "caption.experts=[voice, face, words]",
        *HALVES,
        *options,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Ray is up" not in done.stderr
    assert not list(Path(ingested).glob("captions/*"))


def test_an_out_without_clips_is_refused(tmp_path):
    done = emo("caption", "--out", tmp_path / "empty", *EXPERTS)
    assert done.returncode == 2
    assert "holds no run of emo" in done.stderr
