from itertools import combinations, product
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.errors import InputError
from emo.report import agreement, pieces
from emo.report.recurring import Texts
from emo.report.summary import Count, Summary, summarise
from emo.vocabulary import cluster_of
from report_tables import clip, description, judgment, report_tables, vote


def summary_of(tables: dict[str, pa.Table]) -> Summary:
    return summarise(**{name: [table] for name, table in tables.items()})


def cell(summary: Summary, kind: str, one: str, other: str) -> tuple[float | None, int]:
    heat = getattr(summary, kind)
    i, j = heat.names.index(one), heat.names.index(other)
    assert heat.mean[i][j] == heat.mean[j][i]
    return heat.mean[i][j], heat.clips[i][j]


def test_every_clip_is_counted_once():
    summary = summary_of(
        report_tables(
            clips=[clip("a"), clip("b"), clip("c"), clip("d", "truncated"), clip("e")],
            judgments=[
                judgment("a", ["happy"]),
                judgment("b", []),
                judgment("d", error="clip_failed"),
                judgment("e", error="no_voters"),
            ],
        )
    )
    counts = (summary.clips, summary.labelled, summary.unlabelled, summary.failed, summary.waiting)
    assert counts == (5, 1, 1, 2, 1)


def test_a_clip_that_can_no_longer_be_read_is_failed_though_it_was_judged_before():
    summary = summary_of(
        report_tables(clips=[clip("a", "truncated")], judgments=[judgment("a", ["happy"], 0.5)])
    )
    assert (summary.clips, summary.labelled, summary.failed) == (1, 0, 1)
    assert summary.labels == ()


def test_votes_from_elsewhere_are_reported_without_clips():
    votes = [vote("a", "x", ["happy"]), vote("a", "y", ["sad"])]
    summary = summary_of(report_tables(votes=votes, judgments=[judgment("a", ["happy"], 0.0)]))
    assert (summary.clips, summary.labelled, summary.waiting) == (1, 1, 0)
    assert cell(summary, "words", "x", "y") == (0.0, 1)


def test_a_failure_is_shown_where_it_happened_first():
    summary = summary_of(
        report_tables(
            clips=[clip("a", "truncated"), clip("b"), clip("c")],
            descriptions=[
                description("a", "face", error="clip_failed"),
                description("b", "face", error="timeout"),
                description("c", "face", "a smile"),
            ],
            votes=[
                vote("a", "face", None, error="clip_failed"),
                vote("b", "face", None, error="no_description"),
                vote("c", "face", None, error="bad_answer"),
            ],
            judgments=[judgment("a", error="clip_failed"), judgment("b", ["sad"]), judgment("c", ["sad"])],
        )
    )
    found = {(group.step, group.expert, group.error, group.rows) for group in summary.failures}
    assert found == {
        ("clips", "", "truncated", 1),
        ("descriptions", "face", "timeout", 1),
        ("votes", "face", "bad_answer", 1),
    }
    (face,) = summary.experts
    assert (face.described, face.not_described, face.not_extracted) == (1, 1, 1)
    assert summary.failures[0].files[0].message == "it was truncated"


def test_files_of_one_error_are_the_first_by_name_and_all_are_counted():
    summary = summary_of(report_tables(clips=[clip(f"{i:03d}", "empty") for i in reversed(range(300))]))
    (group,) = summary.failures
    assert group.rows == 300
    assert [file.video_id for file in group.files] == [f"{i:03d}" for i in range(20)]
    assert group.files[0].sample is None


def test_heat_map_of_a_worked_example():
    summary = summary_of(
        report_tables(
            clips=[clip("1"), clip("2"), clip("3")],
            votes=[
                vote("1", "a", ["happy", "sad"]),
                vote("1", "b", ["Glad", "sad"]),  # 1 of 3 words, 2 of 2 clusters
                vote("2", "a", ["angry"]),
                vote("2", "b", ["bored"]),  # nothing
                vote("3", "a", ["happy"]),
                vote("3", "b", []),  # silent: not compared
            ],
            judgments=[judgment("1", ["happy"]), judgment("2", ["angry"]), judgment("3", ["joyful"])],
        )
    )
    assert summary.words.names == ("a", "b", "final labels")
    assert cell(summary, "words", "a", "b") == (pytest.approx(1 / 6), 2)
    assert cell(summary, "clusters", "a", "b") == (pytest.approx(1 / 2), 2)
    assert cell(summary, "words", "a", "final labels") == (pytest.approx((1 / 2 + 1 + 0) / 3), 3)
    assert cell(summary, "clusters", "a", "final labels") == (pytest.approx((1 / 2 + 1 + 1) / 3), 3)
    assert cell(summary, "words", "a", "a") == (None, 0)


def test_samples_of_one_expert_count_as_one_voice():
    summary = summary_of(
        report_tables(
            votes=[
                vote("1", "a", ["happy"], sample=0),
                vote("1", "a", ["happy", "sad"], sample=1),
                vote("1", "b", ["happy"]),
                vote("2", "a", ["calm"], sample=0),
                vote("2", "b", ["calm"]),
            ],
            judgments=[judgment("1", ["happy"]), judgment("2", ["calm"])],
        )
    )
    assert cell(summary, "words", "a", "b") == (pytest.approx(((1 + 1 / 2) / 2 + 1) / 2), 2)
    assert cell(summary, "words", "a", "a") == (pytest.approx(1 / 2), 1)


def test_labels_and_families_count_clips_and_words_outside_the_vocabulary_are_said():
    summary = summary_of(
        report_tables(
            clips=[clip("a"), clip("b"), clip("c")],
            judgments=[
                judgment("a", ["happy", "glad"], 0.05),
                judgment("b", ["happy", "qwertyish"], 1.0),
                judgment("c", ["sad"], None),
            ],
        )
    )
    assert summary.labels == (Count("happy", 2), Count("glad", 1), Count("qwertyish", 1), Count("sad", 1))
    assert summary.families == (Count("joy", 2), Count("sadness", 1))
    assert summary.outside == 1
    assert summary.agreement == (1, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    assert summary.mean_agreement == pytest.approx(0.525)
    assert summary.alone == 1


def test_experts_are_counted_by_what_they_gave():
    summary = summary_of(
        report_tables(
            descriptions=[description("1", "a", "x"), description("2", "a", "x"), description("3", "b", "x")],
            votes=[vote("1", "a", ["happy", "sad"]), vote("2", "a", [])],
        )
    )
    a, b = summary.experts
    assert (a.name, a.described, a.voted, a.silent, a.labels) == ("a", 2, 1, 1, 2)
    assert (b.name, b.described, b.voted) == ("b", 1, 0)


def test_a_missing_column_is_named():
    broken = report_tables(clips=[clip("a")])
    broken["votes"] = broken["votes"].drop_columns(["labels"])
    with pytest.raises(InputError, match="column 'labels' of the votes table"):
        summary_of(broken)


def test_a_column_of_another_type_is_refused():
    one = pa.table(
        {
            "video_id": ["a"],
            "expert": ["x"],
            "sample": pa.array([0], pa.int32()),
            "labels": [3],
            "status": ["ok"],
            "error": pa.array([None], pa.string()),
            "error_message": pa.array([None], pa.string()),
        }
    )
    with pytest.raises(InputError, match="votes table"):
        summarise(clips=[], descriptions=[], votes=[one], judgments=[])


WORDS = ["happy", "glad", "joyful", "sad", "angry", "furious", "calm", "someword"]
LABELS = st.lists(st.sampled_from(WORDS), max_size=4)


@st.composite
def any_tables(draw: st.DrawFn) -> dict[str, pa.Table]:
    ids = [f"clip{i}" for i in range(draw(st.integers(0, 8)))]
    errors = st.sampled_from([None, None, None, "truncated", "timeout"])
    voters = [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
    votes = [
        vote(video_id, expert, draw(LABELS), sample, error=draw(errors))
        for video_id, (expert, sample) in product(ids, voters)
        if draw(st.booleans())
    ]
    return report_tables(
        clips=[clip(video_id, draw(errors)) for video_id in ids],
        descriptions=[description(video_id, "a", "text", error=draw(errors)) for video_id in ids],
        votes=votes,
        judgments=[
            judgment(video_id, draw(LABELS), draw(st.none() | st.floats(0, 1)), draw(errors))
            for video_id in ids
        ],
    )


@settings(max_examples=60, deadline=None)
@given(tables=any_tables(), seed=st.integers(0, 2**20), comparisons=st.sampled_from([5_000_000, 20]))
def test_the_order_and_the_cut_of_the_rows_do_not_matter(tables, seed, comparisons):
    random = Random(seed)
    shuffled = {}
    for name, table in tables.items():
        order = list(range(len(table)))
        random.shuffle(order)
        cut = random.randint(0, len(table))
        mixed = table.take(pa.array(order, pa.int64()))
        shuffled[name] = [mixed.slice(0, cut), mixed.slice(cut)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "COMPARISONS", comparisons)
        expected = summary_of(tables)
        patch.setattr(pieces, "ROWS_AT_ONCE", 3)
        assert summarise(**shuffled) == expected


@settings(max_examples=60, deadline=None)
@given(tables=any_tables())
def test_the_heat_map_is_what_a_loop_over_the_clips_finds(tables):
    summary = summary_of(tables)
    failed = {row["video_id"] for row in tables["clips"].to_pylist() if row["status"] == "failed"}
    judged = {
        row["video_id"]
        for row in tables["judgments"].to_pylist()
        if row["status"] == "ok" and row["video_id"] not in failed
    }
    votes: dict[str, dict[tuple[str, int], set[str]]] = {}
    for row in tables["votes"].to_pylist():
        if row["status"] == "ok" and row["video_id"] in judged:
            votes.setdefault(row["video_id"], {})[row["expert"], row["sample"]] = set(row["labels"])
    for kind, same in (("words", str), ("clusters", lambda word: cluster_of(word) or word)):
        for one, other in product([n for n in summary.words.names if n != "final labels"], repeat=2):
            means = []
            for voters in votes.values():
                pairs = (
                    combinations([sets for (expert, _), sets in voters.items() if expert == one], 2)
                    if one == other
                    else product(*([s for (e, _), s in voters.items() if e == name] for name in (one, other)))
                )
                found = [
                    len(x & y) / len(x | y)
                    for x, y in (({*map(same, x)}, {*map(same, y)}) for x, y in pairs)
                    if x and y
                ]
                if found:
                    means.append(sum(found) / len(found))
            mean, clips = cell(summary, kind, one, other)
            assert clips == len(means)
            assert mean == (pytest.approx(sum(means) / len(means)) if means else None)


def test_many_voters_are_compared_on_fewer_clips():
    assert agreement.clips_compared(100_000, 4) == 100_000
    assert agreement.clips_compared(100_000, 17) == agreement.COMPARISONS // 136
    assert agreement.clips_compared(100_000, 100_000) == 1


def test_answers_that_the_limit_cut_are_counted_per_expert():
    rows = [description(f"{i}", "face", "She", finish_reason="length" if i < 3 else "stop") for i in range(5)]
    rows += [description("9", "face", error="thought_only", finish_reason="length")]
    rows += [description("0", "voice", "He", finish_reason=None)]
    summary = summary_of(report_tables(descriptions=rows))
    assert {expert.name: (expert.described, expert.cut) for expert in summary.experts} == {
        "face": (5, 3),
        "voice": (1, 0),
    }


def test_cut_answers_and_recurring_texts_are_said_in_a_line_each():
    rows = [
        description(f"{i}", "face", "She " * 40, finish_reason="length" if i < 3 else "stop")
        for i in range(5)
    ]
    rows += [description(f"{i}", "voice", "She " * 40) for i in range(30)]
    summary = summary_of(report_tables(descriptions=rows))
    cut, same = summary.alarms()
    assert cut == "face: the limit on tokens cut 3 of 5 answers; allow more with max_new_tokens"
    assert same.startswith("voice: 30 of 30 answers are the same text: 'She She")
    assert len(same) < 200
    assert summary_of(report_tables(descriptions=[description("a", "face", "She")])).alarms() == []


def texts_of(expert, texts):
    rows = [description(f"{i:05d}", expert, text) for i, text in enumerate(texts)]
    return report_tables(descriptions=rows)["descriptions"]


def recurring_of(pieces):
    texts = Texts()
    for rows in pieces:
        texts.add(rows)
    return texts.recurring()


def test_a_text_that_recurs_over_many_clips_is_told():
    same = ["She smiles."] * 30 + [f"Text {i}" for i in range(970)]
    (found,) = recurring_of(
        [texts_of("face", same[::2]), texts_of("face", same[1::2]), texts_of("voice", ["a"])]
    )
    assert (found.expert, found.text, found.times, found.texts) == ("face", "She smiles.", 30, 1000)
    assert recurring_of([texts_of("face", ["She smiles."] * 20)]) == ()
    rare = ["She smiles."] * 25 + [f"Text {i}" for i in range(5000)]
    assert recurring_of([texts_of("face", rare)]) == (), "25 of 5,025 are less than a half per cent"


def test_a_frequent_text_is_found_among_more_texts_than_are_held():
    texts = [f"Text {i}" for i in range(9_000)]
    texts[::10] = ["She smiles."] * 900
    (found,) = recurring_of([texts_of("face", texts[at : at + 1_000]) for at in range(0, 9_000, 1_000)])
    assert found.text == "She smiles."
    assert 500 < found.times <= 900
