"""What a family cannot sense is not what it is trained to speak of."""

import json

import pyarrow as pa
import pytest

from emo.captions.messages import chat
from emo.errors import InputError
from emo.finetuning import listing, prepared
from emo.finetuning.settings import Finetune
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS


def row(name, prompt, frames, audio):
    empty = {field.name: None for field in CAPTIONS.schema}
    source = dict.fromkeys(CAPTIONS.schema.field("source").type.names)
    source |= {"expert": "omni", "prompt": prompt, "window": "0-100"}
    return {
        **empty, "caption_id": name, "video_id": "clip-1", "split": "train", "frames": frames, "audio": audio,
        "messages": chat("What is felt?", "She frowns.", images=len(frames), audio=audio), "labels": ["sad"],
        "source": source, "filters": [], "status": "ok", "run_id": "20260101T000000Z",
    }  # fmt: skip


@pytest.fixture
def out(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    rows = [
        row("seen", "person", [0, 1], False),
        row("seen-and-heard", "person", [0, 1], True),
        row("heard", "voice", [], True),
        row("a-face", "face", [0], False),
        row("a-voice-of-pictures", "voice", [0], False),
        row("with-gold", "person-with-label:positive", [0], False),
    ]
    committed.commit(storage, "captions", CAPTIONS, "a", pa.Table.from_pylist(rows, schema=CAPTIONS.schema))
    return storage


@pytest.mark.parametrize(
    ("family", "kept"),
    [
        ("internvl", {"seen", "a-face", "with-gold"}),
        ("qwen-vl", {"seen", "a-face", "with-gold"}),
        ("qwen-audio", {"heard"}),
        ("qwen-omni", {"seen", "seen-and-heard", "heard", "a-face", "a-voice-of-pictures", "with-gold"}),
    ],
)
def test_captions_that_speak_of_a_sense_that_the_family_lacks_are_refused_and_counted(out, family, kept):
    values = {"family": family, "model": "m", "device": "cpu", "validation": {"samples": 0}}
    listed, _ = listing.list_samples(out, Finetune(**values))
    entries = [one.entry for one in listed]
    assert {entry.sample_id for entry in entries if entry.error is None} == kept
    left = len(entries) - len(kept)
    assert prepared.counts(entries)["refused"] == ({"other_sense": left} if left else {})
    asked, _ = listing.list_samples(out, Finetune(**values, other_senses=True))
    assert [one.entry.error for one in asked] == [None] * 6


def test_the_line_says_who_drafted_it_and_what_would_be_right(out):
    listed, _ = listing.list_samples(out, Finetune(model="m", device="cpu", validation={"samples": 0}))
    said = "\n".join(prepared.refusals([one.entry for one in listed]))
    assert "3 samples refused as other_sense:" in said
    assert "heard: omni wrote it about sound, which internvl is not given; finetune.other_senses=true" in said


def test_captions_without_a_validation_split_are_refused_unless_no_figures_are_wanted(out):
    with pytest.raises(InputError, match=r"no caption of the split validation.*caption\.split_by"):
        listing.list_samples(out, Finetune(model="m", device="cpu"))


def test_files_with_a_medium_that_the_family_does_not_take_are_refused_by_line(tmp_path):
    media = [("images", "<image>"), ("videos", "<video>"), ("audios", "<audio>")]
    lines = [
        {
            "messages": [{"role": "user", "content": f"{tag}?"}, {"role": "assistant", "content": "Sad."}],
            medium: ["file"],
        }
        for medium, tag in media
    ]
    lines.append({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Sad."}]})
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    for family, refused in (("internvl", {2}), ("qwen-audio", {0, 1}), ("qwen-omni", set())):
        settings = Finetune(family=family, model="m", data=str(file), device="cpu")
        listed = [*listing.list_samples(Storage(str(tmp_path / "out")), settings)[0]]
        found = {number for number, one in enumerate(listed) if one.entry.error == "other_sense"}
        assert found == refused
        assert all(f"line {number + 1}:" in listed[number].entry.error_message for number in refused)


def test_a_published_description_speaks_of_both_senses_and_a_label_set_of_none(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "one.mp4").touch()
    for name, text in (
        ("reasons", "name,reason\none,Her voice trembles.\n"),
        ("sets", "name,openset\none,[sad]\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(text)
    values = {"model": "m", "videos": str(tmp_path / "videos"), "device": "cpu"}
    out = Storage(str(tmp_path / "out"))
    for family in ("internvl", "qwen-audio"):
        listing.list_samples(out, Finetune(family=family, data=str(tmp_path / "sets.csv"), **values))
        with pytest.raises(InputError, match="other_sense 1"):
            listing.list_samples(out, Finetune(family=family, data=str(tmp_path / "reasons.csv"), **values))
    listing.list_samples(out, Finetune(family="qwen-omni", data=str(tmp_path / "reasons.csv"), **values))
