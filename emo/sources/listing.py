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
    """Files, each once, told apart by their paths.

    paths: string; sizes: in bytes, int64; modified: timestamp[us, UTC].
    """

    paths: pa.Array
    sizes: pa.Array
    modified: pa.Array

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Listing":
        """The files of a listing."""
        each = list(entries)
        return cls(
            pa.array([entry.path for entry in each], pa.string()),
            pa.array([entry.size for entry in each], pa.int64()),
            pa.array([entry.modified for entry in each], _MODIFIED),
        )

    @classmethod
    def measured(cls, paths: pa.Array, sizes: pa.Array, microseconds: np.ndarray) -> "Listing":
        """Files by their columns; microseconds: since 1970, int64."""
        return cls(paths, sizes, pa.array(microseconds, pa.int64()).cast(_MODIFIED))

    @cached_property
    def _places(self) -> dict[str, int]:
        # Of equal paths the first, as `versions` takes it.
        return {path: at for at, path in reversed([*enumerate(self)])}

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths.to_pylist())

    def __contains__(self, path: str) -> bool:
        return path in self._places

    def __len__(self) -> int:
        return len(self.paths)

    def below(self, root: str) -> "Listing":
        """The same files with this text before their paths."""
        return Listing(pc.binary_join_element_wise(root, self.paths, ""), self.sizes, self.modified)

    def ordered(self) -> "Listing":
        """The same files, sorted by path."""
        return self._taken(pc.sort_indices(self.paths))

    def _taken(self, places: pa.Array) -> "Listing":
        return Listing(*(column.take(places) for column in (self.paths, self.sizes, self.modified)))

    def without(self, places: Sequence[int] | np.ndarray) -> "Listing":
        """All files but those at these places."""
        if not len(places):
            return self
        keep = np.ones(len(self), dtype=bool)
        keep[np.asarray(places)] = False
        return self._taken(pa.array(np.flatnonzero(keep)))

    def versions(self, paths: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The size and the time of each of these files (string), null where it is not there."""
        if paths.equals(self.paths):
            # A folder of nothing but videos. To look up each of a million takes longer than to read its size.
            return self.sizes, self.modified
        at = pc.index_in(paths, value_set=self.paths)
        return self.sizes.take(at), self.modified.take(at)

    def entry(self, path: str) -> Entry | None:
        """One of the files."""
        at = self._places.get(path)
        return None if at is None else Entry(path, self.sizes[at].as_py(), self.modified[at].as_py())


def together(listings: Iterable[Listing]) -> Listing:
    """Listings of different folders as one."""
    each = [Listing.of(()), *listings]
    return Listing(
        *(pa.concat_arrays([getattr(one, name) for one in each]) for name in ("paths", "sizes", "modified"))
    )
