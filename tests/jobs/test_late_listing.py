"""What was counted is there: a listing that lags, as of a network file system, changes no label."""

import os
import subprocess
import sys

import pytest

from clips import make_clip
from emo.store.tables import JUDGMENTS
from labelling import WORDS_ONLY, emo, rows

# `emo` whose driver sees new files of the tables by name at once, and in listings a second and a half later.
LATE = (
    "import sys, time; from emo.store.storage import Storage\n"
    "real = Storage.names\n"
    "def late(self, prefix=''):\n"
    "    old = time.time() - 1.5\n"
    "    shown = lambda path: not path.endswith('.parquet') or self.entry(path).modified.timestamp() < old\n"
    "    return [path for path in real(self, prefix) if shown(path)]\n"
    "Storage.names = late\n"
    "from emo.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    first = make_clip(folder / "a.mp4", seconds=1.0, size=(160, 120))
    for name, words in {"a": "I am happy", "b": "I am sad"}.items():
        (folder / f"{name}.mp4").write_bytes(first.read_bytes())
        (folder / f"{name}.txt").write_text(words)
    return folder


def test_every_clip_is_labelled_although_listings_lag(videos, tmp_path, ray_cluster):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", LATE, "label", videos, "--out", out, *WORDS_ONLY],
        env={**os.environ, **ray_cluster},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "do not show in a listing yet; waiting up to 90 s" in done.stderr
    found = {row["video_id"]: row["labels"] for row in rows(out, JUDGMENTS, "labels")}
    assert found == {"a": ["happy"], "b": ["sad"]}
    # Seen without a lag, nothing is left to do.
    again = emo("label", videos, "--out", out, *WORDS_ONLY, env=ray_cluster)
    assert "2 skipped as already done" in again.stderr
