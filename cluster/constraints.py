"""The pins of the environment of this Python, on standard output: `make constraints` keeps them.

Everything that emo and its extras need, as far as it is installed, as lines `name==version`. The image and
`make` install with them. For newer versions: upgrade in `.venv`, run the tests, write the file anew.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "emo"
HEADER = """\
# What the tests ran with, for `pip install --constraint`. Written by `make constraints`: do not edit it.
# Python {major}.{minor}
"""


def needed(name: str, extras: frozenset[str]) -> Iterator[tuple[Distribution, frozenset[str]]]:
    """What a package needs itself, as far as it is installed: each with the extras that are asked of it."""
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in extras | {""}):
            continue
        try:
            yield distribution(requirement.name), frozenset(requirement.extras)
        except PackageNotFoundError:
            # Of another platform, or of an extra that is not installed.
            continue


def every_extra(package: str) -> frozenset[str]:
    """The names of a package's extras."""
    return frozenset(distribution(package).metadata.get_all("Provides-Extra") or [])


def closure(package: str, extras: frozenset[str]) -> dict[str, str]:
    """Name and version of all that a package needs with these extras, directly or not."""
    pins: dict[str, str] = {}
    open_ends, seen = [(package, extras)], set()
    while open_ends:
        end = open_ends.pop()
        if end in seen:
            continue
        seen.add(end)
        for found, wanted in needed(*end):
            name = canonicalize_name(found.name)
            pins[name] = found.version
            open_ends.append((name, wanted))
    pins.pop(package, None)
    return pins


def text(pins: dict[str, str]) -> str:
    """The file. A version's local part (`+cu132`) names a build, which an index need not have."""
    lines = [f"{name}=={version.partition('+')[0]}\n" for name, version in sorted(pins.items())]
    return HEADER.format(major=sys.version_info[0], minor=sys.version_info[1]) + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(text(closure(PACKAGE, every_extra(PACKAGE))))
