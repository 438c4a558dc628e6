"""An export gives every clip a folder of its own, whatever its id."""

import re

from hypothesis import given
from hypothesis import strategies as st

from emo.captions.export import folder_of

ODD = [
    "..",
    "a/../b",
    "a//b",
    "/a",
    "a/",
    "a\0b",
    "x" * 300,
    "中" * 100,
    ".",
    "a:b",
    "",
    "a\n",
    "a" + "/b" * 800,
]


def test_a_plain_id_is_its_own_folder():
    for name in ("a", "a/b", "video_0001/0001", "Szene 3 (neu)/Ü", "a..b/.c"):
        assert folder_of(name) == name


def test_an_id_that_is_no_path_has_a_folder_that_is_one():
    for name in ODD:
        assert re.fullmatch(r"[\w.-]{0,60}~[0-9a-f]{32}", folder_of(name)), name
    assert folder_of("a//b") != folder_of("a/b")


@given(st.lists(st.text(alphabet="a./\0~0b:", max_size=8), unique=True))
def test_no_two_ids_share_a_folder(names):
    names = [*names, *(folder_of(name) for name in names)]
    assert len({folder_of(name) for name in names}) == len(set(names))
