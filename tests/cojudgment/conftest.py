import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

DATA = Path(os.environ.get("EMO_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


def _need(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"the licensed test data is not here: {DATA / name} (set EMO_TEST_DATA)")
    return DATA / name


@pytest.fixture(scope="session")
def real_votes():
    return pq.read_table(_need("ovmerd/votes.parquet"))


@pytest.fixture(scope="session")
def real_gold():
    table = pq.read_table(_need("ovmerd/gold.parquet"))
    return dict(zip(table["video_id"].to_pylist(), table["labels"].to_pylist(), strict=True))


@pytest.fixture(scope="session")
def wheel_tables():
    from emo.evaluation.wheels import load_wheels

    return load_wheels(_need("mer-wheels"))
