"""What a manifest says that a clip may be used for holds wherever clips are used."""

import json

import pytest

import emo
from emo import uses
from emo.cli import main
from emo.clips import ingested
from emo.config import load_config
from emo.errors import InputError
from emo.finetuning.listing import list_samples
from emo.finetuning.prepared import check_refused
from emo.finetuning.settings import Finetune
from emo.jobs import caption
from emo.jobs.describe import DescribeStep
from emo.jobs.ingest import IngestStep, failed_before, note_said
from emo.review.consensus import gold_of
from emo.review.desk import Desk, Rules
from emo.sources.source import read_source
from emo.store.s3 import S3Settings
from emo.store.tables import CAPTIONS, CLIPS
from review_outs import Judged, answer, make_out, write
from review_server import Client, review_server
from test_forget import caption as caption_row

FIRST, LATER = "20261201T000000Z", "20261202T000000Z"


def manifest_of(tmp_path, **said):
    """A manifest of files that are there, each with its use; None: an empty cell."""
    for name in said:
        (tmp_path / f"{name}.mp4").write_bytes(b"1")
    path = tmp_path / "list.csv"
    path.write_text("uri,use\n" + "".join(f"{name}.mp4,{use or ''}\n" for name, use in said.items()))
    return read_source(str(path))


@pytest.fixture
def out(tmp_path):
    storage = make_out(tmp_path / "out", [Judged(name) for name in "abcd"])
    note_said(storage, FIRST, manifest_of(tmp_path, a="label", b="none", c="train", d=None))
    return storage


def ids(rows):
    return sorted(rows.column("video_id").to_pylist())


def test_a_clip_of_no_use_is_not_even_looked_up(tmp_path, capsys):
    manifest = manifest_of(tmp_path, a="Label", b="none")
    rows = {row["video_id"]: row for row in manifest.to_pylist()}
    assert (rows["a"]["use"], rows["a"]["size"]) == ("label", 1)
    assert (rows["b"]["use"], rows["b"]["size"], rows["b"]["modified"]) == ("none", None, None)
    config = load_config()
    storage = make_out(tmp_path / "out", [])
    step = IngestStep(config.ingest, config.s3, manifest)
    assert ids(step.left(storage, step.given(storage))) == ["a"]


def test_a_use_that_nobody_knows_is_refused_by_its_row(tmp_path):
    with pytest.raises(InputError, match=r"list.csv row 2: use is 'research'; expected label, train, none"):
        manifest_of(tmp_path, a="research")


def test_a_clip_that_may_not_be_trained_on_reaches_neither_captions_nor_finetuning(out, tmp_path):
    assert ids(ingested(out)) == ["a", "c", "d"]
    assert ids(caption.ingested(out)) == ["c", "d"]
    [expert, *_] = load_config().experts
    assert ids(DescribeStep(expert).given(out)) == ["a", "c", "d"]

    write(out, CAPTIONS, [caption_row(name) for name in "abcd"])
    listed, _ = list_samples(out, Finetune(model="m", other_senses=True, validation={"samples": 0}))
    errors = {one.clip: one.entry.error for one in listed}
    assert errors == {"a": "not_for_training", "b": "not_for_training", "c": None, "d": None}
    # They are left out on purpose: none of them is a fault.
    check_refused([one.entry for one in listed], 0.0)


def test_ms_swift_gets_no_caption_of_such_a_clip(out, tmp_path):
    write(
        out,
        CAPTIONS,
        [
            {
                **caption_row(name),
                "frames": [],
                "audio": False,
                "messages": json.dumps(
                    [{"role": "user", "content": "?"}, {"role": "assistant", "content": name}]
                ),
            }
            for name in "abcd"
        ],
    )
    to = tmp_path / "to"
    assert main(["export", "--out", out.url, "--to", str(to), "--format", "ms-swift"]) == 0
    rows = [json.loads(line) for line in (to / "train.jsonl").read_text().splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["c", "d"]


def test_a_piece_of_a_recording_may_be_used_as_the_recording(tmp_path):
    pieces = ("a/000000000-000001000", "b/000001000-end", "c/000000000-000001000")
    out = make_out(tmp_path / "out", [Judged(name) for name in pieces])
    note_said(out, FIRST, manifest_of(tmp_path, a="label", b="none"))
    assert ids(ingested(out)) == [pieces[0], pieces[2]]
    assert ids(caption.ingested(out)) == [pieces[2]]


def test_the_last_word_counts_and_an_empty_cell_is_none(out, tmp_path):
    note_said(out, LATER, manifest_of(tmp_path, a="train", b=None, c=None, d="label"))
    said = dict(zip(*(uses.known(out).column(name).to_pylist() for name in ("video_id", "use")), strict=True))
    assert said == {"a": "train", "b": "none", "c": "train", "d": "label"}
    # The clips themselves are as they were: nothing is done anew for it.
    assert not set(ingested(out).column("run_id").to_pylist()) & {FIRST, LATER}
    # What is said again is not written again.
    assert uses.note(out, "20261203T000000Z", manifest_of(tmp_path, a="train", d="label")) == 0


def test_a_retry_reads_no_file_that_may_not_be_read(tmp_path):
    storage = make_out(tmp_path / "out", [])
    failed = {"status": "failed", "error": "unreadable", "uri": str(tmp_path / "x.mp4")}
    write(storage, CLIPS, [{**failed, "video_id": name} for name in "ab"])
    note_said(storage, FIRST, manifest_of(tmp_path, a="none"))
    assert ids(failed_before(storage, S3Settings())) == ["b"]


def test_exports_say_what_a_clip_may_be_used_for(out, tmp_path):
    assert main(["export", "--out", out.url, "--to", str(tmp_path / "to"), "--format", "fiftyone"]) == 0
    samples = json.loads((tmp_path / "to/samples.json").read_text())["samples"]
    assert {one["video_id"]: one["use"] for one in samples} == {
        "a": "label",
        "c": "train",
        "d": None,
    }


def test_a_person_is_told_what_is_shut_out(out, tmp_path, capsys):
    capsys.readouterr()
    note_said(out, LATER, manifest_of(tmp_path, b="none", new="none"))
    assert "2 clips have the use none and are not read; OUT holds 1 of them" in capsys.readouterr().err


def test_a_clip_of_no_use_is_neither_shown_nor_read_nor_learned_from_any_more(out, tmp_path):
    for name in "ab":
        answer(out, name, ["relieved"])
    assert [row["video_id"] for row in emo.read(out.url).to_pylist()] == ["a", "c", "d"]
    assert gold_of(out).keys() == {"a"}
    desk = Desk(out, Rules())
    assert not desk.has("b")
    assert {one.video_id for one in desk.library.candidates()} == {"a", "c", "d"}
    assert main(["report", "--out", out.url]) == 0
    page = out.read("report/index.html").decode()
    assert page.count("<article") == 3
    assert [f"<code>{name}</code>" in page for name in "ab"] == [
        f"<code>{name}</code>" in page for name in "cb"
    ]


def test_the_page_of_a_running_review_serves_no_file_of_such_a_clip(out, tmp_path):
    with review_server(out.url, "--blind", "0") as running:
        ann = Client(running.addresses["ann"])
        assert ann.send("GET", "/media/video?video_id=b")[0] == 404
        assert ann.send("GET", "/media/video?video_id=a")[0] == 200
        note_said(out, LATER, manifest_of(tmp_path, a="none"))
        ann.post("/api/queue", {})
        assert ann.send("GET", "/media/video?video_id=a")[0] == 404
