"""Archives of others are read as data; what a crafted one does to its reader is one short line."""

import io
import pickle
import time
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from emo.errors import InputError
from emo.evaluation.arrays import read_arrays


def archive(path, content, shape="()", kind="|O"):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", data)
    return path


def test_objects_strings_and_numbers_are_read(tmp_path):
    table = {"s1": {"emo": "happy", "val": np.float64(0.5)}}
    words = np.array(["a", "bb"], dtype=object)
    np.savez(
        tmp_path / "a.npz", table=table, words=words, numbers=np.arange(6).reshape(2, 3), text=np.array(["x"])
    )
    found = read_arrays(tmp_path / "a.npz")
    assert found["table"].item() == table
    assert (found["words"].tolist(), found["numbers"].shape, found["text"].tolist()) == (
        ["a", "bb"],
        (2, 3),
        ["x"],
    )


_HUGE = b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85C\x01b\x87R."
_SHARED = b"\x80\x02]" + b"".join(b"q%c]h%ch%c\x86" % (n, n, n) for n in range(60)) + b"."


@pytest.mark.parametrize(
    ("content", "shape", "kind"),
    [
        (_HUGE, "()", "|O"),
        (_SHARED, "()", "|O"),
        (b"\x80\x02]r\xff\xff\xff\xff.", "()", "|O"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "()", "|O"),
        (b"\x80\x02cos\nsystem\n.", "()", "|O"),
        (b"\x80\x02}.", "()", "|O"),
        (b"\x80\x02h\x07.", "()", "|O"),
        (b"", "()", "|O"),
        (b"12345678", "(1000000000000,)", "<f8"),
        (b"(" * 100_000, "()", "|O"),
        (pickle.dumps(np.array(["x"], dtype=object), 2), "(5,)", "|O"),
    ],
)
def test_a_crafted_archive_is_one_line_in_no_time(tmp_path, content, shape, kind):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"a\.npz: cannot be read as a NumPy archive: .+") as error:
        read_arrays(archive(tmp_path / "a.npz", content, shape, kind))
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 5


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a.npy", "w") as member,
    ):
        for _ in range(1100):
            member.write(b"\0" * 2**20)
    with pytest.raises(InputError, match="holds more than 1 GiB"):
        read_arrays(tmp_path / "a.npz")


def test_mutated_archives_are_read_or_refused(tmp_path):
    sink = io.BytesIO()
    np.savez(sink, table={"s1": {"emo": "happy"}}, words=np.array(["a", "b"], dtype=object))
    whole = sink.getvalue()
    for place in range(0, len(whole), 3):
        (tmp_path / "m.npz").write_bytes(bytes([*whole[:place], whole[place] ^ 0x55, *whole[place + 1 :]]))
        with suppress(InputError):
            read_arrays(tmp_path / "m.npz")
