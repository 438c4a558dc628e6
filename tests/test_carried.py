"""Columns of a manifest that stay with its clips, and scores by them."""

import pytest

import emo
from emo import carried
from emo.cli import main
from emo.config import load_config
from emo.errors import InputError
from emo.jobs.ingest import note_said
from emo.sources.source import read_source
from emo.store.tables import CLIPS
from review_outs import Judged, answer, make_out, write
from test_forget import found, list_of

FIRST, LATER, LAST = "20261201T000000Z", "20261202T000000Z", "20261203T000000Z"


def manifest_of(tmp_path, text, carry=("gender", "age")):
    path = tmp_path / "list.csv"
    path.write_text(text)
    return read_source(str(path), carry=carry)


@pytest.fixture
def out(tmp_path):
    """Sixty clips and one that is a piece; people agree with the machine on those of women alone."""
    clips = [Judged(f"{number:02}", labels=("happy",)) for number in range(60)]
    storage = make_out(tmp_path / "out", [*clips, Judged("talk/000000000-end", labels=("happy",))])
    for number, clip in enumerate(clips):
        answer(storage, clip.video_id, ["happy" if number % 2 else "sad"], queue="random")
    rows = [f"{n:02}.mp4,{'man,' if n % 2 == 0 else 'woman,31'}\n" for n in range(60)]
    note_said(storage, FIRST, manifest_of(tmp_path, "uri,gender,age\n" + "".join([*rows, "talk.mp4,man,\n"])))
    return storage


def test_scores_by_a_column_of_the_manifest(out, capsys):
    command = ["evaluate", "--metric", "emo-clusters", "--gold", out.url, "--predicted", out.url]
    assert main([*command, "--by", "gender"]) == 0
    assert "largest gap: 100.00, woman over man" in capsys.readouterr().out
    found = emo.evaluate(f"{out.url}/judgments", out.url, metric="emo-clusters", by="age")
    assert found.groups.clips == {"31": 30}
    assert found.groups.without == 30


def test_a_piece_is_as_its_recording_and_an_empty_cell_says_nothing(out):
    gender, age = (carried.groups_of(out, column) for column in ("gender", "age"))
    assert gender["talk/000000000-end"] == "man"
    assert (gender["00"], gender["01"]) == ("man", "woman")
    assert len(age) == 30


def test_the_last_word_counts_and_the_same_is_not_written_again(out, tmp_path):
    said = manifest_of(tmp_path, "uri,gender,age\n00.mp4,woman,\n01.mp4,woman,\n02.mp4,,\n")
    note_said(out, LATER, said)
    gender = carried.groups_of(out, "gender")
    assert [gender[name] for name in ("00", "01", "02")] == ["woman", "woman", "man"]
    assert carried.note(out, LAST, said) == 0
    # Nothing is decoded anew for it.
    config = load_config()
    from emo.jobs.ingest import IngestStep

    assert "carry" not in IngestStep(config.ingest, config.s3).settings()


def test_the_language_of_the_clips_is_there_without_a_manifest(tmp_path):
    storage = make_out(tmp_path / "out", [])
    write(storage, CLIPS, [{"video_id": name, "uri": "x", "language": name[:2]} for name in ("en1", "zh1")])
    assert carried.groups_of(storage, "language") == {"en1": "en", "zh1": "zh"}


def test_an_out_that_carries_no_such_column_says_what_it_has(out, tmp_path):
    with pytest.raises(InputError, match=r"no clip with the column 'mood'; it has age, gender, language"):
        emo.evaluate(out.url, out.url, metric="emo-clusters", by="mood")
    plain = make_out(tmp_path / "plain", [Judged("a")])
    with pytest.raises(InputError, match=r"it has language. ingest.carry names"):
        carried.groups_of(plain, "gender")
    gold = tmp_path / "gold.csv"
    gold.write_text("name,openset\na,happy\n")
    with pytest.raises(InputError, match="--by gender: expected a table"):
        emo.evaluate(gold, gold, metric="emo-clusters", by="gender")


def test_numbers_and_parquet_are_carried_and_lists_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": ["a.mp4", "b.mp4"], "age": [31, None], "tags": [["x"], []]}), path)
    rows = {row["video_id"]: row["carried"] for row in read_source(str(path), carry=["age"]).to_pylist()}
    assert rows == {"a": '{"age": "31"}', "b": None}
    with pytest.raises(InputError, match=r"tags is \['x'\]; ingest.carry takes texts and numbers"):
        read_source(str(path), carry=["tags"])


def test_a_column_that_is_not_there_is_refused_and_others_are_not_kept(tmp_path, capsys):
    text = "uri,gender,phone\na.mp4,woman,123\n"
    with pytest.raises(InputError, match=r"has no column age, which ingest.carry names"):
        manifest_of(tmp_path, text)
    [row] = manifest_of(tmp_path, text, ["gender"]).to_pylist()
    assert row["carried"] == '{"gender": "woman"}'
    assert "not used: 'phone'" in capsys.readouterr().err
    with pytest.raises(InputError, match="names columns of a manifest, and source"):
        read_source(str(tmp_path), carry=["gender"])


def test_what_was_carried_of_a_clip_is_forgotten_with_it(out, tmp_path):
    note_said(out, LATER, manifest_of(tmp_path, "uri,gender,age\n07.mp4,unheard-of,\n"))
    assert found(out.url, b"unheard-of")
    assert main(["forget", "--out", out.url, "--list", list_of(tmp_path, "07")]) == 0
    assert found(out.url, b"unheard-of") == []
    assert "07" not in carried.known(out).column("video_id").to_pylist()
