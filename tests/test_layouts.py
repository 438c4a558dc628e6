"""The layouts of CH-SIMS and MER are known by their tables."""

import pytest

from emo.errors import InputError
from emo.sources.source import read_source
from source_files import column, touch


def test_chsims_layout(tmp_path):
    touch(tmp_path, "Raw/video_0001/0001.mp4", "Raw/video_0001/0002.mp4", "Raw/video_0002/0001.mp4")
    (tmp_path / "label.csv").write_text(
        "video_id,clip_id,text,label,label_T\n"
        "video_0001,0001,我很高兴,0.8,1\nvideo_0001,0002,不行,-0.4,0\nvideo_0002,0001,,0,0\n",
        encoding="utf-8",
    )
    rows = read_source(str(tmp_path))
    assert column(rows, "video_id") == ["video_0001/0001", "video_0001/0002", "video_0002/0001"]
    assert column(rows, "subtitle") == ["我很高兴", "不行", None]
    assert column(rows, "language") == ["zh", "zh", "zh"]
    assert None not in column(rows, "size")


def test_the_second_chsims_is_laid_out_like_the_first(tmp_path, capsys):
    touch(tmp_path, "Raw/tv_0001/00000.mp4", "Raw/tv_0001/00001.mp4", "Raw/tv_0002/00003.mp4")
    (tmp_path / "meta.csv").write_text(
        "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
        'tv_0001,0,"你好，再见",0.6,0.2,0.4,0.8,Positive,train\ntv_0001,1,,0,0,0,0,Neutral,test\n',
        encoding="utf-8",
    )
    rows = read_source(str(tmp_path))
    assert column(rows, "video_id") == ["tv_0001/00000", "tv_0001/00001", "tv_0002/00003"]
    assert column(rows, "subtitle") == ["你好，再见", None, None]
    assert column(rows, "language") == ["zh", "zh", "zh"]
    said = capsys.readouterr().err.splitlines()
    assert "2 clips lost the zeros" in said[0]
    assert "meta.csv does not name 1 clips" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("video_id,clip_id,label\na,1,0\n", "meta.csv has no column text; CH-SIMS' meta.csv has them"),
        ('video_id,clip_id,text\na,1,"嗯\na,2,好\n', "meta.csv"),
        ("video_id,clip_id,text\na,,好\n", "has no video_id or no clip_id"),
    ],
)
def test_a_bad_table_of_the_second_chsims_is_refused(tmp_path, table, said):
    touch(tmp_path, "Raw/a/1.mp4")
    (tmp_path / "meta.csv").write_text(table, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_source(str(tmp_path))


def test_a_meta_csv_of_something_else_is_no_table_of_chsims(tmp_path, capsys):
    touch(tmp_path, "Raw/a.mp4")
    (tmp_path / "meta.csv").write_text("camera,date\nleft,2020\n")
    assert column(read_source(str(tmp_path)), "video_id") == ["Raw/a"]
    assert "1 .csv" in capsys.readouterr().err


def test_mer_layout(tmp_path):
    touch(tmp_path, "video/sample_1.mp4", "video/sample_2.mp4", "video/sample_3.mp4")
    (tmp_path / "subtitle_chieng.csv").write_text(
        "name,chinese,english\nsample_1,你好,hello\nsample_2,,only english\n", encoding="utf-8-sig"
    )
    rows = read_source(str(tmp_path))
    assert column(rows, "video_id") == ["sample_1", "sample_2", "sample_3"]
    assert column(rows, "subtitle") == ["你好", "only english", None]
    assert column(rows, "language") == ["zh", "en", None]


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("label.csv", "video_id,clip_id,text,label", "video_0001,0001,嗯, 好,0.8"),
        ("subtitle_chieng.csv", "name,chinese,english", "sample_1,嗯, 好,well"),
    ],
)
def test_a_comma_too_many_in_the_table_of_a_known_layout_is_refused(tmp_path, name, header, row):
    touch(tmp_path, "Raw/video_0001/0001.mp4", "video/sample_1.mp4")
    (tmp_path / name).write_text(f"{header}\n{row}\n", encoding="utf-8")
    counts = f"row 2 has {row.count(',') + 1} fields, its header has {header.count(',') + 1}"
    with pytest.raises(InputError, match=rf"{tmp_path}/{name} {counts}"):
        read_source(str(tmp_path))


def test_clips_of_chsims_that_its_table_lost_are_found_and_said(tmp_path, capsys):
    touch(tmp_path, *(f"Raw/video_0001/000{n}.mp4" for n in (1, 2, 3)), "Raw/video_0001/0010.mp4")
    (tmp_path / "label.csv").write_text(
        "video_id,clip_id,text,label\nvideo_0001,1,我很高兴,0.8\nvideo_0001,10.0,nan,0\n", encoding="utf-8"
    )
    rows = read_source(str(tmp_path))
    assert column(rows, "video_id") == [f"video_0001/{n}" for n in ("0001", "0002", "0003", "0010")]
    assert column(rows, "subtitle") == ["我很高兴", None, None, None]
    assert None not in column(rows, "size")
    said = capsys.readouterr().err.splitlines()
    assert "2 clips lost the zeros in front of their numbers" in said[0]
    assert "does not name 2 clips that are in Raw/, such as video_0001/0002; they are labelled too" in said[1]
    assert len(said) == 2


def test_two_texts_for_one_clip_of_mer_are_refused_by_row(tmp_path):
    touch(tmp_path, "video/s1.mp4")
    (tmp_path / "subtitle_chieng.csv").write_text(
        "name,chinese,english\ns1,好,well\ns1,不,no\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match="row 3: 's1' has another text further up"):
        read_source(str(tmp_path))
