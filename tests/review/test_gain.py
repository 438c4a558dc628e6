"""What further reviews are worth: the last ones are measured on clips that nothing was learned from."""

import pytest

from emo.captions.splits import VIDEO_OF
from emo.cojudgment.fusion import judge_votes
from emo.cojudgment.learning import calibrate
from emo.cojudgment.rule import Rule
from emo.errors import InputError
from emo.review import gain
from emo.review.desk import Desk, Rules
from emo.store import committed
from emo.store.tables import JUDGMENTS, VOTES
from review_outs import Judged, answer, make_out

LABELS = ("happy", "angry", "calm", "bored", "proud")


def clips_of(count):
    """The face is right; the voice is right on a third of the clips."""
    found = []
    for number in range(count):
        right = LABELS[number % 5]
        heard = right if number % 3 == 0 else LABELS[(number + 2) % 5]
        found.append(Judged(f"r{number:03}/a", seen=(right,), heard=(heard,), labels=(right, heard)))
    return found


def test_too_few_reviews_say_how_many_it_takes(tmp_path):
    out = make_out(tmp_path / "out", clips_of(50))
    desk = Desk(out, Rules(blind=0))
    assert "none is" in desk.gain()
    for clip in clips_of(50)[:30]:
        answer(out, clip.video_id, clip.seen, shown=clip.labels)
    told = Desk(out, Rules(blind=0)).gain()
    assert told.endswith(
        "reviewed clips have labels and votes; how much more are worth it can be told from 45 on"
    )


def test_the_figures_are_those_of_clips_that_nothing_was_learned_from(tmp_path):
    clips = clips_of(60)
    out = make_out(tmp_path / "out", clips)
    votes = committed.read_newest(out, "votes", VOTES, VOTES.schema.names)
    gold = {clip.video_id: clip.seen for clip in clips}
    found = gain.measure(votes, gold, VIDEO_OF)
    assert found.clips == 60
    assert found.now > found.without + 0.05, "calibration learns that the voice is mostly wrong"
    assert found.now <= 1
    assert found.low <= found.gain <= found.high
    # Scored on what it learned from, the judge looks better than, or as good as, it is.
    rows = judge_votes(votes, Rule(learned=calibrate(votes, gold)))
    same = dict(zip(rows["video_id"].to_pylist(), rows["labels"].to_pylist(), strict=True))
    assert gain.per_clip_f(gain._overlaps(gold, same)).value() >= found.now


def test_the_next_clips_are_told_by_the_law_of_the_curve():
    assert gain.further(100, 0.004) == gain.further(100, -0.1) == 0
    at_worth = gain.further(100, gain.WORTH)
    assert at_worth == 0
    # F = a - b / n: after as many clips as it says, 20 more gain half a point or less, and 20 earlier more.
    for clips, last in ((60, 0.02), (100, 0.01), (200, 0.03)):
        more = gain.further(clips, last)
        b = last * clips * (clips - 20) / 20
        step = lambda n, b=b: b * (1 / (n - 20) - 1 / n)  # noqa: E731
        assert step(clips + more) <= gain.WORTH < step(clips + more - 20)


def test_a_clip_without_labels_or_votes_and_the_test_split_do_not_count(tmp_path):
    clips = clips_of(70)
    out = make_out(tmp_path / "out", [*clips, Judged("none/a", seen=(), heard=())])
    for clip in clips:
        answer(out, clip.video_id, clip.seen, shown=clip.labels)
    answer(out, "none/a", [])
    desk = Desk(out, Rules(blind=0))
    found = gain.of_out(out, list(desk._reviews.values()), VIDEO_OF)
    assert 45 <= found.clips < 70
    assert f"Calibrated on {found.clips} reviewed clips" in desk.gain()
    with pytest.raises(InputError):
        gain.measure(committed.read_newest(out, "votes", VOTES, VOTES.schema.names), {}, VIDEO_OF)


def test_the_queue_is_made_anew_when_a_run_has_judged_since(tmp_path):
    out = make_out(tmp_path / "out", [Judged("a", agreement=0.1), Judged("b", agreement=0.9)])
    now = [0.0]
    desk = Desk(out, Rules(by="uncertain", blind=0), clock=lambda: now[0])
    assert [one.video_id for one in desk._queue] == ["a", "b"]
    rows = [
        {"video_id": name, "labels": ["sad"], "agreement": of, "run_id": "20261220T000000Z", "n_voters": 2}
        for name, of in (("a", 0.8), ("b", 0.2))
    ]
    import pyarrow as pa

    later = pa.Table.from_pylist([{"status": "ok", **row} for row in rows], schema=JUDGMENTS.schema)
    committed.commit(out, "judgments", JUDGMENTS, "20261220T000000Z-0", later)
    desk.refresh()
    assert [one.video_id for one in desk._queue] == ["a", "b"]
    now[0] = 61.0
    desk.refresh()
    assert [one.video_id for one in desk._queue] == ["b", "a"]
    assert desk.library.judgment("a")["labels"] == ["sad"]
