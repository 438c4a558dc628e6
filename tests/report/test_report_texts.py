"""The texts that a report counts are those of the newest descriptions, however they lie in files."""

import pyarrow as pa
import pytest

from emo.report import write
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS


def describe(storage: Storage, expert: str, name: str, run_id: str, texts: dict[str, str]) -> None:
    columns = {
        "video_id": list(texts),
        "expert": [expert] * len(texts),
        "sample": [0] * len(texts),
        "text": list(texts.values()),
    }
    rows = DESCRIPTIONS.rows(columns, run_id, [None] * len(texts))
    committed.commit(storage, committed.folder(DESCRIPTIONS, expert), DESCRIPTIONS, name, rows)


@pytest.fixture
def storage(tmp_path) -> Storage:
    storage = Storage(str(tmp_path))
    describe(storage, "face", "1-a", "1", {"a": "face of a", "b": "face of b"})
    describe(storage, "face", "1-b", "1", {"c": "face of c"})
    describe(storage, "voice", "1-a", "1", {"a": "voice of a", "b": "voice of b"})
    # A later run on one of them.
    describe(storage, "voice", "2-a", "2", {"b": "voice of b, again"})
    return storage


@pytest.mark.parametrize("together", [1, 3, 20_000])
def test_each_newest_text_comes_once(storage, together, monkeypatch) -> None:
    monkeypatch.setattr(write, "TEXT_ROWS", together)
    pieces = list(write.described(storage))
    found = pa.concat_tables(pieces)
    assert sorted(found.column("text").to_pylist()) == [
        *("face of a", "face of b", "face of c", "voice of a", "voice of b, again"),
    ]
    assert len(pieces) == {1: 4, 3: 2, 20_000: 1}[together]


def test_where_nothing_was_described_there_are_no_texts(tmp_path) -> None:
    assert list(write.described(Storage(str(tmp_path)))) == []
