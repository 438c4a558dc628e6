"""Clips of one speaker, film or dialogue share a split; a split far from its share is said."""

import pytest

from emo.captions.groups import grouping, split_notes
from emo.captions.settings import Caption
from emo.captions.splits import VIDEO_OF, split_of, video_of
from emo.errors import InputError
from emo.store.s3 import S3Settings

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def rows(video_ids, group=video_of, shares=SHARES):
    return [{"video_id": one, "split": split_of(group(one), shares)} for one in video_ids]


def test_a_column_of_a_table_says_what_shares_a_split(tmp_path):
    table = tmp_path / "clips.csv"
    ids = [f"film{n % 7}/{n:03d}" for n in range(300)]
    lines = [f"{one},speaker{n % 40}" for n, one in enumerate(ids)]
    table.write_text("video_id,speaker\n" + "\n".join(lines) + "\n")
    group = Caption(split_table=str(table), split_by="speaker").grouping(S3Settings())
    sides = {}
    for row, line in zip(rows(ids, group), lines, strict=True):
        sides.setdefault(line.split(",")[1], set()).add(row["split"])
    assert len(sides) == 40
    assert all(len(found) == 1 for found in sides.values())
    assert len(set.union(*sides.values())) == 3
    with pytest.raises(InputError, match=r"clips.csv has no speaker for the clip 'other'"):
        group("other")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video_id,film\na,x\n", "needs video_id .or name. and speaker; it has video_id, film"),
        ("video_id,speaker\na,x\na,y\n", "'a' has another speaker than in an earlier row"),
    ],
)
def test_a_table_that_does_not_say_it_is_refused(text, said, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        grouping(VIDEO_OF, str(tmp_path / "t.csv"), "speaker", S3Settings())
    with pytest.raises(InputError, match="does not exist"):
        grouping(VIDEO_OF, str(tmp_path / "u.csv"), "speaker", S3Settings())
    with pytest.raises(ValueError, match="go together"):
        Caption(split_by="speaker")


def test_utterances_of_a_dialogue_are_on_one_side():
    ids = [f"dia{dialogue}_utt{n}" for dialogue in range(200) for n in range(5)]
    sides = {}
    for row in rows(ids):
        sides.setdefault(row["video_id"].split("_")[0], set()).add(row["split"])
    assert all(len(found) == 1 for found in sides.values())


def test_a_folder_with_all_clips_is_one_group_and_the_empty_splits_are_said():
    notes = split_notes(rows([f"clips/{n}" for n in range(50)]), SHARES, video_of)
    assert "the split validation has 0 of 50 clips, its share is 10%" in notes
    assert notes[-1].startswith("the clips are of 1 groups")
    assert split_notes(rows([f"film{n}/{m}" for n in range(100) for m in range(3)]), SHARES, video_of) == []
    assert split_notes([], SHARES, video_of) == []
    assert (
        split_notes(
            rows(["a"], shares={"train": 1, "validation": 0, "test": 0}),
            {"train": 1, "validation": 0, "test": 0},
            video_of,
        )
        == []
    )
