"""What is left to draft: the plan minus what is committed, by clip, prompt and sample."""

import pyarrow as pa
import pytest

import synthetic_clips
from chat_server import chat_server
from emo.captions.plan import Captioner, PlannedClip, make_plan
from emo.captions.prompts import CaptionPrompt
from emo.captions.windows import Window
from emo.config import load_config
from emo.jobs.caption import plan
from emo.jobs.drafts import DRAFT_KEY, CaptionWorker, asks, left_to_do, read_questions
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS as CLIPS_TABLE
from emo.store.tables import DRAFTS

PROMPT = CaptionPrompt("person", "Describe the person.")
CLIPS = pa.table(
    {"video_id": ["a", "b"], "run_id": ["1", "1"], "file": ["clips/1.parquet", "clips/0.parquet"]}
)


def variants(prompt=PROMPT, samples=2):
    clips = [PlannedClip("a", 4), PlannedClip("b", 4)]
    return make_plan(clips, [Captioner("voice", (prompt,), None)], [Window()], samples, None).variants


def commit(storage, run_id, wanted, **changes):
    lines = [
        dict(zip(DRAFTS.key, variant.key, strict=True))
        | {"question": "?", "gold_shown": "label_free", "prompt_sha": variant.prompt.sha}
        | {"status": "ok", "run_id": run_id, **changes}
        for variant in wanted
    ]
    table = pa.Table.from_pylist(lines, schema=DRAFTS.schema)
    committed.commit(storage, committed.folder(DRAFTS, "voice"), DRAFTS, f"{run_id}-x", table)


def keys(left):
    return sorted((variant.video_id, variant.sample) for variant in left)


ALL = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path))


def test_what_is_committed_is_done(storage):
    assert keys(left_to_do(storage, CLIPS, variants())) == ALL
    commit(storage, "2", [one for one in variants() if one.video_id == "a"])
    assert keys(left_to_do(storage, CLIPS, variants())) == [("b", 0), ("b", 1)]


def test_more_samples_than_there_are_leave_the_new_ones(storage):
    commit(storage, "2", variants(samples=1))
    assert keys(left_to_do(storage, CLIPS, variants())) == [("a", 1), ("b", 1)]


def test_a_clip_that_was_ingested_again_is_drafted_again(storage):
    commit(storage, "2", variants())
    again = CLIPS.set_column(1, "run_id", pa.array(["3", "1"]))
    assert keys(left_to_do(storage, again, variants())) == [("a", 0), ("a", 1)]


def test_a_prompt_of_another_text_is_another_prompt(storage):
    commit(storage, "2", variants())
    assert keys(left_to_do(storage, CLIPS, variants(CaptionPrompt("person", "Describe her.")))) == ALL


def test_what_failed_is_left_only_for_a_retry(storage):
    commit(storage, "2", variants(), status="failed", error="timeout")
    assert left_to_do(storage, CLIPS, variants()) == []
    assert keys(left_to_do(storage, CLIPS, variants(), retry=True)) == ALL


def test_an_expert_is_asked_for_what_is_left_with_the_samples_of_a_question_together():
    config = load_config(overrides=["experts=[{kind: voice}]"])
    left = [one for one in variants() if (one.video_id, one.sample) != ("b", 0)]
    [(ask, rows)] = asks(config, CLIPS, left)
    # By file, so that a shard reads few of them.
    assert rows.column("file").to_pylist() == ["clips/0.parquet", "clips/1.parquet", "clips/1.parquet"]
    assert list(zip(*rows.select(["video_id", "sample"]).to_pydict().values(), strict=True)) == [
        ("b", 1),
        ("a", 0),
        ("a", 1),
    ]
    assert (ask.settings.name, ask.settings.samples, ask.prompt_name) == ("voice", 2, "person")


def test_a_further_round_of_a_run_asks_for_its_own_samples_and_sees_which_of_them_are_missing(storage):
    clip = synthetic_clips.clip(1, frames=4)
    row = {field.name: getattr(clip, field.name, None) for field in CLIPS_TABLE.schema}
    row |= {"uri": "u", "status": "ok", "run_id": "1"}
    committed.commit(
        storage, "clips", CLIPS_TABLE, "1", pa.Table.from_pylist([row], schema=CLIPS_TABLE.schema)
    )
    files = committed.read_newest(storage, "clips", CLIPS_TABLE, [], with_file=True)
    with chat_server() as url:
        expert = f"{{kind: openai, name: voice, seed: 7, server: {{url: '{url}', model: tiny}}}}"
        config = load_config(overrides=[f"experts=[{expert}]"])

        def drafted(samples):
            planned = [PlannedClip(clip.video_id, 4)]
            captioner = Captioner("voice", (PROMPT,), None)
            found = make_plan(planned, [captioner], [Window(), Window(0, 50)], 4, None).variants
            [(ask, rows)] = asks(config, files, [one for one in found if one.sample in samples])
            read = read_questions(storage, rows)
            return rows, CaptionWorker(ask, "2")(read), CaptionWorker(ask, "2")(read.slice(1))

        _, whole, _ = drafted({0, 1, 2, 3})
        _, first, _ = drafted({0})
        rows, later, torn = drafted({1, 2, 3})
        texts = {(one["window"], one["sample"]): one["text"] for one in whole.to_pylist()}
        assert len(set(texts.values())) == 8
        for part, samples in ((first, {0}), (later, {1, 2, 3})):
            found = {(one["window"], one["sample"]): one["text"] for one in part.to_pylist()}
            assert found == {key: text for key, text in texts.items() if key[1] in samples}
    committed.commit(storage, committed.folder(DRAFTS, "voice"), DRAFTS, "2-first", first)
    done = committed.read_newest(storage, DRAFTS.name, DRAFTS, [])
    assert planning.not_in_run(rows, done, "2", DRAFT_KEY).num_rows == 6
    # What a cut shard has without its clip is left to be asked for alone.
    assert torn.num_rows == 3
    committed.commit(storage, committed.folder(DRAFTS, "voice"), DRAFTS, "2-torn", torn)
    done = committed.read_newest(storage, DRAFTS.name, DRAFTS, [])
    assert planning.not_in_run(rows, done, "2", DRAFT_KEY).column("sample").to_pylist() == [1, 2, 3]


def test_an_expert_is_asked_only_what_it_can_perceive():
    experts = "experts=[{kind: internvl, model: m}, {kind: qwen-audio, model: m}, {kind: face}]"
    config = load_config(overrides=[experts, "caption.windows=[0-100]"])
    clips = pa.table({"video_id": ["a"], "frames": [8]})
    found = {
        one.expert: [prompt.name for prompt in one.prompts] for one in plan(config, clips, None).captioners
    }
    assert found == {
        "internvl": ["person", "face", "body", "situation"],
        "qwen-audio": ["person", "voice"],
        "face": ["person"],
    }


def test_an_expert_that_answers_the_likeliest_is_asked_once():
    overrides = ["experts=[{kind: internvl, model: m, temperature: 0}]", "caption.samples=3"]
    clips = pa.table({"video_id": ["a"], "frames": [8]})
    assert plan(load_config(overrides=overrides), clips, None).product == 4 * 3
    overrides[0] = "experts=[{kind: internvl, model: m}]"
    assert plan(load_config(overrides=overrides), clips, None).product == 4 * 3 * 3
