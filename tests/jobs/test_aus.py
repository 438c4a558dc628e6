"""Action units through the command line: tables beside the videos become votes."""

import json
import shutil

from clips import make_clip
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES
from labelling import emo, rows
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
