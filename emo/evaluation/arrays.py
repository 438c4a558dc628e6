"""NumPy archives of other people, read without running what is in them.

The benchmark keeps its labels and predictions as pickled objects inside `.npz`. A pickle can run any code;
here only containers, numbers, strings and arrays of them are unpickled, and anything else is refused.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

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


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not data")
        return super().find_class(module, name)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name; raises InputError where it is none or holds more than data."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _array(archive.read(name))
                for name in archive.namelist()
                if name.endswith(".npy")
            }
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        pickle.UnpicklingError,
        AttributeError,
    ) as error:
        raise InputError(f"{path}: cannot be read as a NumPy archive: {error}") from error


def _array(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = header(file)
    if not kind.hasobject:
        return np.load(io.BytesIO(content), allow_pickle=False)
    values = np.asarray(_DataOnly(file).load(), dtype=object)
    return values.reshape(shape)
