from dataclasses import replace

import pytest

from emo import experts
from emo.errors import RowError
from openface_csv import openface_csv
from synthetic_clips import clip

SMILE = openface_csv({6: [0, 1.0, 2.0, 1.0, 0], 12: [0, 2.0, 4.0, 2.0, 0]})


@pytest.fixture
def describe(tmp_path):
    """Answers of the expert to clips with these ids; tables: what lies in the folder."""

    def answer(*ids, tables=None, **more):
        for name, data in (tables or {}).items():
            path = tmp_path / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        settings = {"name": "aus", "kind": "aus", "tables": str(tmp_path), **more}
        clips = [replace(clip(0), video_id=name) for name in ids]
        return experts.load(experts.settings_of(settings)).describe(clips)

    return answer


def test_the_table_of_a_clip_becomes_a_sentence_and_labels_with_their_strengths(describe):
    ((description,),) = describe("day/one", tables={"day/one": SMILE})
    assert "lip corner puller (AU12, strong)" in description.text
    assert description.labels == (("happy", 0.6),)
    assert description.degraded == ()


def test_the_variant_of_the_rules_is_the_users_choice(describe):
    tables = {"one": openface_csv({20: [0, 4.0, 0]})}
    assert describe("one", tables=tables)[0][0].labels == ()
    (worried,) = describe("one", rules="published")
    assert dict(worried[0].labels)["worried"] == 0.8


def test_a_clip_without_a_table_or_with_a_broken_one_fails_alone(describe):
    tables = {"good": SMILE, "broken": b"no table"}
    absent, good, broken = describe("absent", "good", "broken", tables=tables)
    assert isinstance(absent, RowError)
    assert absent.code == "modality_missing"
    assert "absent.csv" in str(absent)
    assert good[0].labels
    assert broken.code == "bad_units"


def test_a_clip_in_which_no_face_was_found_lacks_the_face_and_gives_no_label(describe):
    nobody = openface_csv({6: [1.0] * 3}, success=[0] * 3)
    ((description,),) = describe("one", tables={"one": nobody})
    assert description.degraded == ("faces",)
    assert description.labels == ()


def test_the_confidence_from_which_a_frame_counts_is_a_setting(describe):
    unsure = openface_csv({6: [2.0], 12: [2.0]}, confidence=[0.6])
    assert describe("one", tables={"one": unsure})[0][0].degraded == ("faces",)
    assert describe("one", least_confidence=0.5)[0][0].labels == (("happy", 0.4),)


def test_an_id_cannot_lead_out_of_the_folder(describe, tmp_path):
    (tmp_path.parent / "outside.csv").write_bytes(SMILE)
    (answer,) = describe("../outside")
    assert answer.code == "modality_missing"


def test_a_folder_that_is_not_there_is_told_before_anything_runs(tmp_path):
    cls = experts.expert_class("aus")
    settings = cls.Settings(name="aus", kind="aus", tables=str(tmp_path / "nowhere"))
    assert cls.missing(settings) == [f"tables: {tmp_path}/nowhere: no such folder"]
