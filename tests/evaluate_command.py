"""`emo evaluate` for tests, and label sets to give it."""

import io
import json
from contextlib import redirect_stdout

from emo.cli import main

GOLD = {"a": ["happy"], "b": ["sad", "lonely"], "c": ["angry"], "d": ["afraid"]}
PREDICTED = {"a": ["joyful"], "b": ["sad"], "c": ["calm"], "d": ["scared", "angry"]}
OTHER = {"a": ["angry"], "b": ["happy"], "c": ["angry"], "d": ["bored"]}


def jsonl(path, values, column="labels"):
    path.write_text(
        "".join(json.dumps({"video_id": name, column: value}) + "\n" for name, value in values.items())
    )
    return path


def evaluate(*arguments):
    """The JSON object that the command prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(printed.getvalue())


def refused(capsys, *arguments):
    """The one line with which the command refuses, exit code 2."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert captured.out == ""
    return lines[0]
