"""What a detector of action units says about a clip, and the reader of OpenFace's tables.

OpenFace 2.2 (Baltrusaitis et al. 2018) writes one CSV per video: a row per frame with `timestamp`,
`confidence`, `success`, and for each action unit `AU06_r` (intensity, 0 to 5) and `AU06_c` (0 or 1). Some of
its versions write a blank before each name.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emo.errors import RowError

_UNIT = re.compile(r"AU(\d\d)_([rc])")
TOP = 5.0  # the strongest that OpenFace tells of
LEAST_CONFIDENCE = 0.8  # below it OpenFace's own landmarks do not lie on the face


@dataclass(frozen=True)
class UnitTable:
    """Action units over the frames in which a face was found, in time order.

    times: float64 [frames], seconds from the start of the video; frames: int64 [frames], their numbers there;
    intensity: float64 [frames] by the number of the unit, from 0 to TOP; present: bool [frames] by the
    number of the unit; a unit may be in one of the two alone. total: frames of the video, with those that
    have no face.
    """

    times: np.ndarray
    frames: np.ndarray
    intensity: Mapping[int, np.ndarray]
    present: Mapping[int, np.ndarray]
    total: int

    def __len__(self) -> int:
        return len(self.times)


def read_openface(data: bytes, least_confidence: float = LEAST_CONFIDENCE) -> UnitTable:
    """The table in the bytes of an OpenFace CSV; of several faces the one that is found in the most frames.

    Frames without success or below `least_confidence` are left out. Raises RowError `bad_units` where the
    bytes are no such table: another header, no action unit, a cell that is no number or lies outside its
    range, frames out of order.
    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad(f"it is not CSV in UTF-8 ({error})") from None
    if not rows:
        raise _bad("it is empty")
    names = [name.strip() for name in rows[0]]
    absent = [name for name in ("frame", "timestamp", "confidence", "success") if name not in names]
    units = {name: match for name in names if (match := _UNIT.fullmatch(name))}
    if absent or not units:
        raise _bad(f"its header lacks {', '.join(absent) or 'AU columns such as AU06_r'}")
    if len(set(names)) != len(names):
        raise _bad("its header names a column twice")
    values = _numbers([row for row in rows[1:] if row], names)
    frame = values["frame"]
    total = len(np.unique(frame))
    seen = (values["success"] > 0) & (values["confidence"] >= least_confidence)
    if "face_id" in values and seen.any():
        faces, counts = np.unique(values["face_id"][seen], return_counts=True)
        seen &= values["face_id"] == faces[np.argmax(counts)]
    if (np.diff(frame[seen]) <= 0).any() or (np.diff(values["timestamp"][seen]) < 0).any():
        raise _bad("its frames are not in the order of time")
    intensity, present = {}, {}
    for name, match in units.items():
        number, cells = int(match[1]), values[name][seen]
        top = TOP if match[2] == "r" else 1.0
        if ((cells < 0) | (cells > top)).any():
            raise _bad(f"{name} lies outside 0 to {top:g}")
        if match[2] == "r":
            intensity[number] = cells
        else:
            present[number] = cells > 0.5
    return UnitTable(values["timestamp"][seen], frame[seen].astype(np.int64), intensity, present, total)


def _numbers(rows: list[list[str]], names: list[str]) -> dict[str, np.ndarray]:
    """The columns that are read: float64 [rows], all of them finite."""
    wanted = [
        name
        for name in names
        if name in ("frame", "face_id", "timestamp", "confidence", "success") or _UNIT.fullmatch(name)
    ]
    places = [names.index(name) for name in wanted]
    values = np.empty((len(rows), len(wanted)))
    for line, row in enumerate(rows):
        if len(row) != len(names):
            raise _bad(f"row {line + 1} has {len(row)} cells, the header {len(names)}")
        try:
            values[line] = [float(row[place]) for place in places]
        except ValueError:
            raise _bad(f"row {line + 1} holds something that is no number") from None
    if not np.isfinite(values).all():
        raise _bad("it holds a number that is not finite")
    return {name: values[:, column] for column, name in enumerate(wanted)}


def _bad(why: str) -> RowError:
    return RowError("bad_units", f"the table of action units cannot be read: {why}")
