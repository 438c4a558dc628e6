"""`emo caption` with caption.merr: clues of experts become captions."""

import json
import shutil

import pytest

from chat_server import chat_server, requests_to
from clips import make_clip
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, DRAFT_LABELS, DRAFTS
from labelling import emo, rows
from openface_csv import openface_csv

SMILE = {6: [0] * 30 + [2.0, 1.0], 12: [0] * 30 + [4.0, 1.0]}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    first = make_clip(folder / "smiles.mp4", seconds=2.0, size=(160, 120))
    shutil.copy(first, folder / "without.mp4")
    make_clip(folder / "silent.mp4", seconds=2.0, size=(160, 120), sounds=[])
    (folder / "smiles.txt").write_text("I am glad")
    for name in ("smiles", "silent"):
        (folder / f"{name}.csv").write_bytes(openface_csv(SMILE))
    return folder


def captioned(videos, out, url, ray_cluster, *more, label="none"):
    server = {"url": url, "model": "tiny"}
    experts = [
        {"kind": "aus", "tables": str(videos)},
        {"kind": "openai", "server": server},
        {"kind": "voice"},
    ]
    merr = {"scene": "openai", "tone": "voice", "server": server, "label": label}
    chosen = ("--set", f"experts={json.dumps(experts)}", "--set", f"caption.merr={json.dumps(merr)}")
    chosen = (*chosen, "--set", "max_failed_share=1", "--set", "extract={kind: rules}")
    if not out.exists():
        done = emo("ingest", videos, "--out", out, *chosen, env=ray_cluster)
        assert done.returncode == 0, done.stderr
    done = emo("caption", "--out", out, *chosen, *more, "--json", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drafted(out):
    found = committed.read_newest(Storage(str(out)), DRAFTS.name, DRAFTS, DRAFTS.schema.names)
    return {(row["video_id"], row["prompt"]): row for row in found.to_pylist()}


def test_clues_become_captions_and_are_asked_for_once(videos, tmp_path, ray_cluster):
    out = tmp_path / "out"
    with chat_server() as url:
        summary = captioned(videos, out, url, ray_cluster)
        asked = len(requests_to(url)["requests"])
        conditioned = captioned(videos, out, url, ray_cluster, label="rules")
        # Clues and coarse captions are there: one fine caption of each clip with a table is new.
        assert len(requests_to(url)["requests"]) == asked + 2
    assert (summary["captions"], summary["failed"]) == (6, 2)
    found = drafted(out)
    # Of eight frames the one at 1.2 s, where the face moves most.
    scene = found["smiles", "clue-scene"]
    assert len(scene["frames"]) == 1
    assert abs((scene["frames"][0] + 0.5) * 2.0 / 8 - 1.2) <= 0.125
    coarse = found["smiles", "coarse"]["text"].splitlines()
    assert coarse[0].startswith(
        "Face of the person: at 1.20 s, its strongest moment, it shows lip corner puller"
    )
    assert coarse[1].startswith("Surroundings: ")
    assert coarse[2].startswith("Voice: ")
    assert coarse[3] == 'Words: "I am glad"'
    assert found["silent", "coarse"]["degraded"] == ["audio", "transcript"]
    assert found["without", "coarse"]["error"] == "modality_missing"
    assert (found["smiles", "fine"]["model"], found["smiles", "fine"]["gold_shown"]) == ("tiny", "label_free")
    labelled = committed.read_newest(Storage(str(out)), DRAFT_LABELS.name, DRAFT_LABELS, [])
    assert set(labelled.column("expert").to_pylist()) == {"merr"}
    captions = {row["caption_id"]: row for row in rows(out, CAPTIONS, *CAPTIONS.schema.names)}
    assert {name.split(":")[2] for name in captions} == {"coarse", "fine", "fine-by-rules"}
    by_rules = captions["smiles:merr:fine-by-rules:0-100:0"]
    assert by_rules["source"]["gold_shown"] == "label_conditioned"
    # The kind that is configured no more stays, and is not trained on.
    assert captions["smiles:merr:fine:0-100:0"]["filters"] == ["not_planned"]
    assert conditioned["captions"] == 9
