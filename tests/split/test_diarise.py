"""Who speaks, as a command or a server says it: read, asked, and written to the pieces."""

import json
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from clips import make_clip
from emo.config import load_config
from emo.errors import InputError, RowError
from emo.jobs.split import SplitStep, SplitWorker, recordings_of
from emo.run.submit import check
from emo.sources.source import read_source
from emo.split.segment import Segment
from emo.split.settings import Diarise, Split
from emo.split.turns import Turn, changes, named, read_turns
from emo.store.s3 import S3Settings

RTTM = """;; made by nobody
SPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>
SPEAKER talk 1 0.50 3.50 <NA> <NA> anna <NA> <NA>
SPEAKER talk 1 4.25 5.00 <NA> <NA> ben <NA> <NA>

SPEAKER talk 1 5.00 0.30 <NA> <NA> anna <NA> <NA>
"""
TURNS = [Turn(0.5, 4.0, "anna"), Turn(4.25, 9.25, "ben"), Turn(5.0, 5.3, "anna")]
JSON = [{"start": one.start_s, "end": one.end_s, "speaker": one.speaker} for one in TURNS]


def test_rttm_and_json_say_the_same():
    assert read_turns(RTTM) == TURNS
    assert read_turns(json.dumps(JSON)) == TURNS
    assert read_turns(json.dumps({"segments": JSON[::-1], "language": "en"})) == TURNS
    assert read_turns("") == read_turns("[]") == []


@pytest.mark.parametrize(
    "text",
    [
        "anna speaks first",
        "SPEAKER talk 1 0.5",
        "SPEAKER talk 1 zero 1 <NA> <NA> anna",
        "SPEAKER talk 1 -1 1 <NA> <NA> anna",
        "SPEAKER talk 1 nan 1 <NA> <NA> anna",
        '{"turns": []}',
        '[{"start": 1, "end": 0, "speaker": "anna"}]',
        '[{"start": 1, "end": 2}]',
        '[{"start": 1, "end": 2, "speaker": ""}]',
        "[1, 2]",
        "[",
        "[" * 100_000,
        '[{"start": 1, "end": null, "speaker": "anna"}]',
    ],
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(RowError, match="expected RTTM or JSON") as caught:
        read_turns(text)
    assert caught.value.code == "bad_turns"
    assert len(caught.value.message) < 1000


def test_a_piece_gets_who_speaks_most_of_it_and_a_mark_in_its_subtitle_stays():
    pieces = [Segment(0, 3), Segment(3, 5), Segment(5, 6, speaker="CARL"), Segment(9.5, 11), Segment(11, 12)]
    assert [one.speaker for one in named(pieces, TURNS)] == ["anna", "anna", "CARL", None, None]
    assert named(pieces, []) == pieces


def test_turns_begin_where_another_person_does_and_a_word_thrown_in_is_none():
    assert changes(TURNS, 1.0) == [4.25]
    assert changes(TURNS, 0.1) == [4.25, 5.0]
    assert changes([], 1.0) == []


def program(folder: Path, text: str) -> list[str]:
    """A command that runs this Python."""
    file = folder / "diarise.py"
    file.write_text(text)
    return [sys.executable, str(file), "--token", "planted-token"]


SAYS = f"""
import sys, wave
assert sys.argv[1:3] == ["--token", "planted-token"]
with wave.open(sys.argv[3]) as sound:
    assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
    assert abs(sound.getnframes() / 16000 - 10) < 0.1, sound.getnframes()
    assert any(sound.readframes(16000))
print({RTTM!r})
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("film") / "talk.mp4", 10)


def split(film, diarise, **settings):
    rows = recordings_of(read_source(str(film)))
    config = Split(**{"by": "fixed", "window_s": 5.0, "step_s": 5.0, "diarise": diarise, **settings})
    return SplitWorker(config, S3Settings(), "run")(rows).to_pylist()


def told(rows):
    return [(row["start_s"], row["end_s"], row["speaker"], row["kept"]) for row in rows]


def test_a_command_gets_the_sound_and_its_turns_name_the_pieces(film, tmp_path):
    command = program(tmp_path, SAYS)
    end = split(film, None)[-1]["end_s"]
    assert told(split(film, None)) == [(0, 5, None, True), (5, end, None, True)]
    assert told(split(film, {"command": command})) == [(0, 5, "anna", True), (5, end, "ben", True)]
    cut = split(film, {"command": command, "at_turns": True})
    assert told(cut) == [(0, 4.25, "anna", True), (4.25, 5, "ben", False), (5, end, "ben", True)]


def test_a_mark_in_subtitles_stays(film, tmp_path):
    (tmp_path / "talk.mp4").write_bytes(film.read_bytes())
    (tmp_path / "talk.srt").write_text("1\n00:00:05,000 --> 00:00:08,000\nCARL: Who is there?\n")
    (row,) = split(tmp_path / "talk.mp4", {"command": program(tmp_path, SAYS)}, by="subtitles")
    assert (row["speaker"], row["text"]) == ("CARL", "CARL: Who is there?")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            "import sys; sys.exit('no such model, planted-token')",
            "diarise_failed",
            "no such model, \\*\\*\\*",
        ),
        ("print('hello')", "bad_turns", "expected RTTM or JSON"),
        ("import os; os.kill(os.getpid(), 9)", "diarise_failed", "code -9"),
        ("import time; print('x', flush=True); time.sleep(600)", "timeout", "longer than 3 s"),
    ],
)
def test_a_command_that_fails_is_a_failed_row(text, code, message, film, tmp_path):
    (row,) = split(film, {"command": program(tmp_path, text), "timeout_s": 3})
    assert (row["status"], row["error"], row["recording"]) == ("failed", code, "talk")
    assert re.search(message, row["error_message"])
    assert "planted-token" not in row["error_message"]


@contextmanager
def server(status, body, headers=()):
    """An HTTP server; what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sound = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers, sound))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/diarise", got
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def test_a_server_gets_the_sound_and_the_key(film, monkeypatch):
    monkeypatch.setenv("DIARISE_KEY", "planted-key")
    with server(200, json.dumps(JSON).encode()) as (url, got):
        rows = split(film, {"url": url, "api_key_env": "DIARISE_KEY"})
    assert [row["speaker"] for row in rows] == ["anna", "ben"]
    ((headers, sound),) = got
    assert headers["Authorization"] == "Bearer planted-key"
    assert headers["Content-Type"] == "audio/wav"
    assert sound[:4] == b"RIFF"
    assert len(sound) > 9 * 32_000


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (503, (), "server_error"),
        (404, (), "refused_by_server"),
        (302, (("Location", "http://127.0.0.1:9/"),), "refused_by_server"),
    ],
)
def test_a_server_that_fails_is_a_failed_row_without_the_key(status, headers, code, film, monkeypatch):
    monkeypatch.setenv("DIARISE_KEY", "planted-key")
    with server(status, b"not today, planted-key", headers) as (url, got):
        (row,) = split(film, {"url": url, "api_key_env": "DIARISE_KEY"})
    assert (row["status"], row["error"]) == ("failed", code)
    assert "not today, ***" in row["error_message"]
    assert len(got) == 1


def test_a_server_that_is_not_there_is_a_failed_row_that_may_pass(film):
    with server(200, b"[]") as (url, _):
        pass
    (row,) = split(film, {"url": url})
    assert row["error"] == "unreachable"


def test_what_is_missing_is_said_before_anything_starts(monkeypatch):
    def lacks(**settings):
        (need,) = SplitStep(Split(by="auto", diarise=Diarise(**settings)), S3Settings()).needs()
        assert need.what == "split.diarise"
        return need.missing()

    assert lacks(command=["no-such-program", "secret"]) == ["there is no program 'no-such-program' to be run"]
    assert lacks(command=[sys.executable]) == []
    monkeypatch.delenv("NO_KEY", raising=False)
    assert "NO_KEY" in lacks(url="http://host/diarise", api_key_env="NO_KEY")[0]
    assert "give the configuration again" in lacks()[0]
    assert SplitStep(Split(by="auto"), S3Settings()).needs() == []


def test_the_command_is_secret_as_that_of_a_night_is(tmp_path):
    file = tmp_path / "emo.yaml"
    tree = {"experts": [{"kind": "words"}], "split": {"diarise": {"command": ["speakers", "planted-token"]}}}
    file.write_text(yaml.safe_dump(tree))
    config = load_config(file=str(file))
    assert "planted-token" not in config.model_dump_json() + repr(config)
    with pytest.raises(InputError, match=r"split\.diarise\.command with arguments") as caught:
        check(config, ["/films"])
    assert "planted-token" not in str(caught.value)
    for override in (
        "split.diarise.command=[x]",
        "split.diarise={command: [x]}",
        "split={diarise: {command: [x]}}",
    ):
        with pytest.raises(InputError, match="no credentials on a command line"):
            load_config(overrides=[override])
    with pytest.raises(InputError, match="no credentials in the URL"):
        load_config(overrides=["split.diarise.url=http://me:secret@host/"])
    tree["split"]["diarise"]["url"] = "http://host/"
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match="got both") as caught:
        load_config(file=str(file))
    assert "planted-token" not in str(caught.value)
