"""Drafts → captions: what failed stays failed, ids and splits, the summary; and drafting by a real model."""

import pyarrow as pa
import pytest

from emo.captions.assemble import assemble, caption_id, to_table
from emo.captions.export import export
from emo.captions.filters import Evidence
from emo.captions.messages import turns_of
from emo.captions.prompts import load_caption_prompt
from emo.captions.rules import Rules
from emo.captions.splits import video_of
from emo.captions.summary import summarise, summary_lines
from emo.errors import RowError
from emo.experts import settings_of
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, DRAFTS

SHARES = {"train": 1.0, "validation": 0.0, "test": 0.0}
TEXT = "The woman raises her brows and smiles at the man; she probably feels happy about what he says."


def draft(video_id="film/1", window="0-100", **changes):
    row = dict.fromkeys(DRAFTS.schema.names)
    row |= {"video_id": video_id, "expert": "qwen", "prompt": "person", "window": window, "sample": 0}
    row |= {"question": "Describe her.", "text": TEXT, "frames": [0, 1], "audio": True, "seed": 0}
    return row | {"gold_shown": "label_free", "status": "ok", "run_id": "1"} | changes


def made(*drafts, labels=None, rules=None):
    labels = labels if labels is not None else {caption_id(one): ["happy"] for one in drafts}
    planned = [True] * len(drafts)
    return assemble(drafts, labels, planned, Evidence(), rules or Rules(), SHARES, video_of)


def test_a_draft_becomes_a_caption_that_fits_its_table():
    rows = made(draft())
    table = to_table(rows, "2")
    assert table.schema == CAPTIONS.schema
    [row] = table.to_pylist()
    assert (row["caption_id"], row["run_id"]) == ("film/1:qwen:person:0-100:0", "2")
    assert (row["split"], row["status"], row["labels"], row["filters"]) == ("train", "ok", ["happy"], [])
    assert turns_of(row["messages"])[0].content == "<image><image><audio>\nDescribe her."


@pytest.mark.parametrize(
    ("bad", "labels", "code"),
    [
        (draft(status="failed", error="bad_audio", error_message="no", text=None), {}, "bad_audio"),
        (draft(), {"film/1:qwen:person:0-100:0": RowError("refused", "the model declined")}, "refused"),
        (draft(text="An <image> of a woman."), {}, "media_tag"),
        (draft(text="  "), {}, "empty"),
    ],
)
def test_what_failed_is_a_failed_caption_with_the_same_error_and_no_text(bad, labels, code):
    good = draft(window="0-50")
    rows = made(bad, good, labels={caption_id(good): ["happy"], **labels})
    assert [(row["status"], row["error"]) for row in rows] == [("failed", code), ("ok", None)]
    assert rows[0]["messages"] is None
    assert rows[0]["filters"] == []
    assert to_table(rows, "1").num_rows == 2


def test_an_expert_that_ran_out_of_tokens_wrote_half_a_caption():
    [row] = made(draft(finish_reason="length"))
    assert (row["status"], row["filters"]) == ("filtered", ["cut_off"])


def test_the_summary_counts_each_filter_and_those_that_failed_it_alone():
    rules = Rules(on=frozenset({"cut_off", "no_media", "near_duplicate"}))
    rows = made(
        draft("a/1"),
        draft("a/2", finish_reason="length"),
        draft("b/1", finish_reason="length", frames=[], audio=False),
        draft("b/2", status="failed", error="timeout", error_message="slow"),
        rules=rules,
    )
    summary = summarise(rows, rules)
    assert [summary[name] for name in ("captions", "kept", "filtered", "failed")] == [4, 1, 2, 1]
    assert summary["filters"] == [
        {"filter": "cut_off", "failed": 2, "alone": 1},
        {"filter": "no_media", "failed": 1, "alone": 0},
        {"filter": "near_duplicate", "failed": 0, "alone": 0},
    ]
    assert summary["splits"]["train"] == {"captions": 1, "clips": 1}
    assert (summary["experts"], summary["gold_shown"]) == ({"qwen": 1}, {"label_free": 1})
    lines = summary_lines(
        {**summary, "split_notes": ["it is empty"], "not_applied": {"no_media": "of a reason"}}
    )
    assert lines[0].split() == ["filter", "failed", "this", "alone"]
    assert lines[2].endswith("not applied: of a reason")
    assert lines[-1] == "it is empty"


def test_an_export_of_captions_whose_clip_is_gone_is_refused(tmp_path):
    clips = pa.table({"video_id": ["film/2"], "file": ["clips/1-x.parquet"]})
    with pytest.raises(RowError, match=r"1 clips of captions are not in .*: film/1"):
        export(Storage(str(tmp_path)), clips, made(draft()), Storage(str(tmp_path / "set")))
    assert not (tmp_path / "set" / "train.jsonl").exists()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A decoded clip with four frames and sound."""
    from clips import make_clip
    from emo.media.decode import decode_file
    from emo.media.decoded import DecodeSettings

    path = make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", seconds=2)
    return decode_file(str(path), DecodeSettings(frames=4))


def test_a_model_drafts_as_many_samples_as_it_is_asked_for_about_the_frames_that_it_is_shown(clip, tmp_path):
    from checkpoints import make_internvl
    from emo.jobs.drafts import Ask, CaptionWorker

    model = make_internvl(tmp_path / "internvl")
    settings = {"kind": "internvl", "name": "tiny", "model": str(model), "device": "cpu", "max_new_tokens": 8}
    settings |= {"samples": 2, "seed": 3, "max_frames": 2, "prompt": "description"}
    ask = Ask(settings_of(settings), load_caption_prompt("person"), "person", None)
    # A row per draft; the clip stands at the first of each question.
    frames, sound, missing = list(clip.frames), clip.audio, [None] * 6
    rows = pa.table(
        {
            "video_id": ["a"] * 4 + ["broken"] * 2,
            "duration_s": [clip.duration_s] * 6,
            "frame_times": [list(clip.frame_times)] * 6,
            "frames": [frames, None, frames, None, [b"no image"] * 4, None],
            "audio": [sound, None, sound, None, None, None],
            "transcript": pa.array(missing, pa.string()),
            "language": pa.array(missing, pa.string()),
            "speaker": pa.array(missing, pa.string()),
            "prompt": ["person"] * 6,
            "window": ["0-100", "0-100", "50-100", "50-100", "0-100", "0-100"],
            "sample": pa.array([0, 1] * 3, pa.int32()),
        }
    )
    found = CaptionWorker(ask, "1")(rows)
    assert found.schema == DRAFTS.schema
    lines = found.to_pylist()
    assert [(row["video_id"], row["window"], row["sample"]) for row in lines] == [
        ("a", "0-100", 0), ("a", "0-100", 1), ("a", "50-100", 0), ("a", "50-100", 1),
        ("broken", "0-100", 0), ("broken", "0-100", 1),
    ]  # fmt: skip
    # It takes two of the frames, the first and the last; it hears nothing.
    assert [row["frames"] for row in lines] == [[0, 3], [0, 3], [2, 3], [2, 3], None, None]
    assert [row["audio"] for row in lines[:4]] == [False] * 4
    assert [row["error"] for row in lines] == [None] * 4 + ["bad_frames"] * 2
    # Other samples and other windows are other draws.
    assert len({row["text"] for row in lines[:4]}) == 4
    assert {row["finish_reason"] for row in lines[:4]} <= {"stop", "length"}
    assert {row["prompt_sha"] for row in lines} == {load_caption_prompt("person").sha}
    committed.commit(Storage(str(tmp_path)), "drafts", DRAFTS, "1-x", found)
