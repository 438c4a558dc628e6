"""Votes of one clip for tests, and what becomes of them."""

import pyarrow as pa

from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.rule import Rule


def votes_of(*voters, video_id="clip", **columns):
    """A votes table of one clip; each voter is its labels."""
    n = len(voters)
    return pa.table(
        {
            "video_id": [video_id] * n,
            "expert": [f"expert-{number:02d}" for number in range(n)],
            "sample": pa.array([0] * n, pa.int32()),
            "labels": pa.array(voters, pa.list_(pa.string())),
            **columns,
        }
    )


def judge(*voters, rule=None, **columns):
    [row] = judge_votes(votes_of(*voters, **columns), rule or Rule()).to_pylist()
    return row
