"""ms-swift trains InternVL on an export as emo does: as many tokens, the same answers."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import checkpoints
import swift_environment
import synthetic_clips
from emo.captions.messages import Sample, Turn, write_messages
from emo.finetuning.masking import Encoder
from emo.finetuning.samples import from_turns

pytestmark = pytest.mark.long

PROGRAM = Path(__file__).parents[1] / "swift_encode.py"
# What ms-swift calls the model and its template.
NAMES = ("internvl", "internvl_hf")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with ms-swift: that of EMO_TEST_SWIFT where it is set, else a new one."""
    named = os.environ.get("EMO_TEST_SWIFT")
    return Path(named) if named else swift_environment.make(tmp_path_factory.mktemp("swift") / "env")


def test_an_export_has_as_many_tokens_there_and_the_same_answers(python, tmp_path):
    folder = checkpoints.make_internvl(tmp_path / "base")
    rows, ours = [], []
    encoder = Encoder("internvl", folder, max_frames=8, max_tokens=1 << 20)
    for number, frames in enumerate((8, 4)):
        clip = synthetic_clips.clip(number, frames=frames, size=(448, 336), seconds=4.0)
        paths = [tmp_path / f"{number}-{place}.jpg" for place in range(frames)]
        for path, data in zip(paths, clip.frames, strict=True):
            path.write_bytes(data)
        turns = (Turn("user", "<video>\nWhat is felt?"), Turn("assistant", f"She frowns {number} times."))
        video = tuple(map(str, paths))
        rows.append(Sample(turns, videos=(video,), frame_times=(clip.frame_times,)))
        made = encoder.encode(from_turns("s", turns, None, True), clip)
        ours.append((len(made), encoder.show(made).split("«")[1].split("»")[0]))
    (tmp_path / "train.jsonl").write_bytes(write_messages(rows))
    command = [python, PROGRAM, folder, *NAMES, tmp_path / "train.jsonl"]
    # It must not import what is installed beside these tests.
    quiet = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    for (tokens, answer), there in zip(ours, theirs, strict=True):
        print(f"{tokens} tokens here, {there['tokens']} there")
        assert abs(there["tokens"] / tokens - 1) < 0.1
        assert there["tokens"] < 4096
        # It trains on the line break behind the end of an answer too.
        assert there["trained"].rstrip("\n") == answer
