"""Where the nine data sets of MER-UniBench are: folders as the benchmark ships them, or NAME=PATH."""

import re
from collections.abc import Sequence
from pathlib import Path

from emo.errors import InputError
from emo.evaluation.unibench import DATA_SETS

_ALIASES = {
    "iemocapfour": "iemocap",
    "mosi": "cmu-mosi",
    "mosei": "cmu-mosei",
    "sims": "ch-sims",
    "simsv2": "ch-sims-v2",
}
# As in the folders that the benchmark's authors hand out.
_LABEL_FILES = {
    "mer2023": "label-6way.npz",
    "mer2024": "label-6way.npz",
    "iemocap": "label_4way.npz",
    "ov-merd+": "ovlabel.csv",
}
_SUFFIXES = (".npz", ".csv", ".jsonl", ".parquet")


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


_NAMES = {_squeezed(name): name for name in DATA_SETS} | _ALIASES


def data_set_of(name: str) -> str | None:
    """The data set that a file or folder is named after: `cmumosi-process`, `results-MER2023`, `sims.npz`."""
    stem = name
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    stem = stem.removeprefix("results-").removesuffix("-process").removesuffix("-dataset")
    return _NAMES.get(_squeezed(stem))


def data_set_paths(given: Sequence[str], side: str) -> dict[str, str]:
    """Data set -> path, from one folder or from NAME=PATH pairs; side: `gold` or `predicted`.

    Raises InputError for a name that is no data set, one that is given twice, a folder without any, and a
    folder of a data set in which several files could be meant.
    """
    found: dict[str, str] = {}
    for entry in given:
        name, pair, path = entry.partition("=")
        if pair and not Path(entry).exists():
            data_set = _NAMES.get(_squeezed(name))
            if data_set is None:
                raise InputError(f"--{side} {entry}: no data set {name!r}; expected {', '.join(DATA_SETS)}")
            places = {data_set: path}
        elif len(given) > 1:
            raise InputError(f"--{side} {entry}: expected one folder, or NAME=PATH for each data set")
        else:
            places = _in_folder(Path(entry), side)
        for data_set, place in places.items():
            if data_set in found:
                raise InputError(f"--{side}: {data_set} is given twice, as {found[data_set]} and as {place}")
            found[data_set] = place
    return found


def _in_folder(folder: Path, side: str) -> dict[str, str]:
    if not folder.is_dir():
        raise InputError(f"--{side} {folder}: is not a folder; expected one, or NAME=PATH for each data set")
    found: dict[str, str] = {}
    for entry in sorted(folder.iterdir()):
        data_set = data_set_of(entry.name)
        if data_set is None or not (entry.is_dir() or entry.suffix in _SUFFIXES):
            continue
        if data_set in found:
            raise InputError(f"--{side} {folder}: both {found[data_set]} and {entry} are named {data_set}")
        found[data_set] = str(_file_of(entry, data_set, side))
    if not found:
        raise InputError(
            f"--{side} {folder}: nothing in it is named after a data set; expected {', '.join(DATA_SETS)}"
        )
    return found


def _file_of(entry: Path, data_set: str, side: str) -> Path:
    if not entry.is_dir():
        return entry
    if side == "gold":
        official = entry / _LABEL_FILES.get(data_set, "label.npz")
        if official.is_file():
            return official
        files = sorted(path for path in entry.iterdir() if path.suffix in _SUFFIXES)
    else:
        if any((entry / table).is_dir() for table in ("judgments", "votes")):
            return entry  # an OUT
        files = sorted(path for path in entry.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
        if files and all(path.suffix == ".parquet" for path in files):
            return entry  # a table in several files
    if len(files) == 1:
        return files[0]
    if not files:
        raise InputError(f"--{side} {entry}: has no file of {data_set}; expected {', '.join(_SUFFIXES)}")
    why = "say which is meant" if side == "gold" else "the checkpoint must not be chosen on the test set"
    raise InputError(
        f"--{side} {entry}: has {len(files)} files, such as {files[0].name} and {files[1].name}; "
        f"{why}: give {data_set}=PATH"
    )
