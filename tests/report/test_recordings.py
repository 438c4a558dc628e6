"""Recordings over time: what is counted, what is drawn, and that no name becomes markup."""

import re
from itertools import pairwise

import pyarrow as pa

from emo.report.build import render
from emo.report.gallery import choose_gallery, gallery_items
from emo.report.recordings import (
    NO_LABEL,
    NOT_JUDGED,
    OTHER,
    SEGMENT_COLUMNS,
    STRIPS,
    faces_of,
    long_clips,
    recordings,
)
from emo.report.summary import summarise
from emo.sources.times import piece_id
from emo.store.tables import SEGMENTS
from report_tables import RUN, clip, judgment, report_tables

PAYLOAD = "</svg></title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


def piece(recording, start, end, labels=("happy",), agreement=1.0, error=None):
    name = piece_id(recording, start, end)
    times = {"start_s": float(start), "end_s": float(end), "duration_s": float(end - start)}
    return (
        clip(name, error, **{**times, "uri": f"/films/{recording}.mp4"}),
        None if labels is None else judgment(name, labels, agreement),
    )


def tables_of(pieces, *more):
    clips = [one for one, _ in pieces] + list(more)
    return report_tables(clips=clips, judgments=[one for _, one in pieces if one])


def segments(*rows):
    given = [
        {"status": "ok", "run_id": RUN, "uri": "u", "recording": "a", "video_id": str(number), **row}
        for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(given, schema=SEGMENTS.schema).select(list(SEGMENT_COLUMNS))


def found(pieces, *rows):
    tables = tables_of(pieces)
    return recordings(segments(*rows), tables["clips"], tables["judgments"])


def page(pieces, *rows, more=(), faces=None, count=60):
    tables = tables_of(pieces, *more)
    summary = summarise(**{name: [table] for name, table in tables.items()})
    items = gallery_items(choose_gallery(summary, count), **tables, faces=faces)
    split = recordings(segments(*rows), tables["clips"], tables["judgments"])
    return render(summary, items, [], "out", recordings=split, long_clips=long_clips(tables["clips"]))


def test_of_whole_files_there_is_nothing_to_draw():
    tables = report_tables(clips=[clip("a")], judgments=[judgment("a", ["happy"])])
    assert recordings(segments(), tables["clips"], tables["judgments"]) is None
    assert "Recordings over time" not in page([], more=[clip("a")])


def test_pieces_are_grouped_by_their_file_and_what_was_left_out_is_counted():
    short = {"kept": False, "reason": "shorter than 1 s"}
    told = found(
        [piece("b", 0, 4), piece("a", 4, 8), piece("a", 0, 4, ["sad"])],
        *[short] * 3,
        {"kept": False, "reason": "no face"},
        {"kept": True},
        {"recording": "broken", "status": "failed", "error": "damaged", "error_message": "it is broken"},
    )
    assert (told.recordings, told.pieces) == (2, 3)
    assert told.left_out == (("shorter than 1 s", 3), ("no face", 1))
    assert (told.failed_rows, told.failed) == (1, (("broken", "damaged", "it is broken"),))
    a, b = told.strips
    assert (a.name, a.uri, a.length_s, a.pieces, a.changes) == ("a", "/films/a.mp4", 8.0, 2, 1)
    assert [(cell.start_s, cell.end_s, cell.family) for cell in a.cells] == [(0, 4, "sadness"), (4, 8, "joy")]
    assert [cell.labels for cell in b.cells] == [("happy",)]


def test_what_has_no_family_is_told_apart():
    told = found(
        [
            piece("a", 0, 4, ["wholly unheard of"]),
            piece("a", 4, 8, []),
            piece("a", 8, 12, None),
            piece("a", 12, 16, ["happy"], error="damaged"),
            piece("a", 16, 20, ["happy"], None),
        ]
    )
    (strip,) = told.strips
    assert [cell.family for cell in strip.cells] == [OTHER, NO_LABEL, NOT_JUDGED, NOT_JUDGED, "joy"]
    assert strip.cells[-1].agreement is None


def test_an_open_end_is_that_of_the_clip():
    (one, judged) = piece("a", 10, 14)
    one["end_s"] = None
    assert found([(one, judged)]).strips[0].length_s == 14.0


def test_many_pieces_of_a_long_recording_share_cells_by_time():
    pieces = [piece("a", at, at + 1, ["happy"] if at % 3 else ["sad"]) for at in range(30_000)]
    (strip,) = found(pieces).strips
    assert strip.pieces == 30_000
    assert len(strip.cells) <= 24_000
    assert sum(cell.pieces for cell in strip.cells) == 30_000
    assert all(one.end_s <= other.start_s for one, other in pairwise(strip.cells))
    merged = next(cell for cell in strip.cells if cell.pieces > 1)
    assert merged.labels == ()


def test_of_ten_thousand_recordings_those_that_change_most_are_drawn_and_the_page_stays_small():
    pieces = []
    for number in range(10_000):
        moods = [["happy"], ["sad"]] if number % 100 == 0 else [["happy"], ["happy"]]
        pieces += [piece(f"r{number:05d}", at * 5, at * 5 + 5, moods[at % 2]) for at in range(4)]
    told = found(pieces)
    assert (told.recordings, told.pieces, len(told.strips)) == (10_000, 40_000, STRIPS)
    names = [strip.name for strip in told.strips]
    assert names == sorted(names)
    assert {f"r{number:05d}" for number in range(0, 10_000, 100)} <= set(names)
    html = page(pieces, count=0)
    assert len(html) < 1_000_000
    assert "200 of 10,000 shown" in html


def test_three_films_of_two_hours_are_drawn_piece_by_piece():
    pieces = [piece(name, at, at + 5, ["happy"]) for name in "abc" for at in range(0, 7200, 6)]
    told = found(pieces)
    assert [len(strip.cells) for strip in told.strips] == [1200] * 3
    assert len(page(pieces, count=0)) < 2_000_000


def test_a_click_goes_to_the_piece():
    html = page([piece("a", 0, 4, ["sad"]), piece("a", 65, 69, ["happy"], 0.5)], count=1)
    (card,) = re.findall(r'id="clip-1"[^>]*><bdi>([^<]*)', html)
    links = re.findall(
        r'<a href="([^"]+)"><rect class="family-(\w+)"[^>]*opacity="([\d.]+)"><title>([^<]*)', html
    )
    assert len(links) == 2
    assert links[1][1:] == ("joy", "0.65", "0:01:05 to 0:01:09: happy, agreement 0.50")
    shown = 0 if card.startswith("a/000000000") else 1
    assert links[shown][0] == "#clip-1"
    other = ("/films/a.mp4#t=65,69", "/films/a.mp4#t=0,4")[shown]
    assert links[1 - shown][0] == f"file://{other}"


def test_a_name_does_not_become_markup():
    html = page([piece(PAYLOAD, 0, 4, [PAYLOAD])], {"kept": False, "reason": PAYLOAD})
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "49" not in re.findall(r"<title>[^<]*</title>", html)[-1]
    assert 'href="javascript' not in page([piece("a", 0, 4)])


def test_several_faces_are_a_note_of_the_clip():
    pieces = [piece("a", 0, 4), piece("a", 4, 8)]
    names = [one["video_id"] for one, _ in pieces]
    counted = segments({"video_id": names[0], "people": 3}, {"video_id": names[1]})
    assert faces_of(counted, names) == {names[0]: 3}
    html = page(pieces, faces={names[0]: 3})
    assert html.count("3 faces are in the picture") == 1


def test_long_clips_are_counted_and_what_to_do_is_said():
    html = page([piece("a", 0, 100)], more=[clip("long", duration_s=61.0), clip("short", duration_s=60.0)])
    assert "1 clip lasts more than a minute" in html
    assert "split.by=auto" in html
