"""The first sheet of an Excel workbook, within bounds of memory."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from emo.errors import InputError
from emo.sources.record import MOST_BYTES, too_large

_MOST_COLUMNS = 256


def read_sheet(path: Path) -> Iterator[tuple[object, ...]]:
    """The rows of the first sheet of an Excel workbook that are not empty; raises InputError for none.

    A workbook is a zip file: what it unpacks to is bounded before it is opened.
    """
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES // 32:
                raise too_large(str(path))
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except InputError:
        raise
    except Exception as error:
        # openpyxl lets through whatever its parts raise on a broken file.
        raise InputError(f"{path} cannot be read as an Excel workbook: {error}") from error
    try:
        if not book.worksheets:
            raise InputError(f"{path} has no sheet")
        sheet = book.worksheets[0]
        # What the file says of its own size is not believed: each row would be filled up to it.
        sheet.reset_dimensions()
        for row in sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True):
            # Counted by the tuple itself: a sheet may claim a million empty rows.
            if row.count(None) < len(row):
                yield row
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as an Excel workbook: {error}") from error
    finally:
        book.close()
