"""Paths as text: taken apart in one way, and brought to the disk whatever their bytes and the locale are.

Inside emo a path is text that any table can hold. A file name that is not UTF-8 has its odd bytes written
out, such as `\\xc4`; `on_disk` finds the file again.
"""

import os
import re

from emo.errors import InputError

S3_PREFIX = "s3://"
# What `readable` makes of a byte that is no UTF-8. Such a byte is never below 0x80.
_ODD_BYTE = re.compile(r"\\x[89a-f][0-9a-f]")


def is_s3(path: str) -> bool:
    """Whether a path names S3 rather than a local disk."""
    return path.startswith(S3_PREFIX)


def split(path: str) -> tuple[str, str]:
    """The folder and the name of a file.

    A local file has the folder `/` where it stands at the root, and `.` where no folder is named. The slashes
    of an S3 key stay: `s3://bucket//x` is the object `x` below an empty name. Raises InputError where an
    s3:// address names no object.
    """
    folder, slash, name = path.rpartition("/")
    if is_s3(path):
        if not folder.removeprefix(S3_PREFIX):
            raise InputError(f"{path!r} names no object; expected s3://BUCKET/KEY")
        return folder, name
    return folder or ("/" if slash else "."), name


def join(folder: str, path: str) -> str:
    """A path below a local folder, which may be `/`."""
    return f"{folder.rstrip('/')}/{path}"


def readable(name: str) -> str:
    """A name as the system gave it, as text: bytes that are no UTF-8 are written out."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def has_odd_bytes(path: str) -> bool:
    """Whether a text may stand for a name that is not UTF-8."""
    return _ODD_BYTE.search(path) is not None


def on_disk(path: str) -> str:
    """The path of a text as system calls take it, also where the locale is not UTF-8.

    A file whose very name is the text comes before one whose odd bytes are written so.
    """
    whole = os.fsdecode(_bytes(path))
    if not has_odd_bytes(path) or os.path.lexists(whole):
        return whole
    found = ""
    for number, part in enumerate(path.split("/")):
        before = f"{found}/" if number else ""
        literal = before + os.fsdecode(_bytes(part))
        odd = before + os.fsdecode(_with_odd_bytes(part))
        found = odd if os.path.lexists(odd) and not os.path.lexists(literal) else literal
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _with_odd_bytes(text: str) -> bytes:
    pieces = re.split(f"({_ODD_BYTE.pattern})", text)
    return b"".join(
        bytes([int(piece[2:], 16)]) if _ODD_BYTE.fullmatch(piece) else _bytes(piece) for piece in pieces
    )
