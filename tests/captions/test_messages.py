"""Messages JSONL and published caption files: what is read is what was written, and bad lines are named."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import REPOSITORY
from emo.captions.messages import Sample, Turn, chat, read_messages, tagged, turns_of, write_messages
from emo.captions.published import Published, read_published, to_sample
from emo.errors import InputError, RowError

plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() and not any(tag in text for tag in ("<image>", "<video>", "<audio>"))
)
paths = st.lists(st.from_regex(r"/[a-z]{1,8}\.(jpg|mp4|flac)", fullmatch=True), max_size=3)


@st.composite
def samples(draw):
    images, videos, audios = draw(paths), draw(paths), draw(paths)
    asked = tagged(draw(plain), len(images), len(audios), len(videos))
    turns = [Turn("user", asked), Turn("assistant", draw(plain), draw(st.sampled_from([None, True])))]
    if draw(st.booleans()):
        turns.insert(0, Turn("system", draw(plain)))
    if draw(st.booleans()):
        turns += [Turn("user", draw(plain)), Turn("assistant", draw(plain), False)]
    return Sample(tuple(turns), tuple(images), tuple(videos), tuple(audios))


@given(st.lists(samples(), min_size=1, max_size=5))
def test_what_is_written_is_read_back(written):
    found = [*read_messages(write_messages(written), "train.jsonl")]
    assert [(one.turns, one.images, one.videos, one.audios) for one in found] == [
        (one.turns, one.images, one.videos, one.audios) for one in written
    ]
    assert [one.where for one in found] == [f"train.jsonl line {n + 1}" for n in range(len(written))]


@given(plain, plain, st.integers(0, 9), st.booleans())
def test_a_chat_has_one_tag_per_medium_and_keeps_question_and_answer(question, answer, images, audio):
    asked, answered = turns_of(chat(question, answer, images, audio))
    assert asked.content.count("<image>") == images
    assert asked.content.count("<audio>") == audio
    assert asked.content.endswith(question)
    assert (answered.role, answered.content) == ("assistant", answer)


def line(content="<image>Look.", answer="She smiles.", **keys):
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns, "images": ["a.jpg"], **keys})


@pytest.mark.parametrize(
    ("bad", "code", "says"),
    [
        (line(images=[]), "media_mismatch", "1 <image> in the text and 0 images"),
        (line(images=["a.jpg", "b.jpg"]), "media_mismatch", "1 <image> in the text and 2 images"),
        (line("<video><image>Look."), "media_mismatch", "1 <video> in the text and 0 videos"),
        (line(audios=["a.wav"]), "media_mismatch", "0 <audio> in the text and 1 audios"),
        (line(answer=" "), "untrained", "no turn of the assistant"),
        (line(images=[7]), "bad_messages", "images holds 7"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "bad_messages", "unknown role 'tool'"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', "bad_messages", "expected text with tags"),
        ('{"messages": {}}', "bad_messages", "not a list"),
        ('{"messages": []}', "bad_messages", "empty"),
        ('{"text": "x"}', "bad_messages", "expected one of the forms: messages"),
        ("{", "not_json", "not JSON"),
        ("[" * 100_000, "not_json", "recursion"),
        (line(answer="half \ud800 a sign"), "bad_messages", r"\ud800 at character 5 is half a character"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_the_others_stay(bad, code, says):
    text = f"{line()}\n\n{bad}\n{line()}\n"
    first, error, last = read_messages(text.encode(), "train.jsonl")
    assert isinstance(first, Sample)
    assert isinstance(last, Sample)
    assert isinstance(error, RowError)
    assert error.code == code
    assert error.message.startswith("train.jsonl line 3: ")
    assert says in error.message


def test_bytes_that_are_no_utf8_are_one_bad_line():
    error, good = read_messages(b'{"messages": "\xff"}\n' + line().encode(), "train.jsonl")
    assert error.code == "not_json"
    assert isinstance(good, Sample)


def test_an_empty_file_is_refused():
    with pytest.raises(InputError, match=r"train\.jsonl is empty"):
        list(read_messages(b"\n \n", "train.jsonl"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("images/a.jpg", "s3://bucket/set/images/a.jpg"),
        ("./a.jpg", "s3://bucket/set/a.jpg"),
        ("/data/a.jpg", "/data/a.jpg"),
    ],
)
def test_relative_media_lie_beside_the_file(path, expected):
    [sample] = read_messages(line(images=[path]).encode(), "train.jsonl", folder="s3://bucket/set")
    assert sample.images == (expected,)


@pytest.mark.parametrize("media", ["a.jpg", {"path": "a.jpg"}, [{"path": "a.jpg"}]])
def test_one_medium_may_stand_without_a_list(media):
    [sample] = read_messages(line(images=media).encode(), "x")
    assert sample.images == ("a.jpg",)


def test_a_text_that_holds_a_tag_is_no_caption():
    with pytest.raises(RowError, match="<image>"):
        chat("Look.", "The <image> shows a woman.", 1)
    with pytest.raises(RowError, match="no text"):
        chat("Look.", " \n", 1)


def test_a_system_turn_comes_first_or_not_at_all():
    with pytest.raises(RowError, match="only the first"):
        Sample((Turn("user", "x"), Turn("system", "y"), Turn("assistant", "z")))


def test_label_sets_become_the_sentence_that_affectgpt_is_trained_on():
    data = b'name,openset\nclip_1,"[happy, let down]"\nclip_2,"[\'Sad\']"\n'
    happy, sad = read_published(data, "plus.csv")
    assert happy == Published(
        "clip_1", "The character's emotional state is happy, let down.", ("happy", "let down"), None,
        "plus.csv line 2", described=False,
    )  # fmt: skip
    assert sad.labels == ("sad",)


def test_an_empty_label_set_is_a_bad_row_and_not_neutral():
    empty, nothing, nameless = read_published(b"name,openset\na,[]\nb,\n,[sad]\n", "plus.csv")
    assert (empty.code, nothing.code, nameless.code) == ("empty", "empty", "no_name")
    assert empty.message == (
        "plus.csv line 2: the label set is empty; expected labels in openset, such as [happy]"
    )


def test_emer_rows_keep_their_line_also_after_line_breaks_in_a_description():
    text = (
        'names,emotions,subtitles,reasons\nA,"[\'angry\']",Hi,"One.\nTwo."\nB,"[\'sad\']",,\nC,,Yes,Three.\n'
    )
    first, error, last = read_published(text.encode("utf-8-sig"), "gt-eng.csv")
    assert (first.text, first.labels, first.subtitle) == ("One.\nTwo.", ("angry",), "Hi")
    assert (error.code, error.message) == (
        "empty",
        "gt-eng.csv line 4: the description is empty; expected a text in reasons",
    )
    assert (last.text, last.labels, last.where) == ("Three.", (), "gt-eng.csv line 5")


def test_the_same_captions_may_be_json_as_a_list_or_by_name():
    angry = {"emotions": ["angry", "let down"], "subtitles": "Hi", "reasons": "She frowns."}
    expected = ("A", "She frowns.", ("angry", "let down"), "Hi")
    [of_list] = read_published(json.dumps([{"names": "A", **angry}]).encode(), "gt.json")
    [by_name] = read_published(json.dumps({"A": angry}).encode(), "gt.json")
    for found in (of_list, by_name):
        assert (found.video_id, found.text, found.labels, found.subtitle) == expected
    [plus] = read_published('[{"name": "B", "openset": "[\'sad\']"}]'.encode("utf-8-sig"), "plus.json")
    assert plus.text == "The character's emotional state is sad."


def test_bad_json_rows_are_told_by_the_line_on_which_they_begin():
    lines = [
        "[",
        '{"name": "A", "reason": "One."},',
        '{"name": "B",',
        ' "reason": 7},',
        '"C",',
        '{"name": "D", "reason": "Two."}',
        "]",
    ]
    first, number, text, last = read_published("\n".join(lines).encode(), "r.json")
    assert (first.video_id, last.video_id, last.where) == ("A", "D", "r.json line 6")
    assert number.message == "r.json line 3: reason is 7, expected a text or a list of texts"
    assert text.message == 'r.json line 5: "C", expected an object'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"name": "A"}', r"x\.json is not JSON: line 1: expected , or \]"),
        ('[{"name": "A"}] more', "line 1: something follows the end"),
        ("names", r"line 1: expected \[ or \{"),
        ("", "line 1: expected"),
        ('[{"name": "A"},\n{"b" 1}]', "line 2: "),
        ("[]", "has the columns none"),
        ('[{"name": "A"},\n{"name": ' + "[" * 100_000, "line 2: what begins here is nested too deeply"),
        ('{"name": "A", "reason": "B",\n"x": {"y": ' + "[" * 100_000, "line 2: .*nested too deeply"),
        ('{"names": "A", "reasons": "B"}', "has the columns none"),
    ],
)
def test_json_that_cannot_be_read_names_its_line(text, says):
    with pytest.raises(InputError, match=says):
        read_published(text.encode(), "x.json")


def test_half_a_character_in_json_is_a_bad_row_with_its_line():
    rows = [{"name": "A", "openset": ["\ud800sad"]}, {"name": "\udc00", "openset": "[sad]"}]
    good = {"name": "\U0001f600", "openset": "[sad]"}
    text = ",\n".join(json.dumps(row) for row in [*rows, good])
    label, name, whole = read_published(f"[{text}]".encode(), "plus.json")
    assert (label.code, name.code) == ("bad_row", "bad_row")
    assert label.message == r"plus.json line 1: openset: \ud800 at character 2 is half a character"
    assert name.message.startswith("plus.json line 2: name: ")
    assert whole.video_id == "\U0001f600"


def test_a_row_whose_cells_are_shifted_is_refused_and_not_cut():
    shifted, short, good = read_published(b"name,openset\na,[happy, sad]\nb\nc,[calm]\n", "plus.csv")
    assert (shifted.code, short.code, good.labels) == ("bad_row", "bad_row", ("calm",))
    assert "plus.csv line 2: 3 cells, expected 2 (name, openset)" in shifted.message
    assert "plus.csv line 3: 1 cells, expected 2" in short.message


def test_a_label_set_that_is_a_sentence_is_refused_with_what_was_expected():
    [error] = read_published(b'name,openset\na,"The man, he is sad"\n', "plus.csv")
    assert error.code == "unparsable"
    assert error.message.endswith("expected labels in openset, such as [happy, calm]")


def test_a_file_of_another_kind_is_refused_with_what_it_has():
    with pytest.raises(InputError, match=r"has the columns id, text; expected one of: .*name, openset"):
        read_published(b"id,text\n1,x\n", "other.csv")


def test_a_published_caption_becomes_a_sample_about_its_media():
    caption = Published("a", "She laughs.", ("happy",), None, "x line 2")
    sample = to_sample(caption, "What does she feel?", videos=("/v/a.mp4",), audios=("/v/a.wav",))
    [back] = read_messages(write_messages([sample]), "x")
    assert back.turns[0].content == "<video><audio>\nWhat does she feel?"
    assert (back.videos, back.audios) == (("/v/a.mp4",), ("/v/a.wav",))


def test_the_published_descriptions_of_ovmerd_are_read(tmp_path):
    folder = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "ovmerd" / "reasons.parquet").exists():
        pytest.skip(f"the test data is not at {folder}")
    import pyarrow.csv
    import pyarrow.parquet as pq

    reasons = pq.read_table(folder / "ovmerd" / "reasons.parquet").rename_columns(
        ["name", "english", "chinese"]
    )
    pyarrow.csv.write_csv(reasons, tmp_path / "final-EMER-reason.csv")
    found = read_published((tmp_path / "final-EMER-reason.csv").read_bytes(), "final-EMER-reason.csv")
    assert [one.text for one in found] == [text.strip() for text in reasons.column("english").to_pylist()]
