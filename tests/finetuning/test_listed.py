"""The samples of a run are listed on the disk: in parts, whatever their number."""

import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.captions import messages
from emo.captions.messages import TAGS
from emo.captions.prompts import load_caption_prompt
from emo.errors import RowError
from emo.finetuning import chats as chats_module
from emo.finetuning import listed, listing, prepared, record, samples, spool
from emo.finetuning.chats import Chats
from emo.finetuning.forgetting import forget
from emo.finetuning.prepared import Entry
from emo.finetuning.questions import as_labelled
from emo.finetuning.settings import Finetune
from emo.run import training_data
from emo.store import committed
from emo.store.runs import training_place
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS

SETTINGS = Finetune(model="m", device="cpu", validation={"samples": 0})


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.text(max_size=3), max_size=9), max_size=9), st.integers(1, 7), st.integers(1, 5))
def test_rows_that_are_sorted_on_the_disk_are_those_that_are_sorted_in_memory(parts, sorted_rows, read_rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_SORTED_ROWS", sorted_rows)
        patch.setattr(spool, "_READ_ROWS", read_rows)
        tables = [pa.table({"key": pa.array(part, pa.string())}) for part in parts]
        found = [text for rows in spool.sorted_by(iter(tables), "key") for text in rows["key"].to_pylist()]
    assert found == sorted(text for part in parts for text in part)


def test_a_spool_is_read_as_often_as_wanted_in_its_order_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spool.tempfile, "tempdir", str(tmp_path))
    rows = pa.table({"number": range(10_000)})
    kept = spool.Spool(rows.schema)
    kept.add(rows.slice(0, 3))
    kept.add(rows.slice(3))
    for _ in range(2):
        assert pa.concat_tables(kept).equals(rows)
    assert len(list(tmp_path.iterdir())) == 1
    del kept
    assert not list(tmp_path.iterdir())


def row(name, clip, split="train", text="She is sad.", **changes):
    source = {**dict.fromkeys(CAPTIONS.schema.field("source").type.names), "window": "0-100"}
    chat = [{"role": "user", "content": "<image>\nWhat is felt?"}, {"role": "assistant", "content": text}]
    return {
        **{field.name: None for field in CAPTIONS.schema},
        "caption_id": name, "video_id": clip, "split": split, "frames": [0], "audio": False,
        "messages": json.dumps(chat), "labels": ["sad"], "source": source, "filters": [], "status": "ok",
        "run_id": "20260101T000000Z", **changes,
    }  # fmt: skip


def out_of(folder, *files):
    out = Storage(str(folder))
    for number, rows in enumerate(files):
        table = pa.Table.from_pylist(rows, schema=CAPTIONS.schema)
        committed.commit(out, "captions", CAPTIONS, f"{number}", table)
    return out


def test_a_fingerprint_is_of_the_rows_and_not_of_the_files_that_hold_them(tmp_path):
    rows = [row(f"{number:03d}", f"clip-{number % 7}") for number in range(50)]
    mixed = random.Random(1).sample(rows, 50)
    one = listing.list_samples(out_of(tmp_path / "one", rows), SETTINGS)[1]
    assert listing.list_samples(out_of(tmp_path / "two", mixed[:20], mixed[20:]), SETTINGS)[1] == one
    others = {
        "text": [*rows[:49], row("049", "clip-0", text="She is glad.")],
        "clip": [*rows[:49], row("049", "clip-9")],
        "frames": [*rows[:49], row("049", "clip-0", frames=[1])],
        "no frames": [*rows[:49], row("049", "clip-0", frames=None)],
        "fewer": rows[:49],
        "a row twice": [*rows, row("050", "clip-0")],
    }
    found = {
        what: listing.list_samples(out_of(tmp_path / what, of), SETTINGS)[1] for what, of in others.items()
    }
    assert len({one, *found.values()}) == 1 + len(others)
    with_test = [*rows, row("test", "clip-0", split="test")]
    assert listing.list_samples(out_of(tmp_path / "test", with_test), SETTINGS)[1] == one


def test_a_run_that_began_with_the_fingerprint_of_an_earlier_version_goes_on(tmp_path):
    out = out_of(tmp_path / "out", [row(f"{number:03d}", f"clip-{number % 7}") for number in range(20)])
    found, fingerprint = listing.list_samples(out, SETTINGS)
    # As emo 0.1 made it of these rows.
    earlier = "d1db63f6d9fb344c"
    assert found.earlier_fingerprint() == earlier
    place = Storage(str(tmp_path / "run"))
    begun = record.begin(place, SETTINGS, earlier, "base")
    again = record.begin(place, SETTINGS, fingerprint, "base", found.earlier_fingerprint)
    assert again["data"] == begun["data"] == earlier


def test_shards_hold_all_samples_of_a_clip_whatever_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_SORTED_ROWS", 40)
    monkeypatch.setattr(spool, "_READ_ROWS", 7)
    rows = [row(f"{number:03d}", f"clip-{number % 100:03d}") for number in range(500)]
    rows += [row(f"bad-{number}", "clip-000", messages="[]") for number in range(9)]
    found, _ = listing.list_samples(out_of(tmp_path, rows[:200], rows[200:]), SETTINGS)
    shards = [listed.listed_of(shard) for shard in found.shards()]
    clips = [sorted({one.clip for one in shard}) for shard in shards]
    assert [len(some) for some in clips] == [32, 32, 32, 4]
    assert [clip for some in clips for clip in some] == sorted({one["video_id"] for one in rows})
    assert sorted(one.entry.sample_id for shard in shards for one in shard) == [
        f"{n:03d}" for n in range(500)
    ]
    refused = [entry for rows in found.refused() for entry in map(prepared.entry_of, rows.to_pylist())]
    assert {(one.error, one.tokens) for one in refused} == {("untrained", 0)}
    assert len(refused) == 9
    assert len(found) == 509


def test_what_a_preparation_that_was_cut_short_left_of_a_clip_is_forgotten(tmp_path):
    out = out_of(tmp_path, [row("a", "clip-1"), row("b", "clip-2")])
    place = training_place(out, "cut")
    record.begin(place, SETTINGS, "data", "base")
    training_data._write_shards(place, out, listing.list_samples(out, SETTINGS)[0])
    forget(out, {"clip-3": None})
    assert place.names("data") == ["data/listed-00000.parquet"]
    forget(out, {"clip-1": None})
    assert not place.names("data")


CONTENT = st.one_of(
    st.sampled_from(
        [*TAGS.values(), "<", "", " a ", "a\n\nb", 'say "a" \\ b', "\t a", "a\x1c", "\u00a0a", "\x7f", "é"]
    ),
    st.text(max_size=9),
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool"]),
        "content": st.one_of(CONTENT, st.none()),
    },
    optional={"loss": st.sampled_from([True, False, None, 3]), "more": st.just(1)},
)
PAIR = st.tuples(CONTENT, CONTENT).map(
    lambda said: [{"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}]
)
CHATS = st.one_of(PAIR, PAIR, st.lists(MESSAGE, max_size=4), st.sampled_from([None, 3, {}, [3, 4], [[], []]]))
# Of any writer, with what an editor leaves and with what nobody can read.
TEXTS = st.one_of(
    st.none(),
    st.tuples(CHATS, st.booleans(), st.sampled_from(["", "", "", " ", "x", "}]"]), st.booleans()).map(
        lambda of: (json.dumps(of[0], ensure_ascii=of[1]) + of[2]).replace(
            *(["e", "\\u0065"] if of[3] else "  ")
        )
    ),
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.text(max_size=4), TEXTS, st.booleans()), max_size=9),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 3),
)
def test_chats_that_are_looked_at_together_are_what_each_is_alone(chats, share, questions):
    asked = Finetune(model="m", device="cpu", system="Be exact.", label_question=share)

    def alone(name, text, whole):
        try:
            turns = messages.turns_of(text)
            turns = as_labelled(turns, name, asked) if whole else turns
            sample = samples.from_turns(name, turns, asked.system, has_media=True)
        except RowError as error:
            return error.code, error.message
        return json.dumps([[turn.role, turn.content, turn.loss] for turn in sample.turns]), sample.system

    names, texts = (pa.array([one[at] for one in chats], pa.string()) for at in (0, 1))
    together = Chats(asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chats_module, "_BEGINNINGS", questions)
        for _ in range(2):
            found = together.trained(names, texts, np.array([one[2] for one in chats], bool))
            said = list(zip(found.turns.to_pylist(), found.system.to_pylist(), strict=True))
            said = [
                (found.refused[at].code, found.refused[at].message) if at in found.refused else one
                for at, one in enumerate(said)
            ]
            assert said == [alone(*one) for one in chats]


def test_of_chats_as_emo_writes_them_none_is_looked_at_alone(monkeypatch):
    """Whatever their letters: a million that are would cost ten times as much."""
    monkeypatch.setattr(Chats, "_one", None)
    answers = ["She smiles.", "Elle est gênée.", "她笑了。", 'Says "no"\n\nand \\ shrugs.', " a\tb "]
    texts = [messages.chat(question, one, images=2) for question in ("What?", "Why?") for one in answers]
    names = pa.array(map(str, range(10)))
    found = Chats(SETTINGS).trained(names, pa.array(texts), np.zeros(10, bool))
    turns = [json.loads(text) for text in found.turns.to_pylist()]
    assert [turn[1][1] for turn in turns] == [one.strip() for one in answers] * 2
    assert [turn[0][1] for turn in turns] == ["What?"] * 5 + ["Why?"] * 5


def test_samples_that_came_by_clip_are_not_sorted_once_more_and_others_are(tmp_path, monkeypatch):
    rows = [row(f"{number // 5:03d}-{number % 5}", f"clip-{number // 5:03d}") for number in range(500)]
    monkeypatch.setattr(listed, "sorted_by", None)
    found, _ = listing.list_samples(out_of(tmp_path / "sorted", rows[:200], rows[200:]), SETTINGS)
    by_clip = [name for shard in found.shards() for name in shard["sample_id"].to_pylist()]
    assert by_clip == [one["caption_id"] for one in rows]
    monkeypatch.undo()
    found, _ = listing.list_samples(out_of(tmp_path / "mixed", rows[200:], rows[:200]), SETTINGS)
    assert [name for shard in found.shards() for name in shard["sample_id"].to_pylist()] == by_clip


def test_what_is_listed_of_files_comes_back_from_the_disk_as_it_was():
    turns = (messages.Turn("user", "é\x1f?"), messages.Turn("assistant", "x", True))
    made = [
        listed.Listed(Entry("a", "train", turns)),
        listed.Listed(Entry("b", "test", (), labels=()), clip="clip-1"),
        listed.Listed(Entry("c", "train", (), error="media", error_message="no"), where="f line 3"),
        listed.Listed(
            Entry("d", "test", (), "Be.", labels=("sad",), weight=0.5, pictures=True, audio=False),
            images=("a.jpg", "b.jpg"), where="f line 4",
        ),
        listed.Listed(
            Entry("e", "train", (), frames=(0, 2), window="0-50"),
            videos=(("a.jpg", "b.jpg"), "c.mp4"), audios=("c.wav",), frame_times=((0.5, 1.5),),
        ),
    ]  # fmt: skip
    [rows] = listed.tables_of(made)
    assert listed.listed_of(rows) == made
    assert rows.column("video_id").to_pylist() == [None, "clip-1", None, "a.jpg", "a.jpg"]


def test_a_captions_table_is_listed_without_being_held(tmp_path):
    """Of 20 thousand rows with 20 megabytes of text, a tenth is in memory afterwards."""
    text = load_caption_prompt("person").question * 2
    rows = [row(f"{number:05d}", f"clip-{number // 5}", text=f"{number} {text}") for number in range(20_000)]
    size = sum(len(one["messages"]) for one in rows)
    out = out_of(tmp_path, *(rows[start : start + 1000] for start in range(0, 20_000, 1000)))
    del rows
    before = pa.total_allocated_bytes()
    found, _ = listing.list_samples(out, SETTINGS)
    assert len(found) == 20_000
    assert pa.total_allocated_bytes() - before < size / 10
