"""Every expert with a model describes clips of every kind through the command line, on tiny checkpoints.

One run for all of it: batches, samples, adapters, what a clip lacks, a clip that does not fit. Then the
worker of a pass is killed half-way, by default that of one expert; of each where the long tests run.
"""

import json
import shutil
from pathlib import Path

import pytest

import affectgpt_checkpoint
import checkpoints
from chat_server import chat_server
from clips import make_clip
from emo import experts
from emo.clips import read_clips, to_clip
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, VOTES
from labelling import answers, emo, emo_losing_a_worker, last_run, rows, whole

# Of each kind one family; the others answer the same tests of tests/experts and tests/engines.
FAMILIES = {
    "internvl": "internvl",
    "qwen-vl": "qwen2.5-vl",
    "qwen-omni": "qwen2.5-omni",
    "qwen-audio": "qwen2-audio",
}
NAMES = (*FAMILIES, "affectgpt", "openai")
# Eight clips are four shards of two for the one worker that the cluster has room for.
GOOD = ("good0", "good1", "good2", "good3", "good4")
USABLE = (*GOOD, "silent", "wordless", "endless")
SAMPLES = 2
HEARS = ("qwen-omni", "qwen-audio", "affectgpt", "openai")
# Characters that the server of `openai` takes.
LONGEST_PROMPT = 20_000


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Whole clips, one without sound, one without words, one with too many words, one that is broken."""
    folder = tmp_path_factory.mktemp("videos")
    first = make_clip(folder / "good0.mp4", seconds=2.0, size=(160, 120))
    for name in (*GOOD[1:], "wordless", "endless"):
        shutil.copy(first, folder / f"{name}.mp4")
    make_clip(folder / "silent.mp4", seconds=2.0, size=(160, 120), sounds=[])
    for name in (*GOOD, "silent"):
        (folder / f"{name}.txt").write_text(f"I am {name}")
    (folder / "endless.txt").write_text("I am so happy. " * 2000)
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The settings of every expert; all read the transcript, so that each wants more than one modality."""
    folder = tmp_path_factory.mktemp("models")
    tiny = {"device": "cpu", "max_new_tokens": 32, "samples": SAMPLES}
    found = []
    for kind, family in FAMILIES.items():
        base = checkpoints.FAMILIES[family][1](folder / kind)
        one = {"kind": kind, "model": str(base), "give_transcript": True, **tiny}
        plain = experts.load(experts.settings_of({"name": kind, **one}))
        adapter = checkpoints.add_adapter(plain.engine.model, folder / f"{kind}-adapter")
        found.append({**one, "adapter": str(adapter)})
    files = affectgpt_checkpoint.make(folder / "affectgpt")
    parts = {"model": files.llm, "vision": files.vision, "audio": files.audio, "checkpoint": files.checkpoint}
    parts = {name: str(path) for name, path in parts.items()}
    found.append({"kind": "affectgpt", "sees": "frame", **parts, **tiny})
    with chat_server(longest=LONGEST_PROMPT) as url:
        server = {"url": url, "model": "tiny"}
        found.append(
            {"kind": "openai", "server": server, "audio": "wav", "give_transcript": True, "samples": SAMPLES}
        )
        yield found


@pytest.fixture(scope="module")
def described(videos, settings, tmp_path_factory, ray_cluster):
    """OUT of one run of all of them."""
    out = tmp_path_factory.mktemp("described") / "out"
    line_up = ("--set", f"experts={json.dumps(settings)}", "--set", "extract={kind: rules}")
    done = emo("label", videos, "--out", out, *line_up, "--set", "max_failed_share=1", env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert [step["name"] for step in last_run(out)["steps"]] == [
        "ingest",
        *(f"describe {name}" for name in NAMES),
        "extract",
        "judge",
    ]
    return out


@pytest.mark.parametrize("expert", NAMES)
def test_every_clip_has_its_samples_and_what_it_lacks_is_reported(described, expert):
    found = answers(described, expert)
    assert set(found) == set(USABLE), "a clip that could not be decoded has no description"
    assert {len(samples) for samples in found.values()} == {SAMPLES}
    for clip in GOOD:
        assert [row["status"] for row in found[clip]] == ["ok"] * SAMPLES
        assert [row["degraded"] for row in found[clip]] == [[]] * SAMPLES
        assert found[clip][0]["text"] != found[clip][1]["text"]
    assert [row["degraded"] for row in found["wordless"]] == [["transcript"]] * SAMPLES
    silent = {(row["error"], *(row["degraded"] or ())) for row in found["silent"]}
    if expert == "qwen-audio":
        # It has nothing to listen to, and the words alone are not what it is asked about.
        assert silent == {("modality_missing",)}
    else:
        assert silent == {(None, "audio") if expert in HEARS else (None,)}


@pytest.mark.parametrize("expert", NAMES)
def test_a_clip_that_does_not_fit_fails_alone_and_says_so(described, expert):
    found = {row["error"] for row in answers(described, expert)["endless"]}
    assert found == {"refused_by_server" if expert == "openai" else "too_long"}


@pytest.mark.parametrize("expert", NAMES)
def test_what_was_written_in_batches_is_what_the_expert_says_of_each_clip_alone(described, settings, expert):
    storage = Storage(str(described))
    clips = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, [], with_file=True)
    one = next(one for one in settings if one["kind"] == expert)
    alone = experts.load(experts.settings_of({"name": expert, **one}))
    written = answers(described, expert)
    by_name = {row["video_id"]: to_clip(row) for row in read_clips(storage, clips).to_pylist()}
    for clip in ("good1", "wordless"):
        (answer,) = alone.describe([by_name[clip]])
        assert [description.text for description in answer] == [row["text"] for row in written[clip]]
    alone.close()


@pytest.mark.parametrize("expert", NAMES)
def test_the_adapter_that_was_used_stands_beside_every_text(described, settings, expert):
    one = next(one for one in settings if one["kind"] == expert)
    source = one.get("adapter") or Path(one.get("checkpoint", "")).name or None
    for samples in answers(described, expert).values():
        for row in samples:
            if row["status"] == "ok":
                assert (row["adapter"] or "").startswith(f"{source}@") == (source is not None)


def test_every_sample_is_a_voter(described):
    votes = rows(described, VOTES, "status")
    assert len(votes) == len(NAMES) * len(USABLE) * SAMPLES


@pytest.mark.parametrize(
    "expert", ["internvl", *(pytest.param(name, marks=pytest.mark.long) for name in NAMES[1:])]
)
def test_after_its_worker_was_killed_half_way_an_expert_has_written_what_it_would_have_written(
    described, tmp_path, ray_cluster, expert
):
    out = tmp_path / "out"
    shutil.copytree(described, out)
    written = out / "descriptions" / expert
    shutil.rmtree(written)
    command = ("describe", "--out", out, "--expert", expert)
    done, shards = emo_losing_a_worker(written, *command, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert shards < 4, "it was not killed half-way"
    assert whole(out, expert) == whole(described, expert)
    step = last_run(out)["steps"][0]
    lost = sum(rows[0]["error"] is not None for rows in answers(described, expert).values())
    assert (step["ok"], step["failed"]) == (len(USABLE) - lost, lost)
