"""The first rows of each group, however the rows come in pieces."""

from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.report import pieces
from emo.report.pieces import First

rows = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.sampled_from("xyz")), max_size=60)
COLUMNS = {"of": pa.string(), "hash": pa.uint64(), "video_id": pa.string()}


@pytest.mark.parametrize("group", [[], ["of"], ["of", "video_id"]])
@given(rows, st.integers(1, 4), st.integers(1, 9))
def test_the_first_rows_of_each_group_stay_whatever_the_pieces(group, all_rows, count, cut):
    order = [name for name in ("hash", "video_id") if name not in group]
    first = First(COLUMNS, group, order, count)
    with patch.object(pieces, "ROWS_AT_ONCE", 5):
        for start in range(0, len(all_rows), cut):
            part = [dict(zip(COLUMNS, row, strict=True)) for row in all_rows[start : start + cut]]
            first.add(pa.Table.from_pylist(part, pa.schema(COLUMNS)))
        found = first.table().select([*group, *order]).to_pylist()
    kept = {}
    for row in all_rows:
        named = dict(zip(COLUMNS, row, strict=True))
        kept.setdefault(tuple(named[name] for name in group), set()).add(tuple(named[name] for name in order))
    expected = [(*of, *row) for of in sorted(kept) for row in sorted(kept[of])[:count]]
    assert [tuple(row.values()) for row in found] == expected
