"""Clips that are forgotten are nowhere in OUT any more, and what cannot be reached is said."""

import dataclasses
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import synthetic_clips
from emo.captions.messages import Turn
from emo.cli import main
from emo.errors import InputError, LeaseHeldError
from emo.finetuning import prepared, record
from emo.finetuning.settings import Finetune
from emo.forgetting import clips_meant, read_list
from emo.jobs import forget as job
from emo.store import committed
from emo.store.lease import Lease
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, DRAFT_LABELS, DRAFTS, RETRIES, SEGMENTS, USES
from review_outs import VIDEO, Judged, answer, make_out, write

NAME = "zora-keen/interview 41"
OTHER = "kept/one"
WORDS = "My name is Zora Keen-Ottersby."


def draft(video_id):
    key = {"video_id": video_id, "expert": "voice", "prompt": "p", "window": "0-100", "sample": 0}
    return {**key, "question": "What?", "gold_shown": "label_free", "text": f"{video_id} is sad"}


def caption(video_id):
    said = [
        {"role": "user", "content": "<image><audio>What?"},
        {"role": "assistant", "content": f"{video_id}."},
    ]
    return {
        "caption_id": f"{video_id}:voice:p:0-100:0",
        "video_id": video_id,
        "split": "train",
        "messages": json.dumps(said),
        "frames": [0],
        "audio": True,
        "labels": ["sad"],
        "source": {"window": "0-100"},
        "filters": [],
    }


@pytest.fixture
def out(tmp_path):
    """An OUT with everything that a run, people, a night and a training leave of two clips."""
    pictures = [synthetic_clips.clip(number, frames=2) for number in (1, 2)]
    uris = [tmp_path / "videos" / f"{name}.mp4" for name in (NAME, OTHER)]
    for uri in uris:
        uri.parent.mkdir(parents=True)
        uri.write_bytes(VIDEO.read_bytes())
    clips = [
        Judged(name, uri=str(uri), transcript=said, frames=seen.frames, audio=seen.audio)
        for name, uri, said, seen in zip((NAME, OTHER), uris, (WORDS, "Hm."), pictures, strict=True)
    ]
    storage = make_out(tmp_path / "out", clips)
    names = (NAME, OTHER)
    write(storage, DRAFTS, [draft(name) for name in names])
    key = [{name: row[name] for name in DRAFT_LABELS.key} for row in map(draft, names)]
    write(storage, DRAFT_LABELS, [{**row, "labels": ["sad"]} for row in key])
    write(storage, CAPTIONS, [caption(name) for name in names])
    for table, more in ((RETRIES, {"step": "ingest", "attempts": 1}), (USES, {"use": "train"})):
        rows = [{"video_id": name, "run_id": "20261120T230135Z", **more} for name in names]
        committed.commit(storage, table.name, table, "x", pa.Table.from_pylist(rows, schema=table.schema))
    for name in names:
        answer(storage, name, ["angry"], comment=f"I know {name}")
    run = json.loads(storage.read("runs/20261120T230135Z.json"))
    storage.write("runs/20261120T230135Z.json", json.dumps({**run, "error": f"{uris[0]} broke"}).encode())
    night(storage)
    trained(storage, pictures)
    assert main(["report", "--out", storage.url]) == 0
    return storage


def night(storage):
    from emo.nightly import summary

    nothing = dict.fromkeys(("error", "estimated", "spent", "off_by", "compacted", "bound", "report"))
    told = {"run_id": "20261120T230135Z", "source": "videos", "out": storage.url, "outcome": "done"}
    moment = "2026-11-20T23:01:35+00:00"
    counts = {"retried": 0, "given_up": 0, "retry_limit": 3, "exit_code": 0, "steps": [], "currency": "USD"}
    times = {"started": moment, "finished": moment}
    summary.write(storage, {**nothing, **told, **times, **counts, "notes": [f"{NAME}: was odd"]})


def trained(storage, pictures):
    """A finetuning run that has prepared both clips, and answered about them."""
    place = Storage(f"{storage.url}/finetune/first", storage.s3)
    shown = [
        dataclasses.replace(clip, video_id=name) for clip, name in zip(pictures, (NAME, OTHER), strict=True)
    ]
    prepared.write_clips(place, "data/clips-00000.parquet", shown)
    turns = (Turn("user", "What?"), Turn("assistant", "So."))
    entries = [
        prepared.Entry(f"{name}:voice", "train", turns, file="data/clips-00000.parquet", place=number)
        for number, name in enumerate((NAME, OTHER))
    ]
    prepared.write_entries(place, [prepared.table_of(entries)])
    begun = record.begin(place, Finetune(model="m"), "data", "base")
    counts = {"train": 2, "held_out": 2, "refused": {}}
    record.note(place, begun, "done", result={"metrics": {"step": 1}, "counts": counts})
    rows = [{"sample": f"{name}:voice", "reference": f"of {name}", "answer": "sad"} for name in (NAME, OTHER)]
    for path in ("answers/base.json", "answers/step-0000001.json"):
        place.write(path, record.as_json({"metrics": {}, "rows": rows}))
    place.write("trained.json", record.as_json({"sample": f"{NAME}?", "layers": []}))
    place.write("curve.json", record.as_json([]))
    place.write("index.html", f"<p>{NAME}</p>".encode())


def list_of(tmp_path, *names):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    return str(path)


def found(folder, *wanted):
    """The files below a folder that hold one of these, in their names or their bytes; Parquet unpacked."""
    hits = []
    for path in sorted(Path(folder).rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":
            data += repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
        data += str(path.relative_to(folder)).encode()
        # A frame stands in the text of the rows as Python writes bytes.
        if any(one in data or repr(one)[2:-1].encode() in data for one in wanted):
            hits.append(str(path.relative_to(folder)))
    return hits


def frame_of(out, name):
    rows = committed.read_file(out, committed_clips(), next(iter(committed.files(out, "clips"))))
    return next(row["frames"][0] for row in rows.to_pylist() if row["video_id"] == name)


def committed_clips():
    from emo.store.tables import CLIPS

    return CLIPS


def test_nothing_of_a_forgotten_clip_is_left_and_all_of_the_others_is(out, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(committed, "LEAST_FILES", 1)
    # Another run: this one remembers what it has read.
    run = Storage(out.url)
    committed.keep_index(run)
    committed.read_newest(run, "clips", committed_clips(), ["status"])
    assert found(f"{out.url}/index", b"zora-keen") == ["clips.parquet"]
    for name in ("csv", "huggingface", "ms-swift", "label-studio"):
        media = ["--media"] * (name in ("csv", "huggingface"))
        assert main(["export", "--out", out.url, "--to", str(tmp_path / name), "--format", name, *media]) == 0
    places = [out.url, *(tmp_path / name for name in ("csv", "huggingface", "ms-swift", "label-studio"))]
    traces = [b"zora-keen", b"Zora Keen-Ottersby", frame_of(out, NAME)]
    before = {str(place): len(found(place, *traces)) for place in places}
    assert before[out.url] > 15
    assert all(before.values()), before
    capsys.readouterr()

    command = ["forget", "--out", out.url, "--list", list_of(tmp_path, NAME), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clips"] == 1
    expected = ["captions", "clips", "descriptions", "draft_labels", "drafts", "judgments", "retries"]
    assert sorted(told["rows"]) == [*expected, "reviews", "uses", "votes"]
    assert {str(place): found(place, *traces) for place in places} == {str(place): [] for place in places}
    reached = " ".join(told["beyond"])
    assert "finetune/first/best" in reached
    assert f"{NAME}.mp4" in reached

    # The other clip is as it was, also where files were written anew.
    assert frame_of(out, OTHER)
    for table in ("judgments", "votes", "reviews", "captions", "drafts"):
        assert found(f"{out.url}/{table}", OTHER.encode()), table
    for name in ("csv", "huggingface", "ms-swift", "label-studio"):
        assert found(tmp_path / name, OTHER.encode()), name
    assert OTHER in out.read("report/index.html").decode()
    assert json.loads(out.read("runs/20261120T230135Z.json"))["error"] == "(forgotten) broke"
    # Once more: there is nothing to do, and it says so.
    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["clips"], again["rows"], again["unknown"]) == (0, {}, [NAME])


def test_a_removal_that_was_killed_in_the_middle_is_finished_by_the_same_command(out, tmp_path, monkeypatch):
    assert main(["export", "--out", out.url, "--to", str(tmp_path / "to"), "--format", "csv", "--media"]) == 0
    done = []

    def killed(storage, table, *more):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(table.name)
        return remove(storage, table, *more)

    remove = job._remove
    monkeypatch.setattr(job, "_remove", killed)
    command = ["forget", "--out", out.url, "--list", list_of(tmp_path, NAME)]
    assert main(command) == 130
    monkeypatch.setattr(job, "_remove", remove)
    assert found(out.url, b"zora-keen")
    assert main(command) == 0
    assert found(out.url, b"zora-keen") == found(tmp_path / "to", b"zora-keen") == []


def test_a_list_names_clips_by_id_file_or_recording(tmp_path):
    clips = [Judged("talk/000000000-000001000"), Judged("talk/000001000-end"), Judged("b", uri="/v/b.mp4")]
    out = make_out(tmp_path / "out", [*clips, Judged("c")])
    s3 = S3Settings()
    assert [*clips_meant(out, ["talk"]).clips] == ["talk/000000000-000001000", "talk/000001000-end"]
    assert clips_meant(out, ["/v/b.mp4", "nobody"]).clips == {"b": "/v/b.mp4"}
    assert clips_meant(out, ["/v/b.mp4", "nobody"]).unknown == ["nobody"]
    for name, text in (("a.csv", "n,video_id\n1,b\n2,c\n"), ("a.jsonl", '{"name": "b"}\n{"name": "c"}\n')):
        (tmp_path / name).write_text(text)
        assert read_list(str(tmp_path / name), s3) == ["b", "c"]
    (tmp_path / "a.txt").write_text("\ufeffb\n\n  c \nb\n", encoding="utf-8")
    assert read_list(str(tmp_path / "a.txt"), s3) == ["b", "c"]
    for name, text in (("e.txt", "\n"), ("e.csv", "speaker\nx\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            read_list(str(tmp_path / name), s3)
    with pytest.raises(InputError, match="nowhere"):
        read_list(str(tmp_path / "nowhere.txt"), s3)


def test_a_speaker_leaves_with_all_pieces_in_which_the_name_speaks(tmp_path):
    pieces = ("talk/000000000-000001000", "talk/000001000-000002000", "talk/000002000-end")
    out = make_out(tmp_path / "out", [Judged(name, uri="/v/talk.mp4") for name in pieces])
    rows = [
        {"recording": "talk", "video_id": name, "uri": "/v/talk.mp4", "kept": True, "speaker": speaker}
        for name, speaker in zip(pieces, ("ZORA", None, "ZORA"), strict=True)
    ]
    write(out, SEGMENTS, rows)
    assert [*clips_meant(out, ["speaker:ZORA"]).clips] == [pieces[0], pieces[2]]
    assert clips_meant(out, ["speaker:None", "ZORA"]).unknown == ["speaker:None", "ZORA"]
    assert main(["forget", "--out", out.url, "--list", list_of(tmp_path, "speaker:ZORA")]) == 0
    left = committed.read_newest(out, "segments", SEGMENTS, ["speaker"]).to_pylist()
    assert [row["video_id"] for row in left] == [pieces[1]]


def test_a_plan_removes_nothing(out, tmp_path, capsys):
    capsys.readouterr()
    assert main(["forget", "--out", out.url, "--list", list_of(tmp_path, NAME), "--plan"]) == 0
    assert capsys.readouterr().out.splitlines() == [NAME]
    assert found(out.url, b"zora-keen")


def test_a_training_that_goes_on_is_not_disturbed(out, tmp_path):
    with Lease(Storage(f"{out.url}/finetune/first"), "finetune first"):
        assert (
            main(["forget", "--out", out.url, "--list", list_of(tmp_path, NAME)]) == LeaseHeldError.exit_code
        )
    assert found(f"{out.url}/finetune", b"zora-keen")


def test_rows_of_a_later_version_are_told_and_not_passed_over(out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("emo.store.compaction.SCHEMA_VERSION", 1)
    assert main(["forget", "--out", out.url, "--list", list_of(tmp_path, NAME)]) == 1
    told = capsys.readouterr().err
    assert "still holds" in told
    assert "by a later version of emo" in told


def test_an_export_that_cannot_be_reached_is_told(out, tmp_path, capsys):
    assert main(["export", "--out", out.url, "--to", str(tmp_path / "to"), "--format", "ms-swift"]) == 0
    capsys.readouterr()
    # With both clips gone there is no caption that ms-swift could be given.
    assert main(["forget", "--out", out.url, "--list", list_of(tmp_path, NAME, OTHER), "--json"]) == 0
    reached = json.loads(capsys.readouterr().out)["beyond"]
    assert any(f"the export {tmp_path / 'to'} (ms-swift)" in line for line in reached)
