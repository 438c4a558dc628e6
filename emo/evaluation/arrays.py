"""NumPy archives of other people, read without running what is in them.

The benchmark keeps its labels and predictions as pickled objects inside `.npz`. A pickle can run any code;
here only containers, numbers, strings and arrays of them are unpickled, and anything else is refused.
"""

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from emo.errors import InputError

_ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"), ("collections", "OrderedDict")}


# Of all arrays of a file together, and of one element's type: label files hold some megabytes.
_MOST_BYTES = 1024**3
_MOST_ELEMENT = 2**20


class _DataOnly(pickle._Unpickler):
    """The unpickler written in Python: the other one makes room for whatever number a file names."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not data")
        found = super().find_class(module, name)
        return _reconstruct if name == "_reconstruct" else found

    def load_build(self) -> None:
        """As of the parent, for arrays and their types alone, and none larger than what the file holds."""
        state, made = self.stack[-1], self.stack[-2]
        if isinstance(made, np.ndarray):
            shape, kind, content = state[-4], state[-3], state[-1]
            elements = math.prod(shape)
            held = len(content) if kind.hasobject else len(content) // max(kind.itemsize, 1)
            if elements != held or min(shape, default=0) < 0:
                raise pickle.UnpicklingError(f"an array of {elements} elements has {held}")
        elif not isinstance(made, np.dtype) or not all(_is_small(part) for part in state):
            raise pickle.UnpicklingError(f"it changes a {type(made).__name__}")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build


def _is_small(part: Any) -> bool:
    return not isinstance(part, int) or abs(part) <= _MOST_ELEMENT


def _reconstruct(kind: type, shape: tuple[int, ...], code: Any) -> np.ndarray:
    """As NumPy's, which is always asked for an empty array that is filled afterwards."""
    if kind is not np.ndarray or math.prod(shape) != 0:
        raise pickle.UnpicklingError("an array is not made as NumPy makes it")
    return np.ndarray((0,), dtype="b")


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name; raises InputError where it is none or holds more than data."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            if sum(member.file_size for member in members) > _MOST_BYTES:
                raise InputError(f"{path}: holds more than {_MOST_BYTES / 1024**3:g} GiB of arrays")
            return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    except InputError:
        raise
    except Exception as error:
        # A pickle can make its reader raise anything.
        reason = (str(error).splitlines() or [""])[0][:300] or type(error).__name__
        raise InputError(f"{path}: cannot be read as a NumPy archive: {reason}") from error


def _array(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = header(file)
    if not kind.hasobject:
        if math.prod(shape) * kind.itemsize > len(content):
            raise ValueError(f"an array of {math.prod(shape)} elements is longer than its file")
        return np.load(io.BytesIO(content), allow_pickle=False)
    values = _DataOnly(file).load()
    if not isinstance(values, np.ndarray):
        raise ValueError(f"it holds a {type(values).__name__}, expected an array")
    return values.astype(object).reshape(shape)
