"""Lines of chats that differ in their answer alone are listed together, as each would be alone."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.captions.chat_files import read_lines
from emo.errors import InputError
from emo.finetuning import lines, listing
from emo.finetuning.lines import tables_of_lines
from emo.finetuning.listed import SCHEMA, tables_of
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

ANSWERS = st.one_of(
    st.sampled_from(
        ["She smiles.", "", " ", " é ", 'a "b"\n\\', "a <image>", "<", "\x7f", "\x1c", "她笑了。", "a\\"]
    ),
    st.text(max_size=5),
)
MEDIA = st.sampled_from(
    [
        {},
        {"images": ["a/1.jpg"]},
        {"images": ["a/1.jpg", "a/2.jpg"]},
        {"videos": ["a.mp4"]},
        {"videos": [["a/1.jpg", "a/2.jpg"]], "frame_times": [[0, 1.5]]},
        {"videos": [["a/1.jpg", "a/2.jpg"]], "frame_times": [[1, 0]]},
        {"audios": ["a.wav"], "more": 3},
        {"videos": ["b.mp4"], "messages": []},
        {"image": "é.jpg"},
    ]
)


def line(question, answer, media, escapes, more, behind):
    turns = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer, **more[0]},
        *more[1],
    ]
    return json.dumps({"messages": turns, **media}, ensure_ascii=escapes).encode() + behind


LINES = st.builds(
    line,
    st.sampled_from(
        ["<image>?", "<image><image>?", "<video> What?", "<video><audio>?", "<audio>", "?", " é"]
    ),
    ANSWERS,
    MEDIA,
    st.booleans(),
    st.sampled_from(
        [
            ({}, []),
            ({}, []),
            ({}, []),
            ({"loss": False}, []),
            ({}, [{"role": "user", "content": "x"}]),
            ({}, [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]),
        ]
    ),
    st.sampled_from([b"", b"", b"", b" ", b"\r", b"x", b"}", b"\xff"]),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(LINES, min_size=1, max_size=12),
    st.sampled_from([{}, {"system": "Be exact."}, {"family": "qwen-audio"}, {"other_senses": True}]),
    st.sampled_from([0.0, 0.5]),
    st.integers(1, 5),
)
def test_lines_that_are_listed_together_are_what_each_is_alone(found, changes, share, size):
    data = b"\n".join(found)
    asked = Finetune(**{"model": "m", "device": "cpu", **changes})

    def file():
        return listing._File("f.jsonl", "/here", "abc", "train", share, asked)

    one_by_one, together = file(), file()
    alone = tables_of(
        one_by_one.line(number, at, text)
        for number, (at, text) in enumerate(read_lines(data, "f.jsonl"), start=1)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_LINES", size)
        patch.setattr(lines, "_WORTH", 1)
        made = tables_of_lines(read_lines(data, "f.jsonl"), "f.jsonl", "abc", together.line, together.alike)
        tables = [*made]
    empty = SCHEMA.empty_table()
    assert pa.concat_tables([empty, *tables]).to_pylist() == pa.concat_tables([empty, *alone]).to_pylist()
    assert together.unused == one_by_one.unused


def test_of_lines_of_one_clip_one_is_looked_at(tmp_path, monkeypatch):
    """A million lines that are each looked at take minutes."""
    texts = [
        line("<video>?", f"Answer {n} – «so».", {"videos": [f"{n // 50}.mp4"]}, n % 2 == 0, ({}, []), b"")
        for n in range(200)
    ]
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"\n".join(texts))
    looked_at = []
    read = listing.read_line
    monkeypatch.setattr(listing, "read_line", lambda *given: looked_at.append(given) or read(*given))
    asked = Finetune(model="m", device="cpu", data=str(file))
    found, _ = listing.list_samples(Storage(str(tmp_path / "out")), asked)
    assert len(found) == 200
    # The last line of a file has no end of line, and is another one for that.
    assert len(looked_at) == 5
    assert [one.entry.turns[1].content for one in found] == [f"Answer {n} – «so»." for n in range(200)]


def test_a_file_without_a_line_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"\n \n")
    asked = Finetune(model="m", device="cpu", data=str(tmp_path / "empty.jsonl"))
    with pytest.raises(InputError, match="is empty; expected one JSON object"):
        listing.list_samples(Storage(str(tmp_path / "out")), asked)
