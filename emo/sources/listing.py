"""The files of a source with their sizes and times, as columns: a source has a million of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.store.backend import Entry

_MODIFIED = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, eq=False)
class Listing:
    """Files, each once, told apart by their paths; sizes: in bytes, int64; modified: timestamp[us, UTC]."""

    paths: list[str]
    sizes: pa.Array
    modified: pa.Array

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Listing":
        """The files of a listing."""
        each = list(entries)
        return cls(
            [entry.path for entry in each],
            pa.array([entry.size for entry in each], pa.int64()),
            pa.array([entry.modified for entry in each], _MODIFIED),
        )

    @classmethod
    def measured(cls, paths: list[str], sizes: Sequence[int], microseconds: np.ndarray) -> "Listing":
        """Files by their columns; microseconds: since 1970, int64."""
        return cls(paths, pa.array(sizes, pa.int64()), pa.array(microseconds, pa.int64()).cast(_MODIFIED))

    @cached_property
    def _places(self) -> dict[str | None, int]:
        return dict(zip(self.paths, range(len(self.paths)), strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __contains__(self, path: str) -> bool:
        return path in self._places

    def __len__(self) -> int:
        return len(self.paths)

    def below(self, root: str) -> "Listing":
        """The same files with this text before their paths."""
        return Listing([root + path for path in self.paths], self.sizes, self.modified)

    def ordered(self) -> "Listing":
        """The same files, sorted by path."""
        return self._taken(pc.sort_indices(pa.array(self.paths, pa.string())))

    def _taken(self, places: pa.Array) -> "Listing":
        paths = [self.paths[place] for place in places.to_pylist()]
        return Listing(paths, self.sizes.take(places), self.modified.take(places))

    def without(self, places: Sequence[int]) -> "Listing":
        """All files but those at these places."""
        if not places:
            return self
        keep = np.ones(len(self), dtype=bool)
        keep[list(places)] = False
        return self._taken(pa.array(np.flatnonzero(keep)))

    def versions(self, paths: Sequence[str | None]) -> tuple[pa.Array, pa.Array]:
        """The size and the time of each of these files, null where it is not there."""
        if paths == self.paths:
            # A folder of nothing but videos. To look up each of a million takes longer than to read its size.
            return self.sizes, self.modified
        at = pa.array(list(map(self._places.get, paths)), pa.int64())
        return self.sizes.take(at), self.modified.take(at)

    def entry(self, path: str) -> Entry | None:
        """One of the files."""
        at = self._places.get(path)
        return None if at is None else Entry(path, self.sizes[at].as_py(), self.modified[at].as_py())


def together(listings: Iterable[Listing]) -> Listing:
    """Listings of different folders as one."""
    each = [Listing.of(()), *listings]
    return Listing(
        [path for one in each for path in one.paths],
        pa.concat_arrays([one.sizes for one in each]),
        pa.concat_arrays([one.modified for one in each]),
    )
