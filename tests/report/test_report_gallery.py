import pyarrow as pa
import pytest

from emo.errors import InputError
from emo.report.gallery import FAILED, LABELLED, UNLABELLED, WAITING, Support, choose_gallery, gallery_items
from emo.report.summary import summarise
from report_tables import clip, description, judgment, report_tables, vote


def chosen(tables: dict[str, pa.Table], count: int) -> list[str]:
    return choose_gallery(summarise(**{name: [table] for name, table in tables.items()}), count)


def items_of(tables: dict[str, pa.Table]):
    ids = sorted(
        {*tables["clips"].column("video_id").to_pylist(), *tables["judgments"]["video_id"].to_pylist()}
    )
    return {item.video_id: item for item in gallery_items(ids, **tables)}


def large() -> dict[str, pa.Table]:
    """3,000 clips, a few of them special."""
    ids = [f"clip{i:05d}" for i in range(3000)]
    errors = {ids[7]: "truncated", ids[11]: "timeout", **dict.fromkeys(ids[100:200], "empty")}
    rare = {ids[20]: ["homesick"], ids[21]: ["jealous"]}
    return report_tables(
        clips=[clip(video_id, errors.get(video_id)) for video_id in ids],
        judgments=[
            judgment(
                video_id,
                [] if video_id in ids[30:32] else rare.get(video_id, ["happy"]),
                0.0 if video_id == ids[40] else 0.9,
            )
            for video_id in ids
            if video_id not in errors
        ],
    )


def test_all_clips_are_shown_where_there_are_few():
    tables = report_tables(
        clips=[clip("b"), clip("a"), clip("c", "empty"), clip("d")],
        judgments=[judgment("a", ["happy"], 0.5), judgment("b", [])],
    )
    assert chosen(tables, 60) == ["a", "b", "c", "d"]


def test_a_sample_holds_each_error_rare_labels_disagreement_and_clips_without_a_label():
    tables = large()
    ids = chosen(tables, 60)
    assert len(ids) == len(set(ids)) == 60
    assert {f"clip{i:05d}" for i in (7, 11, 20, 21, 30, 31, 40)} <= set(ids)
    failed = [video_id for video_id in ids if 100 <= int(video_id[4:]) < 200]
    assert len(failed) == 8


def test_the_sample_is_the_same_for_rows_in_another_order():
    tables = large()
    turned = {
        name: table.take(pa.array(range(len(table))[::-1], pa.int64())) for name, table in tables.items()
    }
    assert chosen(turned, 60) == chosen(tables, 60)


@pytest.mark.parametrize("count", [-1, 501])
def test_a_gallery_of_an_impossible_size_is_refused(count):
    with pytest.raises(InputError, match="0 to 500"):
        chosen(report_tables(), count)


def test_an_item_says_who_gave_a_label_and_with_which_word():
    tables = report_tables(
        clips=[
            clip("a", frames=[b"jpeg"], frame_times=[0.5], audio=b"flac", transcript="hello", language="en")
        ],
        descriptions=[description("a", "face", "a smile", degraded=["audio"], finish_reason="length")],
        votes=[
            vote("a", "face", ["glad"]),
            vote("a", "llm", ["happy", "calm"], sample=0),
            vote("a", "llm", ["sad"], sample=1),
        ],
        judgments=[
            judgment(
                "a",
                ["happy"],
                0.4,
                scores=[0.7],
                evidence=[
                    {"label": "happy", "score": 0.7, "voters": ["llm#0", "face#0"]},
                    {"label": "sad", "score": 0.3, "voters": ["llm#1"]},
                ],
                n_voters=3,
            )
        ],
    )
    item = items_of(tables)["a"]
    assert item.state == LABELLED
    happy, sad = item.candidates
    assert (happy.label, happy.score, happy.kept) == ("happy", 0.7, True)
    assert happy.voters == (Support("face", 0, ("glad",)), Support("llm", 0, ()))
    assert (sad.label, sad.kept) == ("sad", False)
    face, first, _ = item.answers
    assert (face.text, face.degraded, face.cut_off, face.labels) == ("a smile", ("audio",), True, ("glad",))
    assert (first.text, first.labels) == (None, ("happy", "calm"))
    assert item.sound


def test_the_state_of_a_clip_is_never_guessed():
    items = items_of(
        report_tables(
            clips=[clip("a"), clip("b"), clip("c", "truncated"), clip("d"), clip("e", "truncated")],
            judgments=[
                judgment("b", []),
                judgment("d", error="no_voters"),
                judgment("e", ["happy"], 1.0),
                judgment("f", ["happy"]),
            ],
        )
    )
    states = {video_id: (item.state, item.error) for video_id, item in items.items()}
    assert states == {
        "a": (WAITING, ""),
        "b": (UNLABELLED, ""),
        "c": (FAILED, "truncated"),
        "d": (FAILED, "no_voters"),
        "e": (FAILED, "truncated"),
        "f": (LABELLED, ""),
    }
    assert items["e"].candidates == ()


def test_an_expert_that_failed_shows_its_own_error():
    tables = report_tables(
        clips=[clip("a")],
        descriptions=[description("a", "face", error="timeout")],
        votes=[vote("a", "face", None, error="no_description")],
    )
    (answer,) = items_of(tables)["a"].answers
    assert (answer.error, answer.error_message, answer.labels) == ("timeout", "it was timeout", None)


def test_near_synonyms_that_both_stand_say_who_gave_both():
    tables = report_tables(
        clips=[clip("a"), clip("b")],
        judgments=[judgment("a", ["scared", "afraid"], 0.5), judgment("b", ["scared", "happy"], 0.5)],
        votes=[
            vote("a", "one", ["scared", "afraid"]),
            vote("a", "two", ["scared"]),
            vote("b", "one", ["scared"]),
        ],
    )
    items = items_of(tables)
    assert items["a"].beside == (
        "“scared” and “afraid” mean nearly the same; both stand because one#0 gave both.",
    )
    assert items["b"].beside == ()


def test_how_far_the_senses_are_apart_is_told_of_a_clip():
    judged = [{**judgment("a", ["happy"], 0.5), "conflict": 0.8}, judgment("b", ["happy"], 0.5)]
    items = items_of(report_tables(clips=[clip("a"), clip("b")], judgments=judged))
    assert (items["a"].conflict, items["b"].conflict) == (0.8, None)
