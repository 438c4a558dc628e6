"""A file that is read by its own means: where a reader stands in it."""

import io


class Seeking(io.RawIOBase):
    """Readable and seekable; whoever extends it reads from `_place` on, and sets both numbers."""

    _size: int
    _place: int

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place
