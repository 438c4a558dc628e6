"""Captions in the manner of MERR: the form, the text model's part, and the files."""

import json
import re
from contextlib import closing

import pyarrow as pa
import pytest
import yaml

import checkpoints
import vllm_environment
from chat_server import chat_server, requests_to
from conftest import REPOSITORY
from emo.aus.peaks import Peaks
from emo.captions.merr.clues import clues_of, told
from emo.captions.merr.plan import SCENE, TONE, clue_captioners, merr_plan, peaks_of, prompts_of
from emo.captions.merr.settings import Merr
from emo.captions.plan import PlannedClip
from emo.captions.published import read_published
from emo.cli import main
from emo.config import load_config, validate
from emo.engines.models import revision_of
from emo.errors import InputError
from emo.experts.protocol import FACES
from emo.jobs import caption
from emo.jobs.merr import Asked, MerrWorker
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, DRAFTS
from openface_csv import openface_csv
from review_outs import Judged, make_out, write

SMILE = openface_csv({6: [0, 1.0, 2.0, 1.0, 0], 12: [0, 2.0, 4.0, 2.0, 0]})
EXPERTS = "experts=[{kind: aus, tables: TABLES}, {kind: qwen-vl, model: a}, {kind: qwen-audio, model: b}]"
RUN = "20261120T230135Z"


def config_of(folder, *more, merr="scene: qwen-vl, tone: qwen-audio"):
    experts = EXPERTS.replace("TABLES", str(folder))
    return load_config(overrides=[experts, f"caption.merr={{{merr}}}", *more])


def clues(folder, scene="A kitchen.", voice="Calm.", words="So it goes.", data=SMILE):
    (folder / "one.csv").write_bytes(data)
    peaks = Peaks(str(folder))
    table, reading = peaks.of("one")
    _, rules = peaks._read
    found = clues_of(reading, rules, scene, voice, words)
    return found, told(found, reading, table, rules)


def test_the_coarse_caption_is_one_line_for_each_clue(tmp_path):
    found, made_of = clues(tmp_path, voice="Calm,\nand {scene} slow.")
    assert found.coarse().splitlines() == [
        (
            "Face of the person: at 0.08 s, its strongest moment, it shows "
            "lip corner puller (AU12, strong), cheek raiser (AU06, moderate)."
        ),
        "Surroundings: A kitchen.",
        "Voice: Calm, and {scene} slow.",
        'Words: "So it goes."',
    ]
    assert found.absent == ()
    assert made_of["frame_count"] == 5
    assert made_of["emotions"] == ["happy"]
    assert made_of["overall_peak_frame_info"] == {
        "frame_number": 3,
        "timestamp": 0.08,
        "top_aus_intensities": {"AU12_r": 4.0, "AU06_r": 2.0},
    }
    assert made_of["chronological_emotion_peaks"][0]["emotions"] == [
        {"emotion": "happy", "intensity": 3.0, "strength": "strong"}
    ]


def test_what_a_clip_lacks_is_no_line_and_is_told(tmp_path):
    nobody = openface_csv({6: [1.0] * 3}, success=[0] * 3)
    found, made_of = clues(tmp_path, voice=None, words=" ", data=nobody)
    assert found.coarse() == "Surroundings: A kitchen."
    assert found.absent == (FACES, "audio", "transcript")
    assert made_of["overall_peak_frame_info"] is None
    still, _ = clues(tmp_path, data=openface_csv({6: [0.0, 0.1]}))
    assert "it shows no clear expression." in still.coarse()


def test_the_text_model_is_told_a_label_only_where_one_is_asked_for(tmp_path):
    found, _ = clues(tmp_path, scene="<image> A kitchen.")
    free, told_of = found.question(None), found.question("happy")
    assert "What the person feels is known" not in free
    assert "{" not in free
    assert "What the person feels is known: happy." in told_of
    assert "<image>" not in free


def test_what_is_made_otherwise_is_made_anew_and_no_question_shows_the_label():
    server = {"url": "http://localhost:1/v1", "model": "one"}
    plain, fine = prompts_of(Merr(scene="a", tone="b", server=server))
    assert [one.name for one in (plain, fine)] == ["coarse", "fine"]
    other = prompts_of(Merr(scene="a", tone="b", server=server | {"model": "two"}))
    assert (plain.sha == other[0].sha, fine.sha == other[1].sha) == (True, False)
    gold = Merr(scene="a", tone="b", server=server, label="gold")
    plan = merr_plan(gold, [PlannedClip("x", 4, "positive"), PlannedClip("y", 4), PlannedClip("z", 0)])
    assert [one.key[:3] for one in plan.variants] == [
        ("x", "merr", "coarse"),
        ("x", "merr", "fine-with-label:positive"),
        ("y", "merr", "coarse"),
    ]
    assert "{label}" not in plan.variants[1].prompt.question
    assert (plan.clips, plan.without_frames, plan.unknown) == (2, 1, 1)
    assert [len(prompts_of(Merr(scene="a", tone="b")))] == [1]


def test_the_experts_of_the_clues_must_perceive_what_they_are_asked_about(tmp_path):
    config = config_of(tmp_path)
    asked = clue_captioners(config)
    assert [(one.expert, one.prompts[0].name) for one in asked] == [("qwen-vl", SCENE), ("qwen-audio", TONE)]
    assert peaks_of(config) == Peaks(str(tmp_path))
    caption.check(config, None)
    for wrong, why in (
        ("scene: qwen-audio, tone: qwen-audio", "qwen-audio does not perceive frames"),
        ("scene: qwen-vl, tone: qwen-vl", "qwen-vl does not perceive audio"),
        ("scene: qwen-vl, tone: qwen-audio, faces: qwen-vl", "expected one of kind aus"),
    ):
        with pytest.raises(InputError, match=why):
            caption.check(config_of(tmp_path, merr=wrong), None)
    with pytest.raises(InputError, match="leave out experts, samples and target"):
        config_of(tmp_path, "caption.target=10")
    with pytest.raises(InputError, match="label is told to a text model"):
        config_of(tmp_path, merr="scene: qwen-vl, tone: qwen-audio, label: rules")


def test_the_example_of_the_page_is_valid():
    page = (REPOSITORY / "docs" / "finetuning.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?caption:\n  merr:.*?)^```$", page, re.DOTALL | re.MULTILINE)
    config = validate(yaml.safe_load(text), "docs/finetuning.md")
    assert [one.expert for one in clue_captioners(config)] == ["qwen-vl", "qwen-audio"]


def shard(*clips):
    """Rows as a worker gets them; clips: video_id, prompt, and what differs."""
    lines = []
    for video_id, prompt, *more in clips:
        line = {"video_id": video_id, "prompt": prompt, "window": "0-100", "sample": 0, "clip frames": 3}
        line |= {"words": "So it goes.", SCENE: "A kitchen.", TONE: "Calm.", f"{TONE} audio": True}
        line |= {f"{clue} {column}": None for clue in (SCENE, TONE) for column in ("error", "error_message")}
        line |= {f"{clue} file": "x" for clue in (SCENE, TONE)}
        line |= {f"{clue} degraded": [] for clue in (SCENE, TONE)}
        lines.append(line | dict(*more))
    return pa.Table.from_pylist(lines)


@pytest.fixture
def made(tmp_path):
    """The rows that a worker writes of a shard, and what its text model was asked."""

    def make(label, *clips, gold=None, model=None):
        (tmp_path / "one.csv").write_bytes(SMILE)
        (tmp_path / "still.csv").write_bytes(openface_csv({6: [0.0, 0.1]}))
        with chat_server() as url:
            text_model = {"model": model} if model else {"server": {"url": url, "model": "tiny"}}
            merr = Merr(scene="a", tone="b", label=label, **text_model)
            plan = merr_plan(merr, [PlannedClip("one", 3, gold)])
            asks = {one.prompt_name: Asked.of(one, merr) for one in plan.variants}
            worker = MerrWorker(Peaks(str(tmp_path)), merr, asks, RUN)
            with closing(worker._writer):
                rows = worker(shard(*clips)).to_pylist()
            return rows, [one["text"] for one in requests_to(url)["requests"]]

    return make


def test_a_worker_writes_both_kinds_and_each_clip_fails_alone(made):
    failed = {f"{TONE} error": "server_error", f"{TONE} error_message": "no"}
    silent = {f"{TONE} error": "modality_missing", TONE: None, f"{TONE} audio": None}
    deaf = {TONE: "There was nothing to hear.", f"{TONE} degraded": ["audio"]}
    rows, asked = made(
        *("none", ("one", "coarse"), ("one", "fine"), ("absent", "coarse")),
        *(("one", "fine", failed), ("one", "coarse", silent), ("one", "coarse", deaf)),
    )
    coarse, fine, absent, broken, quiet, measured = rows
    assert coarse["text"].startswith("Face of the person: at 0.08 s")
    assert (coarse["expert"], coarse["model"], coarse["gold_shown"]) == ("merr", None, "label_free")
    assert (coarse["frames"], coarse["audio"], coarse["degraded"]) == ([0, 1, 2], True, [])
    assert json.loads(coarse["clues"])["emotions"] == ["happy"]
    assert (fine["status"], fine["model"], fine["finish_reason"]) == ("ok", "tiny", "stop")
    assert fine["question"].startswith("What does the person in this clip feel")
    assert len(asked) == 1
    assert "lip corner puller (AU12, strong)" in asked[0]
    assert absent["error"] == "modality_missing"
    assert (broken["error"], broken["error_message"]) == ("server_error", "clue-tone: no")
    assert (quiet["degraded"], quiet["audio"]) == (["audio"], False)
    assert measured["degraded"] == ["audio"]
    assert "nothing to hear" not in measured["text"]


def test_a_caption_that_was_made_with_a_label_says_so(made):
    rows, asked = made("rules", ("one", "fine-by-rules"), ("still", "fine-by-rules"))
    assert [row["gold_shown"] for row in rows] == ["label_conditioned"] * 2
    assert "What the person feels is known: happy." in asked[0]
    assert rows[1]["error"] == "no_label"
    rows, asked = made("gold", ("one", "fine-with-label:negative"), gold="negative")
    assert rows[0]["gold_shown"] == "label_conditioned"
    assert "known: negative." in asked[0]


def test_a_text_model_behind_vllm_writes_fine_captions_and_a_row_that_ends_it_fails_alone(made, tmp_path):
    folder = checkpoints.make_text(tmp_path / "text")
    served = {"python": str(vllm_environment.stand_in(tmp_path)), "start_s": 60}
    model = {"model": str(folder), "device": "cpu", "engine": "vllm", "vllm": served}
    deadly = ("one", "fine", {TONE: "DIE"})
    rows, _ = made("none", ("one", "fine"), deadly, ("one", "coarse"), model=model)
    assert [(row["status"], row["error"]) for row in rows] == [
        ("ok", None),
        ("failed", "worker_died"),
        ("ok", None),
    ]
    assert rows[0]["model"] == f"{folder}@{revision_of(folder)} by vllm 0.0.stand-in"
    assert "lip corner puller" in rows[0]["text"]


def captions_in(out: Storage, made_of):
    """Captions of both kinds of clip a, and a coarse one of clip b, which fires no rule."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "A calm face."}]
    drafts, captions = [], []
    for video_id, prompt, emotions, labels in (
        ("a", "coarse", ["happy"], []),
        ("a", "fine", ["happy"], ["calm"]),
        ("b", "coarse", [], ["sad"]),
    ):
        key = {"video_id": video_id, "expert": "merr", "prompt": prompt, "window": "0-100", "sample": 0}
        shown = {"gold_shown": "label_free", "question": "?"}
        told_of = json.dumps(made_of | {"emotions": emotions})
        drafts.append({**key, **shown, "text": "A calm face.", "clues": told_of})
        captions.append(
            {
                "caption_id": ":".join(map(str, key.values())),
                "video_id": video_id,
                "split": "train",
                "messages": json.dumps(turns),
                "labels": labels,
                "source": {**key, "gold_shown": "label_free"},
                "filters": [],
            }
        )
    write(out, DRAFTS, drafts, "merr")
    write(out, CAPTIONS, captions)


def test_the_files_are_those_of_merr_and_emo_reads_its_own(tmp_path):
    _, made_of = clues(tmp_path)
    out = make_out(tmp_path / "out", [Judged("a"), Judged("b")])
    captions_in(out, made_of)
    target = tmp_path / "merr"
    assert main(["export", "--out", out.url, "--format", "merr", "--to", str(target)]) == 0
    assert (target / "MERR_coarse_grained.txt").read_text() == "a 5 happy -10\n"
    assert (target / "MERR_fine_grained.txt").read_text() == "a 5 calm -10\n"
    coarse = json.loads((target / "MERR_coarse_grained.json").read_text())
    entry = {"caption": "A calm face.", "text": "So it goes."}
    assert coarse == {"a": entry, "b": entry}
    fine = json.loads((target / "MERR_fine_grained.json").read_text())
    assert fine == {"a": {"smp_reason_caption": "A calm face.", "text": "So it goes."}}
    one = json.loads((target / "clips" / "a.json").read_text())
    assert one["final_summary"] == "A calm face."
    assert one["overall_peak_frame_info"]["frame_number"] == 3
    assert one["source_path"]
    for name in ("MERR_coarse_grained.json", "MERR_fine_grained.json"):
        read = read_published((target / name).read_bytes(), name)
        assert [(entry.video_id, entry.text) for entry in read][:1] == [("a", "A calm face.")]
