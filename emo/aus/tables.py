"""The tables of action units of a folder, by the ids of the clips."""

from emo.aus.table import UnitTable, read_openface
from emo.errors import EmoError, InputError, RowError
from emo.store.s3 import s3_in_use
from emo.store.storage import Storage


class UnitTables:
    """A folder, local or `s3://`, with `ID.csv` of OpenFace for the clip whose video_id is `ID`."""

    def __init__(self, folder: str, least_confidence: float) -> None:
        self._storage = Storage(folder, s3_in_use())
        self._least_confidence = least_confidence

    def of(self, video_id: str) -> UnitTable:
        """The table of a clip; raises RowError where there is none, and as `read_openface` does."""
        path = f"{video_id}.csv".lstrip("/")
        try:
            data = self._storage.read(path)
        except (FileNotFoundError, InputError) as error:
            where = self._storage.full(path)
            raise RowError("modality_missing", f"there is no table of action units at {where}") from error
        return read_openface(data, self._least_confidence)


def missing_tables(folder: str) -> list[str]:
    """What keeps the folder from being read, one line each."""
    try:
        there = Storage(folder, s3_in_use()).is_there()
    except EmoError as error:
        return [f"tables: {error}"]
    return [] if there else [f"tables: {folder}: no such folder"]
