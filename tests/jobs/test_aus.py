"""Action units through the command line: tables beside the videos become votes."""

import json
import shutil

from clips import make_clip
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import emo, emo_losing_a_worker, last_run, rows, whole
from openface_csv import openface_csv


def test_tables_beside_the_videos_become_votes_and_what_lacks_one_fails_alone(tmp_path, ray_cluster):
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "day").mkdir(parents=True)
    first = make_clip(videos / "day" / "smiles.mp4", seconds=1.0, size=(160, 120))
    for name in ("nobody", "without"):
        shutil.copy(first, first.with_stem(name))
    smile = {6: [0, 2.0, 1.0], 12: [0, 4.0, 1.0]}
    first.with_suffix(".csv").write_bytes(openface_csv(smile))
    first.with_name("nobody.csv").write_bytes(openface_csv(smile, success=[0] * 3))
    chosen = ("--set", f"experts={json.dumps([{'kind': 'aus', 'tables': str(videos)}])}")
    done = emo("label", videos, "--out", out, *chosen, "--set", "max_failed_share=1", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    described = {row["video_id"]: row for row in rows(out, DESCRIPTIONS, "error", "text")}
    assert described["day/without"]["error"] == "modality_missing"
    assert "AU12, strong" in described["day/smiles"]["text"]
    votes = {row["video_id"]: row["labels"] for row in rows(out, VOTES, "labels", "status")}
    assert votes["day/smiles"] == ["happy"]
    assert not votes["day/nobody"]
    judged = {row["video_id"]: row["labels"] for row in rows(out, JUDGMENTS, "labels")}
    assert judged["day/smiles"] == ["happy"]


def test_after_its_worker_was_killed_half_way_the_same_is_written(tmp_path, ray_cluster):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    first = make_clip(videos / "clip0.mp4", seconds=1.0, size=(160, 120))
    # Four minutes of frames: a table takes a while to read, so that there is a half-way.
    smile = {6: [0, 2.0, 1.0] * 2000, 12: [0, 4.0, 1.0] * 2000}
    table = openface_csv(smile)
    for number in range(8):
        if number:
            shutil.copy(first, first.with_stem(f"clip{number}"))
        first.with_name(f"clip{number}.csv").write_bytes(table)
    first.with_name("clip3.csv").write_bytes(table.replace(b"4.00", b"9.00"))
    chosen = ("--set", f"experts={json.dumps([{'kind': 'aus', 'tables': str(videos)}])}")
    done = emo("label", videos, "--out", out, *chosen, "--set", "max_failed_share=1", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    before = whole(out, "aus")
    assert [row["error"] for row in before] == [None] * 3 + ["bad_units"] + [None] * 4
    written = out / "descriptions" / "aus"
    shutil.rmtree(written)
    done, shards = emo_losing_a_worker(written, "describe", "--out", out, "--expert", "aus", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert shards < 4, "it was not killed half-way"
    assert whole(out, "aus") == before
    assert (last_run(out)["steps"][0]["ok"], last_run(out)["steps"][0]["failed"]) == (7, 1)
