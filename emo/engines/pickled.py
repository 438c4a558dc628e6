"""Weights in a `.pth` of torch: found, and read without running anything that the file may hold."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emo.errors import InputError


def pth_file(where: str, key: str = "checkpoint", expected: str = "a .pth") -> Path:
    """A `.pth`, or the only one in a folder, local or `s3://`.

    key: of the configuration, expected: what it should name, both for a person. Raises InputError where there
    is none or there are several.
    """
    from emo.engines.models import resolve_model

    path = Path(where).expanduser()
    if path.is_file():
        return path
    if where.startswith("s3://") and where.endswith(".pth"):
        raise InputError(f"{key} {where!r}: of S3 a folder is fetched; put the file into one of its own")
    if not path.is_dir() and not where.startswith("s3://"):
        raise InputError(f"{key} {where!r}: no such file; expected {expected} or a folder with it")
    folder = resolve_model(where)
    files = sorted(folder.rglob("*.pth"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{key} {where!r}: expected one .pth in this folder, found {names}; name the file")
    return files[0]


def read_pth(path: Path) -> Any:
    """What a file holds; raises InputError where it cannot be read.

    Only tensors and plain containers are unpickled; a file that asks for anything else is refused.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than weights and is not loaded ({_first_line(error)})"
        ) from None
    except (OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({_first_line(error)})") from None


def weights_in(content: Any, path: Path, what: str) -> Mapping[str, Any]:
    """The entry `model` of a file; raises InputError where it has none, what: whose file it should be."""
    import torch

    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            f"{path}: not {what} checkpoint: expected a dictionary with the weights under 'model'"
        )
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
