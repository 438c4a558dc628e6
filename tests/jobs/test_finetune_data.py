"""From captions and files to prepared samples, without a cluster: the functions that Ray Data runs."""

import io
import json
import shutil

import pyarrow as pa
import pytest
import soundfile
import torch

import checkpoints
import drawn_faces
import synthetic_clips
from clips import make_clip
from emo.captions.export import export
from emo.captions.messages import chat
from emo.captions.prompts import load_caption_prompt
from emo.clips import ingested
from emo.errors import InputError
from emo.finetuning import listing, prepared
from emo.finetuning.collator import Collator
from emo.finetuning.listed import Listing
from emo.finetuning.prepared import refusals
from emo.finetuning.settings import Finetune
from emo.run import training_data
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, CLIPS
from trained_folders import prepare


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_internvl(tmp_path_factory.mktemp("base"))


def caption(name, video, **changes):
    row = {field.name: None for field in CAPTIONS.schema}
    source = {
        "window": "0-100",
        **{key: None for key in CAPTIONS.schema.field("source").type.names if key != "window"},
    }
    return {
        **row, "caption_id": name, "video_id": video, "split": "train", "frames": [0, 1], "audio": False,
        "messages": chat("What is felt?", "She frowns.", images=2), "labels": ["sad"], "source": source,
        "filters": [], "status": "ok", "run_id": "20260101T000000Z", **changes,
    }  # fmt: skip


@pytest.fixture
def out(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    clips = []
    for number in (1, 2):
        clip = synthetic_clips.clip(number, frames=4)
        row = {field.name: getattr(clip, field.name, None) for field in CLIPS.schema}
        clips.append({**row, "uri": "u", "status": "ok", "run_id": "20260101T000000Z"})
    committed.commit(storage, "clips", CLIPS, "a", pa.Table.from_pylist(clips, schema=CLIPS.schema))
    source = {**caption("x", "x")["source"], "window": "50-100"}
    captions = [
        caption("one", "clip-1"),
        caption("two", "clip-1", frames=[2, 3], source=source),
        caption("held", "clip-2", split="validation"),
        caption("test", "clip-2", split="test"),
        caption("gone", "clip-9"),
        caption("filtered", "clip-1", status="failed", error="filtered"),
        caption("broken", "clip-1", messages="[]"),
    ]
    rows = pa.Table.from_pylist(captions, schema=CAPTIONS.schema)
    committed.commit(storage, "captions", CAPTIONS, "a", rows)
    return storage


def test_captions_become_samples_with_the_frames_of_their_window(out, base, tmp_path):
    settings = Finetune(model=str(base), device="cpu", max_frames=4)
    listed, fingerprint = listing.list_samples(out, settings)
    assert sorted(one.entry.sample_id for one in listed) == ["broken", "gone", "held", "one", "test", "two"]
    run = Storage(str(tmp_path / "run"))
    entries = prepare(out, run, settings, listed)
    assert entries["broken"].error == "untrained"
    assert entries["gone"].error == "clip_missing"
    assert prepared.counts(list(entries.values())) == {
        "train": 2, "held_out": 1, "refused": {"untrained": 1, "clip_missing": 1},
    }  # fmt: skip
    clip = synthetic_clips.clip(1, frames=4)
    reader = prepared.ClipReader(run)
    assert reader.clip(entries["one"]).frames == clip.frames[:2]
    second = reader.clip(entries["two"])
    assert second.frames == clip.frames[2:]
    assert second.frame_times == (0.0, 0.5)
    assert second.duration_s == 1.0
    collator = Collator(run, settings, base, [entries["one"], entries["two"]])
    batch = collator.batch([0, 1])
    assert batch.names == ("one", "two")
    assert batch.tokens == entries["one"].tokens + entries["two"].tokens
    assert batch.trained == entries["one"].trained + entries["two"].trained
    other = listing.list_samples(out, Finetune(model=str(base), device="cpu", system="Be exact."))[1]
    assert other != fingerprint


@pytest.mark.parametrize("family", ["internvl", "qwen2.5-vl", "qwen2.5-omni"])
def test_what_is_exported_is_trained_on_as_the_table_is(family, out, tmp_path):
    """Clips of both windows and the sound of one come back from their files to the last number."""
    kind, make = checkpoints.FAMILIES[family]
    base = make(tmp_path / "model")
    heard = {**caption("x", "x")["source"], "window": "0-50"}
    spoken = chat("What is felt?", "She frowns.", images=2, audio=True)
    row = caption("heard", "clip-2", frames=[0, 1], audio=True, messages=spoken, source=heard)
    committed.commit(out, "captions", CAPTIONS, "b", pa.Table.from_pylist([row], schema=CAPTIONS.schema))
    rows = committed.read_newest(out, "captions", CAPTIONS, CAPTIONS.schema.names).to_pylist()
    kept = [row for row in rows if row["caption_id"] in ("one", "two", "heard")]
    export(out, ingested(out), kept, Storage(str(tmp_path / "set")))
    common = {"family": kind, "model": str(base), "device": "cpu", "max_frames": 4, "other_senses": True}
    by_table = Finetune(**common)
    by_file = Finetune(**common, data=str(tmp_path / "set" / "train.jsonl"))
    made = []
    for name, settings in (("a", by_table), ("b", by_file)):
        run = Storage(str(tmp_path / name))
        entries = prepare(out, run, settings, listing.list_samples(out, settings)[0])
        chosen = sorted(
            (entry for entry in entries.values() if entry.split == "train" and entry.error is None),
            key=lambda entry: entry.sample_id,
        )
        made.append([Collator(run, settings, base, [entry]).batch([0]) for entry in chosen])
    assert len(made[0]) == len(made[1]) == 3
    for ours, theirs in zip(*made, strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids)
        assert torch.equal(ours.positions, theirs.positions)
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.features.keys() == theirs.features.keys()
        assert all(torch.equal(ours.features[name], theirs.features[name]) for name in ours.features)


def test_sounds_of_any_rate_become_samples_and_a_missing_file_is_refused_by_name(tmp_path):
    base = checkpoints.make_qwen2_audio(tmp_path / "base")
    person = drawn_faces.identity(3)
    (tmp_path / "a.flac").write_bytes(drawn_faces.voice(person, "sad", 3))
    wave, _ = soundfile.read(tmp_path / "a.flac")
    soundfile.write(tmp_path / "fast.wav", wave, 44_100)
    lines = [
        ("a.flac", [{"role": "user", "content": "<audio>?"}, {"role": "assistant", "content": "Sad."}]),
        ("fast.wav", [{"role": "user", "content": "<audio>?"}, {"role": "assistant", "content": "Sad."}]),
        ("none.wav", [{"role": "user", "content": "<audio>?"}, {"role": "assistant", "content": "Sad."}]),
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps({"messages": m, "audios": [a]}) for a, m in lines))
    settings = Finetune(family="qwen-audio", model=str(base), data=str(file), device="cpu")
    out, run = Storage(str(tmp_path / "out")), Storage(str(tmp_path / "run"))
    listed, _ = listing.list_samples(out, settings)
    entries = prepare(out, run, settings, listed)
    by_line = {int(name.rsplit("-", 1)[1]): entry for name, entry in entries.items()}
    assert by_line[1].trained > 0
    assert by_line[2].tokens < by_line[1].tokens, "the faster file is shorter at 16 kHz"
    assert by_line[3].error == "media"
    assert "none.wav cannot be read" in by_line[3].error_message


def test_data_without_any_usable_sample_are_refused_with_an_example(tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "<image>?"}]}\n')
    settings = Finetune(model="m", data=str(file), device="cpu")
    with pytest.raises(InputError, match=r"no sample that can be trained on \(1 in all\).*line 1"):
        listing.list_samples(Storage(str(tmp_path / "out")), settings)


def test_an_out_without_captions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"captions holds no sample"):
        listing.list_samples(Storage(str(tmp_path / "out")), Finetune(model="m", device="cpu"))


def test_published_captions_about_a_folder_of_videos_become_samples_and_bad_rows_keep_their_line(
    base, tmp_path
):
    (tmp_path / "videos" / "part1").mkdir(parents=True)
    first = make_clip(tmp_path / "videos" / "part1" / "one.mp4", seconds=1.0, size=(112, 112))
    shutil.copy(first, tmp_path / "videos" / "two.MP4")
    shutil.copy(first, tmp_path / "videos" / "twice.mp4")
    shutil.copy(first, tmp_path / "videos" / "part1" / "twice.mkv")
    (tmp_path / "videos" / "torn.mp4").write_bytes(first.read_bytes()[:2000])
    plus = tmp_path / "plus.csv"
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(first, tmp_path / "elsewhere" / "linked.mp4")
    (tmp_path / "videos" / "more").symlink_to(tmp_path / "elsewhere")
    names = ("one", "gone", "twice", "torn")
    plus.write_text(
        "name,openset\n" + "".join(f'{n},"[happy, calm]"\n' for n in names) + "two,[]\nlinked,[glad]\n"
    )
    emer = tmp_path / "gt.json"
    emer.write_text(json.dumps({"two": {"emotions": ["sad"], "subtitles": "", "reasons": "She frowns."}}))
    settings = Finetune(
        model=str(base), data=str(plus), held_out=str(emer), videos=str(tmp_path / "videos"),
        prompt="face", max_frames=2, device="cpu", other_senses=True,
    )  # fmt: skip
    out, run = Storage(str(tmp_path / "out")), Storage(str(tmp_path / "run"))
    listed, _ = listing.list_samples(out, settings)
    _, entries = zip(*sorted(prepare(out, run, settings, listed).items()), strict=True)
    train, held_out = prepared.training_entries(entries), prepared.usable(entries, prepared.HELD_OUT)
    assert [entry.turns[1].content for entry in train] == [
        f"The character's emotional state is {felt}." for felt in ("happy, calm", "glad")
    ]
    assert train[0].turns[0].content == load_caption_prompt("face").question
    assert (train[0].labels, held_out[0].labels) == (("happy", "calm"), ("sad",))
    assert held_out[0].turns[1].content == "She frowns."
    clip = prepared.ClipReader(run).clip(train[0])
    assert len(clip.frames) == 2
    assert soundfile.info(io.BytesIO(clip.audio)).samplerate == 16_000
    said = "\n".join(refusals(entries))
    assert f"{plus} line 3: expected one video 'gone' below {tmp_path / 'videos'}, none is there" in said
    assert f"{plus} line 4: expected one video 'twice' below {tmp_path / 'videos'}, 2 are there" in said
    assert f"{plus} line 5: " in said, "a video that cannot be decoded is refused by the line that names it"
    assert f"{plus} line 6: the label set is empty; expected labels in openset" in said


def test_a_published_text_with_the_tag_of_a_medium_is_refused_and_the_rest_goes_on(base, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "one.mp4").touch()
    texts = ("She <image> smiles.", "It is a <video>.", "An <audio>", "She smiles.")
    reasons = tmp_path / "reasons.csv"
    reasons.write_text("name,reason\n" + "".join(f"one,{text}\n" for text in texts))
    settings = Finetune(
        model=str(base),
        data=str(reasons),
        videos=str(tmp_path / "videos"),
        max_frames=2,
        device="cpu",
        other_senses=True,
    )
    listed = [*listing.list_samples(Storage(str(tmp_path / "out")), settings)[0]]
    assert [one.entry.error for one in listed] == ["media_mismatch"] * 3 + [None]
    assert listed[0].entry.error_message.startswith(f"{reasons} line 2: ")
    assert listed[2].entry.error_message.startswith(f"{reasons} line 4: ")


def test_published_captions_beside_a_folder_of_other_videos_are_refused_with_their_reasons(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "other.mp4").touch()
    (tmp_path / "plus.csv").write_text("name,openset\none,[happy]\ntwo,[]\nthree,[sad]\n")
    data, videos = str(tmp_path / "plus.csv"), str(tmp_path / "videos")
    out, run = Storage(str(tmp_path / "out")), Storage(str(tmp_path / "run"))
    settings = Finetune(model="m", data=data, videos=videos, device="cpu")
    says = (
        r"no sample that can be trained on \(3 in all\), refused as: media 2, empty 1; .*line 2: expected one"
    )
    with pytest.raises(InputError, match=says):
        listing.list_samples(out, settings)
    refused = Listing()
    for rows in listing._from_file(data, "train", settings.sources[0], settings, out.s3, {}, 0.0):
        refused.add(rows)
    entries = training_data.prepare(run, out, settings, refused, 1)
    assert prepared.counts(entries)["refused"] == {"media": 2, "empty": 1}
    assert len(prepared.read_entries(run)) == 3


def test_published_captions_need_a_folder_with_videos(base, tmp_path):
    (tmp_path / "plus.csv").write_text("name,openset\none,[happy]\n")
    out = Storage(str(tmp_path / "out"))
    settings = Finetune(model=str(base), data=str(tmp_path / "plus.csv"), device="cpu")
    with pytest.raises(InputError, match=r"set finetune\.videos to the folder"):
        listing.list_samples(out, settings)
    with pytest.raises(InputError, match="nowhere holds no video"):
        listing.list_samples(out, settings.model_copy(update={"videos": str(tmp_path / "nowhere")}))


def test_of_many_refused_rows_the_first_are_shown_and_the_rest_are_counted():
    entries = [
        prepared.Entry(str(n), "train", (), error="media", error_message=f"line {n}") for n in range(25)
    ]
    lines = refusals([*entries, prepared.Entry("good", "train", ())])
    assert lines[0] == "25 samples refused as media; the first 20, the others are in data/samples.parquet:"
    assert lines[1:] == [f"  line {n}" for n in range(20)]


def test_a_picture_that_a_library_chokes_on_costs_its_own_row_and_frames_keep_their_times(tmp_path):
    from PIL import Image

    base = checkpoints.make_qwen2_5_vl(tmp_path / "base")
    for name, size in (("wide.jpg", (2000, 6)), ("a.jpg", (112, 112)), ("b.jpg", (112, 112))):
        Image.new("RGB", size, (90, 90, 90)).save(tmp_path / name)
    answer = {"role": "assistant", "content": "Sad."}
    lines = [
        {"messages": [{"role": "user", "content": "<image>?"}, answer], "images": ["wide.jpg"]},
        {
            "messages": [{"role": "user", "content": "<video>?"}, answer],
            "videos": [["a.jpg", "b.jpg"]],
            "frame_times": [[0.5, 1.5]],
        },
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    settings = Finetune(family="qwen-vl", model=str(base), data=str(file), device="cpu")
    run = Storage(str(tmp_path / "run"))
    listed, _ = listing.list_samples(Storage(str(tmp_path / "out")), settings)
    odd, fine = sorted(
        prepare(Storage(str(tmp_path / "out")), run, settings, listed).values(), key=lambda e: e.sample_id
    )
    assert odd.error == "not_prepared"
    assert "line 1: ValueError: absolute aspect ratio" in odd.error_message
    clip = prepared.ClipReader(run).clip(fine)
    assert (clip.frame_times, clip.duration_s) == ((0.5, 1.5), 2.0)
