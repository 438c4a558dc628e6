"""Several sources in one run, by their weights, and the question that `emo label` asks."""

import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.captions.prompts import load_caption_prompt
from emo.errors import InputError
from emo.experts.prompts import load_prompt
from emo.finetuning import batching, listing, prepared
from emo.finetuning.settings import Finetune
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS

WEIGHTS = st.lists(st.sampled_from([0.3, 0.5, 1.0, 2.0, 2.5]), min_size=1, max_size=40)


def epochs(weights, count, batch=7, seed=0):
    """The samples of each epoch."""
    size = batching.epoch_size(weights)
    plans = batching.steps(len(weights), batch, count, seed, None, batching.Cursor(), weights)
    used = [place for plan in plans for place in plan.samples]
    assert len(used) == size * count
    return [used[epoch * size : (epoch + 1) * size] for epoch in range(count)]


@given(WEIGHTS, st.integers(1, 9), st.integers(1, 4))
def test_each_sample_is_used_as_often_as_its_weight_says_and_none_much_more_than_another(
    weights, batch, count
):
    used = Counter(place for epoch in epochs(weights, count, batch) for place in epoch)
    for weight in set(weights):
        group = [place for place, one in enumerate(weights) if one == weight]
        times = [used[place] for place in group]
        assert sum(times) == count * max(1, round(weight * len(group)))
        assert max(times) - min(times) <= 1


def test_half_of_a_source_in_one_epoch_and_the_other_half_in_the_next():
    first, second = epochs([0.5] * 10, 2)
    assert sorted(first + second) == list(range(10))
    assert epochs([0.5] * 10, 2, seed=1) != [first, second]


def test_weights_of_one_change_nothing_of_a_run_without_them():
    plain = list(batching.steps(10, 3, 2, 0, None, batching.Cursor()))
    assert list(batching.steps(10, 3, 2, 0, None, batching.Cursor(), [1.0] * 10)) == plain


@given(WEIGHTS, st.data())
def test_a_run_with_weights_goes_on_from_any_step_with_the_steps_that_were_left(weights, data):
    plans = list(batching.steps(len(weights), 4, 3, 0, None, batching.Cursor(), weights))
    cut = data.draw(st.integers(1, len(plans)))
    cursor = plans[cut - 1].after
    assert list(batching.steps(len(weights), 4, 3, 0, None, cursor, weights)) == plans[cut:]


def chats(path, answer, count):
    rows = [
        {
            "messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": answer}],
            "number": number,
        }
        for number in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_files_of_several_sources_are_one_run_with_their_weights_and_held_out_files(tmp_path):
    one, two = chats(tmp_path / "a.jsonl", "Sad.", 6), chats(tmp_path / "b.jsonl", "Glad.", 4)
    held = chats(tmp_path / "held.jsonl", "Calm.", 2)
    sources = [{"data": one, "weight": 0.5}, {"data": two, "weight": 2, "held_out": held}]
    out, run = Storage(str(tmp_path / "out")), Storage(str(tmp_path / "run"))
    listed, fingerprint = listing.list_samples(out, Finetune(model="m", data=sources))
    found = Counter((one.entry.turns[1].content, one.entry.split, one.entry.weight) for one in listed)
    assert found == {("Sad.", "train", 0.5): 6, ("Glad.", "train", 2.0): 4, ("Calm.", "validation", 2.0): 2}
    heavier = [{**sources[0], "weight": 1}, sources[1]]
    assert listing.list_samples(out, Finetune(model="m", data=heavier))[1] != fingerprint
    entries = [one.entry for one in listed]
    assert prepared.about(entries, "f")["epoch"] == 3 + 8
    prepared.write_entries(run, [prepared.table_of(entries)])
    assert sorted(prepared.Stored(run, "train").weights) == [0.5] * 6 + [2.0] * 4
    assert prepared.read_entries(run) == entries


def test_a_run_that_was_prepared_without_weights_has_none(tmp_path):
    import pyarrow.parquet as pq

    run = Storage(str(tmp_path))
    entry = prepared.Entry("a", "train", (), tokens=3)
    prepared.write_entries(run, [prepared.table_of([entry])])
    path = tmp_path / prepared.SAMPLES
    pq.write_table(pq.read_table(path).drop_columns(["weight"]), path)
    assert list(prepared.Stored(run, "train").weights) == []
    assert prepared.read_entries(run) == [entry]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": []}, "the list of sources is empty"),
        ({"data": [{"data": "a.jsonl"}, {"data": "a.jsonl"}]}, "named twice"),
        ({"data": [{"data": "a.jsonl"}], "held_out": "b.jsonl"}, "each names its own file"),
        ({"data": [{"data": "a.jsonl", "weight": 0}]}, "greater than 0"),
        ({"data": [{"data": "a.jsonl", "wait": 1}]}, "wait"),
    ],
)
def test_sources_that_cannot_be_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Finetune(**changes)


def test_the_same_file_under_two_names_is_refused(tmp_path):
    one, two = chats(tmp_path / "a.jsonl", "Sad.", 2), chats(tmp_path / "b.jsonl", "Sad.", 2)
    with pytest.raises(InputError, match="2 samples are there twice"):
        listing.list_samples(
            Storage(str(tmp_path / "out")), Finetune(model="m", data=[{"data": one}, {"data": two}])
        )


def captions(out, prompt, count=400):
    source = dict.fromkeys(CAPTIONS.schema.field("source").type.names)
    question = load_caption_prompt(prompt).question
    chat = [
        {"role": "user", "content": f"<image><image>\n{question}"},
        {"role": "assistant", "content": "She looks sad."},
    ]
    rows = [
        {
            **{field.name: None for field in CAPTIONS.schema},
            "caption_id": f"{prompt}-{number}", "video_id": f"clip-{number}", "split": "train",
            "frames": [0, 1], "audio": False, "messages": json.dumps(chat),
            "source": {**source, "prompt": prompt, "window": "0-100"},
            "filters": [], "status": "ok", "run_id": "20260101T000000Z",
        }
        for number in range(count)
    ]  # fmt: skip
    committed.commit(out, "captions", CAPTIONS, prompt, pa.Table.from_pylist(rows, schema=CAPTIONS.schema))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_captions_of_the_whole_person_answer_the_question_of_emo_label_in_their_share(share, tmp_path):
    out = Storage(str(tmp_path))
    captions(out, "person")
    captions(out, "face")
    settings = Finetune(model="m", label_question=share, validation={"samples": 0})
    asked = {"person": Counter(), "face": Counter()}
    for one in listing.list_samples(out, settings)[0]:
        asked[one.entry.sample_id.split("-")[0]][one.entry.turns[0].content] += 1
        assert one.entry.turns[1].content == "She looks sad."
    assert asked["face"] == {load_caption_prompt("face").question: 400}, "it is not about the whole person"
    label = load_prompt("internvl-description").text
    assert asked["person"].keys() <= {label, load_caption_prompt("person").question}
    assert abs(asked["person"][label] / 400 - share) < 0.08
    assert listing.list_samples(out, settings)[1] == listing.list_samples(out, settings)[1]


def test_published_descriptions_answer_it_too_and_sets_of_labels_do_not(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    described, sets = tmp_path / "reasons.csv", tmp_path / "sets.csv"
    described.write_text("name,reason\n" + "".join(f"v{n},She cries; she is sad.\n" for n in range(60)))
    sets.write_text("name,openset\n" + "".join(f'v{n},"[sad, tired]"\n' for n in range(60)))
    for number in range(60):
        (videos / f"v{number}.mp4").write_bytes(b"")
    label = load_prompt("qwen-omni-description").text
    for path, expected in ((described, 60), (sets, 0)):
        settings = Finetune(
            family="qwen-omni", model="m", data=str(path), videos=str(videos), label_question=1.0
        )
        found = listing.list_samples(Storage(str(tmp_path / "out")), settings)[0]
        assert sum(one.entry.turns[0].content == label for one in found) == expected
