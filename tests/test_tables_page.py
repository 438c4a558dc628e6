"""docs/tables.md lists every column and every error code as the code has them."""

from conftest import REPOSITORY
from emo.errors import CODES
from emo.store.tables import TABLES
from emo.tables_page import page

PAGE = (REPOSITORY / "docs/tables.md").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_tables_give():
    assert page() == PAGE, "write it anew: python -m emo.tables_page > docs/tables.md"


def test_every_column_and_code_has_a_line_with_a_meaning():
    sections = {part.partition("`")[0]: part for part in PAGE.split("\n## `")[1:]}
    for name, table in TABLES.items():
        lines = [line for line in sections[name].splitlines() if line.startswith("| `")]
        assert [line.split("`")[1] for line in lines][: len(table.schema)] == table.schema.names
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            assert all(cell.strip() for cell in line.strip("|").split("|")), line
    for code in CODES:
        assert f"\n| `{code}` | " in PAGE
