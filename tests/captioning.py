"""Sample clips to caption: three videos, with options that give captions of every kind."""

import csv

from conftest import REPOSITORY
from emo.store.tables import CAPTIONS
from labelling import emo, rows

CLIPS_OF = {
    "film_a/angry": "drawn_angry",
    "film_a/welcome": "portrait_welcome",
    "film_c/sad": "drawn_sad_zh",
    "film_c/sea": "sea_at_dusk",
    "film_f/silent": "portrait_silent",
}
EXPERTS = ("--set", "experts=[{kind: voice}, {kind: face}, {kind: words}]", "--set", "ingest.frames=4")
HALVES = ("--set", "caption.windows=[0-100, 0-50, 50-100]")
# The three videos fall into three splits: film_a, film_c, film_f.
SPLITS = ("--set", "caption.splits={train: 0.4, validation: 0.3, test: 0.3}")
OPTIONS = (*EXPERTS, *HALVES, *SPLITS)


def write_source(folder):
    """The folder with a manifest of some sample clips, as three videos, and a gold that contradicts one."""
    with (REPOSITORY / "samples" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        samples = {row["video_id"]: row for row in csv.DictReader(file)}
    lines = ["uri,video_id,subtitle,language"]
    for video_id, name in CLIPS_OF.items():
        row = samples[name]
        path = REPOSITORY / "samples" / row["uri"]
        lines.append(f'{path},{video_id},"{row["subtitle"]}",{row["language"]}')
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "gold.csv").write_text(
        "video_id,label\nfilm_a/welcome,-0.8\nfilm_a/angry,-1\nfilm_c/sad,-0.4\n"
    )
    return folder


def ingest(folder, ray_cluster):
    """The clips of the folder's manifest in an OUT of their own."""
    out = folder / "ingested"
    done = emo("ingest", folder / "manifest.csv", "--out", out, *EXPERTS, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return out


def whole(out):
    return {row["caption_id"]: row for row in rows(out, CAPTIONS, *CAPTIONS.schema.names)}
