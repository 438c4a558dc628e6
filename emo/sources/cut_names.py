"""Names that a spreadsheet took for numbers: `0001` that became `1`, found again."""

import re
from collections.abc import Collection


def without_zeros(name: str) -> str:
    """A path of names as a spreadsheet leaves it: `video/0001` and `video/1.0` are both `video/1`."""
    parts = (re.fullmatch(r"0*(\d+)(?:\.0+)?", part) for part in name.split("/"))
    return "/".join(found[1] if found else part for found, part in zip(parts, name.split("/"), strict=True))


def cut_names(given: Collection[str], expected: Collection[str]) -> dict[str, str]:
    """Of the given names that are not expected, those that a spreadsheet cut -> the expected name.

    Only where a single expected name comes into question that is not given itself.
    """
    whole: dict[str, list[str]] = {}
    for name in set(expected) - set(given):
        whole.setdefault(without_zeros(name), []).append(name)
    found = {name: whole.get(without_zeros(name), []) for name in set(given) - set(expected)}
    return {name: names[0] for name, names in found.items() if len(names) == 1}
