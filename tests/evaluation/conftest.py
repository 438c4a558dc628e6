import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evaluate_command import GOLD, OTHER, PREDICTED, jsonl

DATA = Path(os.environ.get("EMO_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


def need(*names: str) -> Path:
    for name in names:
        if not (DATA / name).exists():
            pytest.skip(f"the licensed test data is not here: {DATA / name} (set EMO_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def wheels_folder() -> Path:
    return need("mer-wheels") / "mer-wheels"


@pytest.fixture(scope="session")
def ovmerd() -> Path:
    return need("ovmerd") / "ovmerd"


@pytest.fixture(scope="session")
def gold(ovmerd: Path) -> dict[str, list[str]]:
    return {row["video_id"]: row["labels"] for row in pq.read_table(ovmerd / "gold.parquet").to_pylist()}


@pytest.fixture(scope="session")
def voters(ovmerd: Path) -> dict[str, dict[str, list[str]]]:
    voters: dict[str, dict[str, list[str]]] = {}
    for row in pq.read_table(ovmerd / "votes.parquet").to_pylist():
        voters.setdefault(f"{row['expert']}#{row['sample']}", {})[row["video_id"]] = row["labels"]
    return voters


@pytest.fixture
def files(tmp_path):
    return (
        jsonl(tmp_path / "gold.jsonl", GOLD),
        jsonl(tmp_path / "predicted.jsonl", PREDICTED),
        jsonl(tmp_path / "other.jsonl", OTHER),
    )
