"""What the report says of reviews."""

import re
from html import unescape

import emo
from emo.cli import main
from emo.report import write as report
from emo.report.people import reviewed
from emo.review.consensus import read_reviews
from review_outs import Judged, answer, make_out

PAYLOAD = "</script></style>'\"><script>alert(1)</script><img src=x onerror=alert(1)><!--{{ 7*7 }}&lt;"


def text_of(html):
    """The page without its elements."""
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def reviewed_out(tmp_path):
    storage = make_out(tmp_path / "out", [Judged(name) for name in "abcdef"])
    answer(storage, "a", ["happy", "tired"], queue="random")
    answer(storage, "b", ["happy", "relieved"], queue="random", comment=PAYLOAD)
    answer(storage, "c", None)
    answer(storage, "d", ["angry"])
    answer(storage, "d", ["happy"], reviewer=PAYLOAD[:90])
    answer(storage, "e", ["glad", "tired"])
    return storage


def test_what_changed_and_what_counts_is_counted_by_meaning(tmp_path):
    found = reviewed(read_reviews(reviewed_out(tmp_path)))
    assert (found.agreed, found.changed) == (4, 2)
    assert {name: one.changed for name, one in found.by_clip.items()} == {
        "a": False,
        "b": True,
        "c": True,
        "d": False,
        "e": False,
    }
    assert [(one.name, one.clips) for one in found.taken] == [("tired", 3), ("happy", 2)]
    assert {one.name for one in found.added} == {"angry", "glad", "relieved"}
    assert found.shown_first()[:2] == ["b", "c"]


def test_the_page_shows_reviews_and_every_text_stays_text(tmp_path):
    out = reviewed_out(tmp_path)
    assert main(["report", "--out", out.url]) == 0
    html = out.read(report.PATH).decode()
    text = text_of(html)
    assert "6 reviews of 5 clips by 2 reviewers, 1 clips unusable" in text
    assert "right as shown: 50% of 2 random clips (95 % interval 9% to 91%)" in text
    assert "4 clips have labels that people agree on; on 2 of them these are others" in text
    assert "they do not agree, so the machine's labels count" in text
    assert html.count("<script>") == 1
    assert PAYLOAD not in html
    assert "alert(1)" in text
    # What a reader of the labels gets is what the page calls counted.
    rows = {row["video_id"]: row["labels"] for row in emo.read(out.url).to_pylist()}
    assert rows["b"] == ["happy", "relieved"]


def test_how_often_labels_are_right_is_shown_by_agreement(tmp_path):
    sure = {f"clip{number:02d}": number / 24 for number in range(24)}
    out = make_out(tmp_path / "out", [Judged(name, agreement=value) for name, value in sure.items()])
    for name, value in sure.items():
        answer(out, name, ["happy", "tired"] if value > 0.5 else ["angry"])
    assert main(["report", "--out", out.url]) == 0
    text = text_of(out.read(report.PATH).decode())
    assert "Right labels by agreement" in text
    assert "From an agreement of 0.58 on, labels are surely more often right" in text
    # Of one clip nothing can be said.
    few = make_out(tmp_path / "few", [Judged("a", agreement=0.5)])
    answer(few, "a", ["happy"])
    assert main(["report", "--out", few.url]) == 0
    assert "Right labels by agreement" not in few.read(report.PATH).decode()


def test_a_report_without_reviews_does_not_speak_of_them(tmp_path):
    out = make_out(tmp_path / "out", [Judged("a")])
    assert main(["report", "--out", out.url]) == 0
    assert "What people say" not in out.read(report.PATH).decode()


def test_a_review_makes_the_report_old(tmp_path):
    out = make_out(tmp_path / "out", [Judged("a")])
    assert main(["report", "--out", out.url]) == 0
    assert report._is_newest(out)
    answer(out, "a", ["sad"])
    assert not report._is_newest(out)
