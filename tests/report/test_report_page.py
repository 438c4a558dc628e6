import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emo.report.build import render
from emo.report.gallery import choose_gallery, gallery_items
from emo.report.summary import summarise
from report_tables import clip, description, judgment, report_tables, vote

PAYLOAD = "</script></style>'\"><script>alert(1)</script><img src=x onerror=alert(1)><!--{{ 7*7 }}&lt;"


def jpeg(width: int = 160, height: int = 90, seed: int = 0) -> bytes:
    """Noise: the worst that a JPEG can be asked to hold."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=92)
    return data.getvalue()


def page_of(
    tables: dict[str, pa.Table], runs: list[dict[str, Any]] = (), count: int = 60, out: str = "out"
) -> str:
    summary = summarise(**{name: [table] for name, table in tables.items()})
    return render(summary, gallery_items(choose_gallery(summary, count), **tables), list(runs), out)


class Page(HTMLParser):
    """The elements with their attributes, and the text, of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.comments = 0
        self._text: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.raw[self.cdata_elem] = self.raw.get(self.cdata_elem, "") + data
        else:
            self._text.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments += 1

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """What the browser would build, without the values."""
        return [(tag, tuple(sorted(attributes))) for tag, attributes in self.elements]

    def values(self, *names: str) -> list[str]:
        return [value or "" for _, found in self.elements for name, value in found.items() if name in names]


def page_with(text: str) -> str:
    """A page where `text` stands in every string that comes from outside."""
    failed = {"error": text, "error_message": text, "status": "failed"}
    tables = report_tables(
        clips=[
            clip(
                text,
                uri=text + "uri",
                frames=[jpeg()],
                frame_times=[0.5],
                duration_s=1.0,
                transcript=text,
                transcript_source=text,
                language=text,
            ),
            clip(text + "2", **failed),
        ],
        descriptions=[
            description(text, text, text, degraded=[text], model=text, finish_reason="length"),
            description(text, text, sample=1, **failed),
        ],
        votes=[vote(text, text, [text])],
        judgments=[
            judgment(
                text,
                [text],
                0.5,
                evidence=[{"label": text, "score": 1.0, "voters": [text + "#0", text]}],
                description="other" + text,
                judge=text,
            )
        ],
    )
    run = dict.fromkeys(("run_id", "command", "started", "source", "error", "emo_version", "outcome"), text)
    run["steps"] = [{"name": text, "rows": text, "seconds": 1.0, "failed": text}]
    return page_of(tables, [run, {**run, "run_id": ""}], out=text)


PLAIN = Page(page_with("plain")).shape()


def test_markup_in_any_field_is_text():
    page = Page(page_with(PAYLOAD))
    assert page.shape() == PLAIN
    assert page.raw["script"] == resources.files("emo.report").joinpath("page.js").read_text("utf-8")
    assert page.comments == 0
    assert page.text.count("<script>alert(1)</script>") >= 20
    assert "{{ 7*7 }}&lt;" in page.text
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in page.values("src"))


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_changes_the_shape_of_the_page(text):
    assert Page(page_with("x" + text + "x")).shape() == PLAIN


def test_characters_that_reorder_text_are_shown_as_what_they_are():
    html = page_with("photo\u202egpj.exe\u2066\u2069\u200f\u061c\x00\x1b\x85\r\n")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\x00\x1b\x85\r]", html)
    assert "photo\ufffdgpj.exe" in html


def test_the_page_names_nothing_outside_itself():
    page = Page(page_with("plain"))
    assert all(
        value.startswith(("data:", "#")) for value in page.values("src", "href", "poster", "data", "action")
    )
    assert not re.search(r"url\(|@import|https?:", page.raw["style"] + page.raw["script"])
    assert {"iframe", "object", "embed", "base"}.isdisjoint(tag for tag, _ in page.elements)
    assert not page.values("style", "srcset")


def test_the_policy_allows_the_own_script_and_style_and_no_network():
    page = Page(page_with("plain"))
    (policy,) = (found["content"] for _, found in page.elements if found.get("http-equiv"))
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()
        assert directives[f"{name}-src"] == f"'sha256-{digest}'"


def test_the_same_input_gives_the_same_page():
    assert page_with("plain") == page_with("plain")


def test_nothing_at_all_is_a_page_too():
    text = Page(page_of(report_tables())).text
    assert "No clips yet" in text
    assert "No run is recorded." in text
    assert "Nothing failed." in text


def test_a_page_where_every_clip_failed():
    text = Page(page_of(report_tables(clips=[clip("a", "truncated"), clip("b", "empty")]))).text
    assert "0 of 2 clips labelled" in text
    assert "it was truncated" in text
    assert "All 2 clips." in text
    assert "neutral" not in text


def test_what_ran_is_said_with_the_time_of_each_step():
    run = {
        "run_id": "20261120T230135Z",
        "command": "label",
        "started": "2026-11-20T23:01:35+00:00",
        "finished": "2026-11-20T23:04:50+00:00",
        "outcome": "done",
        "source": "clips",
        "steps": [
            {"name": "describe:voice", "rows": 1234, "ok": 1230, "failed": 4, "skipped": 5, "seconds": 75.2}
        ],
    }
    earlier = {**run, "run_id": "20261119T230135Z", "outcome": "running", "finished": None, "steps": []}
    text = Page(page_of(report_tables(clips=[clip("a")]), [earlier, run])).text
    assert "emo label clips · 20 November 2026, 23:01 UTC · 3 min 15 s" in text
    assert "describe: voice 1,234 1,230 4 5 1 min 15 s" in text
    assert "Earlier runs (1)" in text
    assert text.count("did not finish") == 1


def test_failures_beyond_the_first_files_are_counted_and_the_command_is_named():
    clips = [clip(f"{i:03d}", "empty") for i in range(30)]
    text = Page(page_of(report_tables(clips=clips), out="s3://bucket/my labels", count=5)).text
    assert "and 10 more: emo failures --out 's3://bucket/my labels'" in text
    assert "5 of 30 clips shown:" in text


def test_a_frame_that_is_no_image_is_said():
    text = Page(
        page_of(report_tables(clips=[clip("a", frames=[b"not a jpeg", jpeg()], frame_times=[0.0, 1.0])]))
    ).text
    assert "1 frame could not be drawn" in text


def test_evidence_shows_the_voters_and_their_words():
    tables = report_tables(
        clips=[clip("a")],
        votes=[vote("a", "face", ["glad"]), *(vote("a", "llm", ["happy"], sample) for sample in range(3))],
        judgments=[
            judgment(
                "a",
                ["happy"],
                0.8,
                evidence=[{"label": "happy", "score": 0.9, "voters": ["face#0", "llm#0", "llm#2"]}],
            )
        ],
    )
    assert "face said “glad” , llm 2 of 3" in Page(page_of(tables)).text


def test_long_answers_and_many_frames_keep_the_page_small():
    frames = [jpeg(448, 252, seed) for seed in range(8)]
    ids = [f"clip{i:03d}" for i in range(60)]
    tables = report_tables(
        clips=[
            clip(i, frames=frames, frame_times=[float(t) for t in range(8)], transcript="word " * 20_000)
            for i in ids
        ],
        descriptions=[
            description(i, f"expert{e}", "It is said that " * 5_000, sample=s)
            for i in ids
            for e in range(5)
            for s in range(3)
        ],
        votes=[vote(i, f"expert{e}", [f"label {n}" for n in range(200)]) for i in ids for e in range(5)],
        judgments=[judgment(i, [f"label {n}" for n in range(200)], 0.5) for i in ids],
    )
    html = page_of(tables)
    assert len(html.encode()) < 10_000_000
    assert html.count("<img ") >= 60 * 3
    assert "cut here; the full text is in the clips table" in html


def test_a_hundred_thousand_clips_make_a_page_of_the_same_size_as_a_hundred():
    def table(count: int) -> dict[str, pa.Table]:
        ids = pa.array([f"folder/clip{i:06d}" for i in range(count)])
        base = report_tables(clips=[clip("x")], judgments=[judgment("x", ["happy", "proud"], 0.5)])
        base["votes"] = pa.concat_tables(
            report_tables(votes=[vote("x", name, ["happy", "glad"])])["votes"] for name in "abc"
        )
        return {
            name: pa.concat_tables(
                part.take(pa.repeat(row, count)).set_column(0, part.schema.field("video_id"), [ids])
                for row in range(len(part))
            )
            if len(part := base[name])
            else part
            for name in base
        }

    small, large = (page_of(table(count)) for count in (100, 100_000))
    assert "100,000 of 100,000 clips labelled" in large
    assert "60 of 100,000 clips shown:" in Page(large).text
    assert len(large) < 1.2 * len(small)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium, which is not installed here")
def test_a_browser_runs_the_filter_and_none_of_the_data(tmp_path):
    page = tmp_path / "index.html"
    page.write_text(page_with(PAYLOAD), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    done = subprocess.run(
        [
            "chromium",
            *flags.split(),
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    dom = Page(done.stdout)
    (form,) = (attributes for tag, attributes in dom.elements if tag == "form")
    assert "hidden" not in form  # the script ran: its hash is the one that the policy names
    assert "Content Security Policy" not in done.stderr
    assert sum(tag == "script" for tag, _ in dom.elements) == 1
