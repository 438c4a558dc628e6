"""Rounds over tables: what is left follows from the votes; a run that is cut anywhere ends as any other."""

from collections import Counter

import pyarrow as pa
import pytest

from emo.config import load_config, validate
from emo.errors import InputError
from emo.jobs import label, nightly
from emo.jobs.describe import DescribeStep
from emo.run.committing import commit
from emo.run.session import settings_of
from emo.status import plan
from emo.step import Mode, failures, todo
from emo.store import committed
from emo.store.runs import check_settings
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from ingested import commit_clips
from labelling import by_id, rows
from wavering import KIND, Wavering

CLIPS = ["late", "mute", "sure", "torn"]


def configured(rounds=(), enough=None, experts=({"name": "a"},), **more):
    """A configuration of wavering experts."""
    tree = {"experts": [{"kind": KIND, **one} for one in experts], "extract": {"kind": "rules"}, **more}
    return validate(tree | {"rounds": list(rounds), "enough": enough}, "a test")


IN_ROUNDS = configured([{"a": 2}, {"a": 3}, {"a": 7}], 0.4)
AT_ONCE = configured(experts=[{"name": "a", "samples": 7}])


class Cut(Exception):
    """A run ends here, as if it was killed."""


def take(storage, config, run, mode=Mode(), shard=2, commits=1000):  # noqa: B008 - frozen
    """Run the steps after ingest in this process; after so many commits it is cut."""
    asked = len(Wavering.asked)
    for step in label.steps(config)[1:]:
        # Where a redo begins, all of its steps do.
        work = step.work(storage, run, todo(step, storage, mode, lambda _: run).rows)
        worker = work.worker()
        for part in committed.batched(work.rows, shard):
            if not commits:
                raise Cut
            commit(storage, work.table, run, worker(work.read(part) if work.read else part))
            commits -= 1
    return Counter((name, clip) for name, clip, _ in Wavering.asked[asked:])


def result(storage):
    """What a run leaves, without its id."""
    texts = {
        (r["video_id"], r["expert"], r["sample"]): r["text"] for r in rows(storage, DESCRIPTIONS, "text")
    }
    votes = {(r["video_id"], r["expert"], r["sample"]): r["labels"] for r in rows(storage, VOTES, "labels")}
    columns = [name for name in JUDGMENTS.schema.names if name not in ("run_id", "seen")]
    judged = {r["video_id"]: {name: r[name] for name in columns} for r in rows(storage, JUDGMENTS, *columns)}
    return texts, votes, judged


@pytest.fixture
def storage(tmp_path):
    made = Storage(str(tmp_path / "out"))
    commit_clips(made, "1", CLIPS)
    return made


def judged(storage, column):
    return by_id(rows(storage, JUDGMENTS, column), column)


def test_each_round_asks_only_about_the_clips_that_are_open(storage):
    asked = take(storage, IN_ROUNDS, "2")
    assert asked == {("a", "sure"): 2, ("a", "late"): 7, ("a", "torn"): 7, ("a", "mute"): 7}
    assert judged(storage, "n_answers") == {"sure": 2, "late": 7, "torn": 7, "mute": 7}
    assert judged(storage, "closed_in") == {"sure": 1, "late": 3, "torn": None, "mute": None}
    agreements = judged(storage, "round_agreement")
    assert agreements["sure"] == [1.0]
    # Of seven answers four name a family that one other names too.
    assert agreements["torn"] == [0.0, 0.0, pytest.approx(4 / 42)]
    assert agreements["late"] == [0.0, pytest.approx(1 / 3), pytest.approx(6 * 5 / 42)]
    assert agreements["mute"] == [None, None, None]
    # And then there is nothing left.
    assert not take(storage, IN_ROUNDS, "3")


def test_answers_of_rounds_are_those_that_are_given_at_once(storage, tmp_path):
    take(storage, IN_ROUNDS, "2")
    other = Storage(str(tmp_path / "other"))
    commit_clips(other, "1", CLIPS)
    take(other, AT_ONCE, "2")
    texts, votes, _ = result(storage)
    whole, whole_votes, _ = result(other)
    assert texts.items() < whole.items()
    assert votes.items() < whole_votes.items()
    for clip in ("late", "torn", "mute"):
        assert judged(storage, "labels")[clip] == judged(other, "labels")[clip]
    assert judged(other, "closed_in") == dict.fromkeys(CLIPS)
    assert judged(other, "n_answers") == dict.fromkeys(CLIPS, 7)


def test_a_run_that_is_cut_anywhere_ends_as_an_undisturbed_one_whatever_its_shards(storage, tmp_path):
    experts = [{"name": "a"}, {"name": "b"}]
    config = configured([{"a": 2}, {"a": 4, "b": 1}, {"b": 3}], 0.5, experts)
    take(storage, config, "2", shard=3)
    undisturbed = result(storage)
    cuts = 0
    for commits in range(1, 100, 4):
        other = Storage(str(tmp_path / f"cut{commits}"))
        commit_clips(other, "1", list(reversed(CLIPS)))
        try:
            take(other, config, "2", shard=2, commits=commits)
            break
        except Cut:
            cuts += 1
        # Somebody looks at what is there: labels of clips that are still open.
        judge = label.steps(config)[-1]
        given = judge.given(other)
        commit(other, JUDGMENTS, "2", judge.work(other, "2", given).worker()(given))
        take(other, config, "3", shard=1)
        assert result(other) == undisturbed
    assert cuts > 4


def test_a_night_that_ends_at_its_bound_within_rounds_is_ended_by_the_next_as_if_it_was_one(
    storage, tmp_path
):
    take(storage, IN_ROUNDS, "2")
    undisturbed = result(storage)
    *before, judge = label.steps(IN_ROUNDS)
    seen = set()
    for commits in range(1, 100, 5):
        other = Storage(str(tmp_path / f"bound{commits}"))
        commit_clips(other, "1", CLIPS)
        try:
            take(other, IN_ROUNDS, "2", shard=1, commits=commits)
            break
        except Cut:
            pass
        # What the bound leaves a night to do: the labels of clips that no round waits for. They are final.
        tonight = nightly._judge(other, judge, waiting=before).rows
        commit(other, JUDGMENTS, "2", judge.work(other, "2", tonight).worker()(tonight))
        shown = result(other)[2]
        assert shown.items() <= undisturbed[2].items()
        seen.add(len(shown))
        take(other, IN_ROUNDS, "3", shard=2)
        assert result(other) == undisturbed
    assert {0, 1, len(CLIPS)} <= seen


def test_what_is_committed_is_asked_for_no_second_time(storage):
    Wavering.asked.clear()
    for run, commits in (("2", 3), ("3", 4), ("4", 2), ("5", 1000)):
        try:
            take(storage, IN_ROUNDS, run, commits=commits)
        except Cut:
            continue
    assert len(rows(storage, DESCRIPTIONS)) == 2 + 7 + 7 + 7
    # A shard in flight may be lost with its run; here none was.
    assert max(Counter(Wavering.asked).values()) == 1


@pytest.mark.parametrize(
    ("later", "asked"),
    [
        # A further round.
        (configured([{"a": 2}, {"a": 3}, {"a": 4}, {"a": 7}], 0.4), {}),
        (configured([{"a": 2}, {"a": 3}, {"a": 9}], 0.4), {"mute": 2, "torn": 2, "late": 2}),
        # More in the first one: of a closed clip only what is lacking.
        (configured([{"a": 4}, {"a": 7}], 0.4), {"sure": 2}),
        # Nothing is enough any more; and everything at once.
        (configured([{"a": 2}, {"a": 7}], 1.0), {}),
        (AT_ONCE, {"sure": 5}),
    ],
)
def test_other_rounds_go_on_with_what_is_there(storage, later, asked):
    take(storage, IN_ROUNDS, "2")
    made_with = settings_of(label.steps(IN_ROUNDS))
    check_settings(made_with, {}, settings_of(label.steps(later)))
    assert take(storage, later, "3") == {("a", clip): count for clip, count in asked.items()}
    assert not take(storage, later, "4")


def test_a_redo_makes_every_answer_anew_and_no_older_one_counts(storage):
    take(storage, IN_ROUNDS, "2")
    changed = configured([{"a": 2}, {"a": 3}, {"a": 7}], 0.4, [{"name": "a", "mind": "made up"}])
    with pytest.raises(InputError, match="mind was 'usual' and is 'made up'"):
        check_settings(settings_of(label.steps(IN_ROUNDS)), {}, settings_of(label.steps(changed)))
    # All clips agree at once now.
    assert take(storage, changed, "3", Mode(redo=True)) == dict.fromkeys((("a", clip) for clip in CLIPS), 2)
    assert judged(storage, "n_answers") == dict.fromkeys(CLIPS, 2)
    assert judged(storage, "closed_in") == dict.fromkeys(CLIPS, 1)
    assert judged(storage, "labels") == {clip: ["happy"] for clip in CLIPS}


def test_a_redo_that_is_cut_goes_on_where_it_was(storage):
    take(storage, IN_ROUNDS, "2")
    Wavering.asked.clear()
    with pytest.raises(Cut):
        # All of the first round, and a part of the second.
        take(storage, IN_ROUNDS, "3", Mode(redo=True), commits=7)
    before = Counter((name, clip) for name, clip, _ in Wavering.asked)
    assert set(before.values()) == {2, 3}
    after = take(storage, IN_ROUNDS, "4")
    assert before + after == {("a", "sure"): 2, ("a", "late"): 7, ("a", "torn"): 7, ("a", "mute"): 7}
    assert {row["run_id"] for row in rows(storage, DESCRIPTIONS)} == {"3", "4"}


CASCADE = [{"name": "small", "samples": 2}, {"name": "large"}]


def test_a_larger_expert_is_asked_only_about_what_the_small_one_left_open(storage):
    config = configured([{"small": 2}, {"large": 1}], 0.5, CASCADE)
    names = [step.name for step in label.steps(config)]
    assert names == ["ingest", "describe small", "extract", "describe large", "extract round 2", "judge"]
    asked = take(storage, config, "2")
    assert asked == {
        **{("small", clip): 2 for clip in CLIPS},
        **{("large", c): 1 for c in CLIPS if c != "sure"},
    }


def test_an_expert_that_is_added_later_may_look_only_at_what_is_open(storage):
    take(storage, configured(experts=[CASCADE[0]]), "2")
    later = configured([{"small": 2}, {"large": 1}], 0.5, CASCADE)
    assert take(storage, later, "3") == {("large", clip): 1 for clip in CLIPS if clip != "sure"}


def test_a_redo_also_remakes_what_a_later_expert_said_of_clips_that_are_closed_now(storage):
    config = configured([{"small": 2}, {"large": 1}], 0.5, CASCADE)
    take(storage, config, "2")
    changed = configured([{"small": 2}, {"large": 1}], 0.5, [{**CASCADE[0], "mind": "made up"}, CASCADE[1]])
    take(storage, changed, "3", Mode(redo=True))
    assert {row["run_id"] for row in rows(storage, DESCRIPTIONS)} == {"3"}
    assert {row["run_id"] for row in rows(storage, VOTES)} == {"3"}


def test_a_clip_that_failed_is_asked_about_no_more_until_it_is_tried_again(tmp_path):
    storage = Storage(str(tmp_path))
    commit_clips(storage, "1", ["broken", "torn"])
    assert take(storage, IN_ROUNDS, "2") == {("a", "broken"): 2, ("a", "torn"): 7}
    steps = label.steps(IN_ROUNDS)
    assert [(one["step"], one["video_id"]) for one in failures(storage, steps)] == [
        ("describe a", "broken"),
        ("judge", "broken"),
    ]
    only = pa.table({"video_id": ["broken"]})
    assert take(storage, IN_ROUNDS, "3", Mode(retry=True, only=only)) == {("a", "broken"): 2}
    assert judged(storage, "n_answers") == {"broken": 0, "torn": 7}


def test_a_clip_that_changed_begins_at_the_first_round(storage):
    take(storage, IN_ROUNDS, "2")
    commit_clips(storage, "3", ["torn"])
    assert take(storage, IN_ROUNDS, "4") == {("a", "torn"): 7}
    assert judged(storage, "n_answers")["torn"] == 7


def test_a_plan_expects_what_earlier_clips_left_open_and_says_where_it_assumes(storage):
    steps = label.steps(IN_ROUNDS)
    waiting = {one.step: one for one in plan(storage, steps).steps}
    # Four clips, half of which are taken to stay open, and half of these.
    assert [waiting[name].rows for name in ("describe a", "describe a round 2", "describe a round 3")] == [
        4,
        2,
        1,
    ]
    assert waiting["extract round 3"].rows == 4
    assert waiting["describe a round 2"].expected.clips == 0
    take(storage, IN_ROUNDS, "2")
    commit_clips(storage, "3", ["new1", "new2", "new3", "new4"])
    waiting = {one.step: one for one in plan(storage, steps).steps}
    # Three of four stayed open after the first round, and all of these after the second.
    assert [waiting[name].rows for name in ("describe a", "describe a round 2", "describe a round 3")] == [
        4,
        3,
        3,
    ]
    assert (waiting["describe a round 2"].expected.share, waiting["describe a round 2"].expected.clips) == (
        0.75,
        4,
    )


def test_an_expert_that_ignores_which_answers_are_wanted_fails_rather_than_repeat_itself():
    from emo.experts.protocol import Description
    from emo.jobs.describe import rows_of

    [settings] = IN_ROUNDS.experts
    found = rows_of(["x"], [[Description(str(n)) for n in range(7)]], settings, None, "2", [range(3, 7)])
    assert found.column("sample").to_pylist() == [3, 4, 5, 6]
    assert set(found.column("error").to_pylist()) == {"sample_missing"}


@pytest.mark.parametrize(
    "config", [IN_ROUNDS, configured((), 0.4, [{"name": "a", "samples": 7, "first": 2}])]
)
def test_a_run_file_keeps_the_rounds(config):
    again = load_config(tree=config.model_dump(mode="json"))
    assert again.asked_in_rounds == config.asked_in_rounds
    assert again.experts == config.experts


def test_the_short_form_is_a_first_round_and_the_rest():
    config = configured((), 0.4, [{"name": "a", "samples": 7, "first": 2}, {"name": "b", "samples": 3}])
    rounds = config.asked_in_rounds
    assert [dict(one) for one in rounds.by_then] == [{"b": 3, "a": 2}, {"b": 3, "a": 7}]
    steps = [step for step in label.steps(config) if isinstance(step, DescribeStep)]
    assert [(step.name, list(step.answers)) for step in steps] == [
        ("describe a", [0, 1]),
        ("describe b", [0, 1, 2]),
        ("describe a round 2", [2, 3, 4, 5, 6]),
    ]


@pytest.mark.parametrize(
    ("rounds", "enough", "experts", "says"),
    [
        ([{"a": 2}, {"a": 3}], None, [{}], "enough is missing"),
        ([], 0.4, [{}], "nothing is asked in rounds"),
        ([{"a": 2}, {"a": 3}], 0.4, [{"samples": 7}], "samples is 7, and in the last round.* 3 answers"),
        ([{"a": 2}, {"a": 3}], 0.4, [{"first": 1, "samples": 3}], "either rounds or first"),
        ([], 0.4, [{"first": 7, "samples": 7}], "first is 7; expected fewer than samples, which is 7"),
        ([{"a": 2}, {"z": 3}], 0.4, [{}], "no expert is named 'z'"),
        ([{"a": 2}, {"a": 3}], 1.5, [{}], "enough: .*less than or equal to 1"),
        ([{"a": 2}, {"a": "x"}], 0.4, [{}], r"rounds\.1\.a: .*integer"),
    ],
)
def test_rounds_that_cannot_be_meant_are_refused_by_name(rounds, enough, experts, says):
    with pytest.raises(InputError, match=says):
        configured(rounds, enough, [{"name": "a", **one} for one in experts])


def test_an_expert_that_always_says_the_same_is_not_asked_twice_in_rounds():
    tree = {"kind": "internvl", "model": "m", "temperature": 0}
    with pytest.raises(InputError, match="internvl has temperature 0, so its answers are all the same"):
        validate({"experts": [tree], "rounds": [{"internvl": 2}, {"internvl": 3}], "enough": 0.4}, "a test")
    with pytest.raises(InputError, match="expected 1: this expert measures"):
        validate(
            {"experts": [{"kind": "voice"}], "rounds": [{"voice": 2}, {"voice": 3}], "enough": 1}, "a test"
        )
