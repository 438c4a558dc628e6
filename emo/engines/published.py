"""Weights that were published in a layout of their own, beside those of a model of transformers.

Every key of the files has its place, in its shape, or is named: a weight that nobody reads is a part of the
model that does not run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emo.engines.models import weight_files
from emo.errors import InputError

_SHOWN = 12  # keys of one kind in an error

Shape = tuple[int, ...]


def shapes_of(module: nn.Module, prefix: str = "") -> dict[str, Shape]:
    """Of each weight that a module keeps its key in the files, and its shape."""
    return {prefix + name: tuple(value.shape) for name, value in module.state_dict().items()}


def check(
    folder: Path,
    expected: Mapping[str, Shape],
    *,
    absent: Iterable[str] = (),
    unread: str = r"(?!)",
    ignore_unknown: bool = False,
) -> tuple[str, ...]:
    """Compare the keys and shapes in a checkpoint's safetensors with what its parts need; reads no weights.

    absent: expected keys that may be missing; unread: a pattern of keys that are known and not used. Returns
    the keys that are not understood, where these are allowed. Raises InputError that names every key that is
    missing, of another shape, or not understood.
    """
    given = _given(folder)
    optional = set(absent)
    missing = sorted(name for name in expected if name not in given and name not in optional)
    misfits = [
        f"{name} is {list(given[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in given and given[name] != shape
    ]
    unknown = sorted(name for name in given if name not in expected and not re.match(unread, name))
    problems = [
        f"{len(keys)} keys {what}: {', '.join(keys[:_SHOWN])}{' ...' if len(keys) > _SHOWN else ''}"
        for keys, what in (
            (missing, "are missing"),
            (misfits, "have another shape"),
            ([] if ignore_unknown else unknown, "are not understood (allow with ignore_unknown_keys)"),
        )
        if keys
    ]
    if problems:
        raise InputError(f"{folder}: {'; '.join(problems)}")
    return tuple(unknown)


def read(folder: Path, prefix: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights below a prefix, without it, on the CPU."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                if name.startswith(prefix):
                    found[name.removeprefix(prefix)] = file.get_tensor(name).to(dtype)
    return found


@contextmanager
def without_reports() -> Iterator[None]:
    """Keeps transformers from listing keys that it does not load: `check` has told what is to be told."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def load_tower(cls: Any, config: Any, folder: Path, prefix: str, dtype: torch.dtype) -> Any:
    """A model of transformers from the weights below a prefix; what it has no place for is left out.

    Raises InputError where a weight is missing.
    """
    with without_reports():
        model, info = cls.from_pretrained(
            None,
            config=config,
            state_dict=read(folder, prefix, dtype),
            dtype=dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    if info["missing_keys"]:
        raise InputError(f"{folder}: weights are missing below {prefix}: {sorted(info['missing_keys'])}")
    return model.eval()


def load_layers(module: nn.Module, folder: Path, prefix: str, dtype: torch.dtype) -> Any:
    """The module, made without weights, with those below a prefix; what it has no place for is left out."""
    given, own = read(folder, prefix, dtype), module.state_dict()
    module.load_state_dict({name: value for name, value in given.items() if name in own}, assign=True)
    return module.eval()


def _given(folder: Path) -> dict[str, Shape]:
    from safetensors import SafetensorError, safe_open

    found: dict[str, Shape] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (no mapping)
                    found[name] = tuple(file.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    return found
