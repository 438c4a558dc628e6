"""Reviewing forty real clips through the page teaches the judge exactly what their labels teach it."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from conftest import REPOSITORY
from emo.captions.splits import split_of, video_of
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import calibrate
from emo.cojudgment.rule import Rule
from emo.evaluation.ew import emo_clusters
from emo.review import teaching
from emo.store.storage import Storage
from emo.store.tables import CLIPS, JUDGMENTS, VOTES
from review_outs import VIDEO, write, write_run
from review_server import Client, review_server

DATA = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY / "../shared/data")) / "ovmerd"
SPLITS = {"train": 0.9, "validation": 0.05, "test": 0.05}


@pytest.fixture(scope="module")
def real():
    if not DATA.exists():
        pytest.skip(f"the licensed test data is not here: {DATA} (set EMO_TEST_DATA)")
    gold = pq.read_table(DATA / "gold.parquet")
    labels = dict(zip(gold["video_id"].to_pylist(), gold["labels"].to_pylist(), strict=True))
    return pq.read_table(DATA / "votes.parquet"), labels


def labels_of(judgments):
    return dict(zip(judgments["video_id"].to_pylist(), judgments["labels"].to_pylist(), strict=True))


def test_forty_reviewed_clips_teach_what_their_labels_teach(real, tmp_path):
    votes, gold = real
    ids = [one for one in sorted(gold) if split_of(video_of(one), SPLITS) != "test" and gold[one]][::3][:40]
    assert len(ids) == 40
    of_forty = votes.filter(pc.is_in(votes["video_id"], value_set=pa.array(ids)))
    out = Storage(str(tmp_path / "out"))
    write_run(out)
    write(out, CLIPS, [{"video_id": one, "uri": str(VIDEO)} for one in ids])
    for expert in of_forty["expert"].unique().to_pylist():
        rows = of_forty.filter(pc.equal(of_forty["expert"], expert)).to_pylist()
        wanted = [
            {name: row.get(name) for name in ("video_id", "expert", "sample", "labels")} for row in rows
        ]
        write(out, VOTES, wanted, expert)
    judged = judge_votes(of_forty, Rule()).select(["video_id", "labels", "agreement"])
    write(out, JUDGMENTS, [{**row, "n_voters": 2} for row in judged.to_pylist()])

    options = ("--by", "random", "--clips", "40", "--blind", "0")
    with review_server(out.url, *options) as running:
        ann = Client(running.addresses["ann"])
        while (clip := ann.next()) is not None:
            ann.answer(clip["video_id"], gold[clip["video_id"]], queue=clip["queue"])
        assert ann.get("/api/progress")["mine"] == 40

    learned = teaching.learn(votes, out.url)
    direct = calibrate(votes, {one: gold[one] for one in ids})
    assert learned.clips == direct.clips == 40
    assert (learned.weights, learned.bars) == (direct.weights, direct.bars)
    # And that is a gain, on all the clips that nobody reviewed.
    rest = {one: labels for one, labels in gold.items() if one not in ids}
    others = votes.filter(pc.is_in(votes["video_id"], value_set=pa.array(list(rest))))
    before, after = (
        emo_clusters(rest, labels_of(judge_votes(others, rule))).score.f
        for rule in (Rule(), Rule(learned=learned))
    )
    assert after > before
