"""Tables as OpenFace writes them, made up for a test."""

from collections.abc import Mapping, Sequence

R_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
C_UNITS = (*R_UNITS[:-1], 28, 45)


def openface_csv(
    units: Mapping[int, Sequence[float]], fps: float = 25.0, blank: bool = True, active: float = 0.8, **others
) -> bytes:
    """A CSV with all columns that are read; units: intensities by frame, 0 where none are given.

    others: values by frame of `confidence`, `success` or `face_id`.
    """
    count = max(map(len, units.values()), default=1)
    names = ["frame", "face_id", "timestamp", "confidence", "success"]
    names += [f"AU{unit:02d}_r" for unit in R_UNITS] + [f"AU{unit:02d}_c" for unit in C_UNITS]
    lines = [(", " if blank else ",").join(names)]
    for frame in range(count):
        values = {unit: units[unit][frame] if unit in units else 0.0 for unit in C_UNITS}
        row = [
            frame + 1,
            others["face_id"][frame] if "face_id" in others else 0,
            f"{frame / fps:.3f}",
            others["confidence"][frame] if "confidence" in others else 0.98,
            others["success"][frame] if "success" in others else 1,
            *(f"{values[unit]:.2f}" for unit in R_UNITS),
            *(f"{float(values[unit] >= active):.2f}" for unit in C_UNITS),
        ]
        lines.append((", " if blank else ",").join(map(str, row)))
    return "\n".join(lines).encode()
