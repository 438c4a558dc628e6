"""A share of a file is held out by what its samples are about."""

import json

import pytest

import checkpoints
from emo.finetuning import listing
from emo.finetuning.prepared import HELD_OUT, TRAIN
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

ANSWER = {"role": "assistant", "content": "She looks sad."}


def row(tag, key, media, text="What is felt?"):
    return {"messages": [{"role": "user", "content": f"<{tag}>{text}"}, ANSWER], key: [media]}


@pytest.fixture
def settings(tmp_path):
    base = checkpoints.make_internvl(tmp_path / "base")

    def make(rows, **changes):
        path = tmp_path / "train.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return Finetune(model=str(base), device="cpu", data=str(path), **changes)

    return make


def sides(settings, tmp_path):
    listed, _ = listing.list_samples(Storage(str(tmp_path / "out")), settings)
    return [one.entry.split for one in listed]


def test_samples_of_one_clip_stay_together_and_the_share_is_about_kept(settings, tmp_path):
    rows = [
        row("video", "videos", [f"clips/{clip}/{window + place}.jpg" for place in (0, 1)], f"{window}?")
        for clip in range(400)
        for window in (0, 2)
    ]
    found = sides(settings(rows, held_out_share=0.1), tmp_path)
    assert all(found[at] == found[at + 1] for at in range(0, 800, 2))
    assert 0.06 < found.count(HELD_OUT) / 800 < 0.14
    assert set(found) == {TRAIN, HELD_OUT}


def test_files_of_one_folder_are_each_their_own_and_without_a_share_all_are_trained_on(settings, tmp_path):
    rows = [row("video", "videos", f"clips/{clip}.mp4") for clip in range(200)]
    assert set(sides(settings(rows, held_out_share=0.2), tmp_path)) == {TRAIN, HELD_OUT}
    assert set(sides(settings(rows), tmp_path)) == {TRAIN}


def test_a_file_that_is_held_out_comes_before_the_share(settings, tmp_path):
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps(row("video", "videos", "x.mp4")))
    rows = [row("video", "videos", f"clips/{clip}.mp4") for clip in range(50)]
    found = sides(settings(rows, held_out_share=0.5, held_out=str(held)), tmp_path)
    assert found == [TRAIN] * 50 + [HELD_OUT]
