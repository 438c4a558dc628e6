import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

import checkpoints
import hf_checkpoints
import synthetic_clips
import vllm_environment
from emo import experts, extraction
from emo.cojudgment.settings import Adjudicate
from emo.engines.adapters import template_hash
from emo.engines.models import content_of, revision_of
from emo.errors import EmoError, InputError, RowError
from emo.evaluation.judging import Judge, missing, read_judge
from emo.experts.hf import HfSettings
from emo.extraction.model import ModelExtractor, ModelExtractSettings
from emo.extraction.protocol import ExtractRow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return hf_checkpoints.make_gemma4(tmp_path_factory.mktemp("gemma4"))


@pytest.fixture
def stand_in(tmp_path):
    """The folder of a stand-in for vLLM; `python` in it is what starts it."""
    return vllm_environment.stand_in(tmp_path).parent


def settings(model, stand_in, **changes):
    vllm = {"python": str(stand_in / "python"), "start_s": 60, "timeout_s": 60, **changes.pop("vllm", {})}
    given = {"name": "any", "kind": "hf", "model": str(model), "device": "cpu", "engine": "vllm"}
    return HfSettings(**{**given, "vllm": vllm, **changes})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def starts(stand_in):
    return lines(stand_in / "starts.jsonl")


def gone(*pids):
    """Whether these processes end; a zombie that nobody has waited for has ended."""
    for _ in range(600):
        if all(map(ended, pids)):
            return True
        time.sleep(0.05)
    return False


def ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def said(number, words, **changes):
    return replace(synthetic_clips.clip(number, **changes), transcript=words)


def test_clips_are_asked_of_the_server_with_their_frames_sound_and_seeds(model, stand_in):
    expert = experts.load(settings(model, stand_in, samples=2, max_new_tokens=33, max_frames=3))
    clips = [synthetic_clips.clip(1), synthetic_clips.clip(2, sound=False), synthetic_clips.clip(3, frames=0)]
    broken = replace(clips[0], frames=(), audio=b"no sound")
    answers = expert.describe([*clips, broken, replace(clips[0], frames=(), audio=None)])
    assert [[one.degraded for one in answer] for answer in answers[:3]] == [
        [()] * 2,
        [("audio",)] * 2,
        [("frames",)] * 2,
    ]
    assert [answer.code for answer in answers[3:]] == ["bad_audio", "modality_missing"]
    text = answers[0][0].text
    assert text.count("data:image/jpeg;base64 96x72") == 3
    assert "wav=WAV 16000 Hz 2.00 s" in text
    assert "Frame at 0.0 s:" in text
    assert answers[0][0].text != answers[0][1].text, "each sample has a seed of its own"
    assert answers == [expert.describe([clip])[0] for clip in clips] + answers[3:]
    body = lines(stand_in / "requests.jsonl")[0]["body"]
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (33, 1.0, 0.9)
    assert expert.card.model == str(model)
    assert expert.card.modalities == ("frames", "audio")
    assert expert.card.engine == "vllm 0.0.stand-in"
    expert.close()
    (start,) = starts(stand_in)
    assert gone(start["pid"], start["engine"])


def test_the_server_is_started_as_the_settings_say(model, stand_in, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 12}))
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    experts.load(
        settings(
            model,
            stand_in,
            adapter=str(adapter),
            repetition_penalty=1.2,
            vllm={"arguments": ["--max-model-len", "512"]},
        )
    ).close()
    (start,) = starts(stand_in)
    given = start["arguments"]

    def value(name):
        return given[given.index(name) + 1]

    assert value("--model") == str(model)

    assert value("--host") == "127.0.0.1"
    assert value("--dtype") == "float32"
    assert value("--tensor-parallel-size") == "1"
    assert value("--max-model-len") == "512"
    assert json.loads(value("--limit-mm-per-prompt")) == {"image": 8, "audio": 1}
    assert json.loads(value("--override-generation-config")) == {"repetition_penalty": 1.2}
    assert value("--lora-modules") == f"model={adapter}"
    assert value("--max-lora-rank") == "16"
    assert value("--served-model-name") != "model", "the adapter has that name"
    assert "VLLM_API_KEY" in start["names"]
    assert "PYTHONPATH" not in start["names"]


def test_a_model_that_vllm_refuses_is_an_error_with_what_it_said(model, stand_in):
    (stand_in / "how").write_text("refuse")
    with pytest.raises(InputError, match=r"vLLM ended with status 1 .*\['Tiny'\] are not supported"):
        experts.load(settings(model, stand_in))
    assert not [name for name in os.environ if name.startswith("EMO_VLLM_KEY")]


def test_a_server_that_never_answers_is_given_up_and_ended(model, stand_in):
    (stand_in / "how").write_text("never")
    with pytest.raises(InputError, match=r"vLLM did not answer in time \(start_s is 3\)"):
        experts.load(settings(model, stand_in, vllm={"start_s": 3}))
    (start,) = starts(stand_in)
    assert gone(start["pid"], start["engine"])


def test_a_row_that_ends_the_server_fails_alone(model, stand_in):
    expert = experts.load(settings(model, stand_in, give_transcript=True))
    clips = [said(1, "One."), said(2, "DIE"), said(3, "Three."), said(4, "Four.")]
    answers = expert.describe(clips)
    assert [isinstance(answer, RowError) for answer in answers] == [False, True, False, False]
    assert answers[1].code == "worker_died"
    assert expert.describe(clips[:1]) == answers[:1]
    expert.close()
    assert gone(*(start[name] for start in starts(stand_in) for name in ("pid", "engine")))


def test_a_server_that_died_once_is_started_again_and_nothing_is_lost(model, stand_in):
    expert = experts.load(settings(model, stand_in, give_transcript=True))
    answers = expert.describe([said(1, "One."), said(2, "DIE ONCE"), said(3, "Three.")])
    assert all(isinstance(answer, list) for answer in answers), answers
    expert.close()
    assert len(starts(stand_in)) == 2


def test_a_server_that_hangs_is_started_again(model, stand_in):
    expert = experts.load(settings(model, stand_in, give_transcript=True, vllm={"timeout_s": 3}))
    answers = expert.describe([said(1, "One."), said(2, "HANG ONCE"), said(3, "Three.")])
    assert all(isinstance(answer, list) for answer in answers), answers
    expert.close()
    first, second = starts(stand_in)
    assert gone(first["pid"], first["engine"], second["pid"], second["engine"])


# One process imports all that a worker needs and forks one worker for each of its arguments.
WORKERS = """
import json, os, sys, time
from emo import experts
settings = [experts.settings_of(json.loads(argument)) for argument in sys.argv[1:]]
for one in settings:
    experts.expert_class(one.kind)
for one in settings:
    pid = os.fork()
    if pid == 0:
        expert = experts.load(one)
        # Beside its server, so that nobody mixes up the lines of two workers.
        print(one.name, os.getpid(), flush=True)
        time.sleep(600)
for _ in settings:
    os.wait()
"""


def test_the_server_ends_with_its_worker_however_that_ends(model, tmp_path):
    folders = {}
    for number in (signal.SIGTERM, signal.SIGKILL):
        folder = tmp_path / number.name.lower()
        folder.mkdir()
        folders[number] = vllm_environment.stand_in(folder).parent
    given = [
        settings(model, folder, name=number.name.lower()).model_dump_json()
        for number, folder in folders.items()
    ]
    forking = subprocess.Popen([sys.executable, "-c", WORKERS, *given], stdout=subprocess.PIPE, text=True)
    assert forking.stdout is not None
    workers = dict(forking.stdout.readline().split() for _ in given)
    for number, folder in folders.items():
        (start,) = starts(folder)
        assert not ended(start["pid"])
        os.kill(int(workers[number.name.lower()]), number)
        assert gone(start["pid"], start["engine"]), number.name
    assert forking.wait(60) == 0


def test_the_settings_name_the_python_of_vllm(model, stand_in):
    line = "vllm.python: {} is no program; name the Python that has vLLM installed"
    named = settings(model, stand_in, vllm={"python": "/no/python"})
    assert experts.expert_class("hf").missing(named) == [line.format("/no/python")]
    image = HfSettings(name="a", kind="hf", model=str(model), device="cpu", engine="vllm")
    assert experts.expert_class("hf").missing(image) == [line.format("/opt/vllm/bin/python")]
    assert experts.expert_class("hf").missing(settings(model, stand_in)) == []


def test_a_family_with_a_file_of_its_own_is_asked_of_vllm_too(tmp_path, stand_in):
    folder = checkpoints.make_qwen2_audio(tmp_path / "audio")
    given = settings(folder, stand_in).model_dump()
    cls = experts.expert_class("qwen-audio")
    shared = {name: value for name, value in given.items() if name in cls.Settings.model_fields}
    expert = experts.load(experts.settings_of({**shared, "kind": "qwen-audio"}))
    ((described,),) = expert.describe([synthetic_clips.clip(1)])
    assert "wav=WAV" in described.text
    assert "image" not in described.text
    expert.close()
    given = starts(stand_in)[0]["arguments"]
    assert json.loads(given[given.index("--limit-mm-per-prompt") + 1]) == {"audio": 1}


@pytest.mark.parametrize("make", [checkpoints.make_internvl, checkpoints.make_qwen2_audio])
def test_an_adapter_that_was_trained_for_something_else_is_refused(make, tmp_path, stand_in):
    folder = make(tmp_path / "base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    base = {"model": "base", "revision": revision_of(folder), "content": content_of(folder)}
    template = template_hash((folder / "chat_template.jinja").read_text())
    good = {"base": base, "chat_template": template, "system": "Be exact."}

    def load(about, **changes):
        (adapter / "emo_adapter.json").write_text(json.dumps(about))
        experts.load(settings(folder, stand_in, adapter=str(adapter), **changes)).close()

    other = {**base, "revision": "another", "content": "another"}
    with pytest.raises(InputError, match="made for base at revision another, not for"):
        load({**good, "base": other}, system="Be exact.")
    with pytest.raises(InputError, match="trained with another chat template"):
        load({**good, "chat_template": "another"}, system="Be exact.")
    with pytest.raises(InputError, match=r"trained with the system prompt 'Be exact.'.*`system` is None"):
        load(good)
    assert not starts(stand_in), "no server starts for such an adapter"
    load(good, system="Be exact.")
    assert len(starts(stand_in)) == 1


# Text models.


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return checkpoints.make_text(tmp_path_factory.mktemp("text"))


def text_settings(text_model, stand_in, **vllm):
    served = {"python": str(stand_in / "python"), "start_s": 60, "timeout_s": 60, **vllm}
    return {"model": str(text_model), "device": "cpu", "engine": "vllm", "vllm": served}


def test_a_text_model_extracts_with_vllm(text_model, stand_in, monkeypatch, tmp_path):
    cut = {"role": "assistant", "content": "[joy, ang", "finish_reason": "length"}
    answers = [
        ["a calm voice", "[calm]", ""],
        ["a long story", cut, cut],
        ["a riddle", "I would rather tell you about the weather in this part of the world.", "joy, pride]"],
    ]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    monkeypatch.setenv("CHAT_SERVER_ANSWERS", str(tmp_path / "answers.json"))
    given = {**text_settings(text_model, stand_in), "kind": "model", "max_new_tokens": 44}
    extractor = extraction.load(extraction.settings_of(given))
    said = ["He has a calm voice.", "She tells a long story.", "It is a riddle.", "He is like DIE."]
    try:
        calm, story, riddle, deadly = extractor.read(
            [ExtractRow(text, None, f"v{number}/e/0") for number, text in enumerate(said)]
        )
    finally:
        extractor.close()
    assert calm.labels == ["calm"]
    assert (story.code, "cut at the limit" in str(story)) == ("unparsable", True)
    assert (riddle.labels, riddle.notes) == (["joy", "pride"], ("its first answer was no list",))
    assert deadly.code == "worker_died"
    assert extractor.name.startswith(f"{text_model}@{revision_of(text_model)} by vllm 0.0.stand-in extract:")
    assert "--limit-mm-per-prompt" not in starts(stand_in)[0]["arguments"]
    assert gone(*(start[name] for start in starts(stand_in) for name in ("pid", "engine")))
    bodies = [line["body"] for line in lines(stand_in / "requests.jsonl")]
    assert {(body["max_tokens"], body["temperature"]) for body in bodies} == {(44, 0.0)}
    begun = {len(body["messages"]): body.get("continue_final_message", False) for body in bodies}
    assert begun == {1: False, 2: True}
    assert {body["messages"][1]["content"] for body in bodies if len(body["messages"]) == 2} == {"["}


def test_a_model_that_decides_where_voters_differ_outlives_a_server_that_hangs(text_model, stand_in):
    asked = Adjudicate(model=text_settings(text_model, stand_in, timeout_s=3))
    assert missing(asked.text_model) == []
    judge = Judge(asked.text_model)
    try:
        answers = judge.ask(["Is she sad?", "HANG ONCE", "Is he calm?"])
        unanswered = judge.unanswered
        # One clip that nobody can decide on is no fault of the model.
        assert judge.ask(["DIE"]) == [""]
        with pytest.raises(EmoError, match="answered none of 2 questions"):
            judge.ask(["DIE", "DIE too"])
    finally:
        judge.close()
    assert [question in answer for question, answer in zip(["sad", "HANG", "calm"], answers, strict=True)]
    assert unanswered == 0
    assert len(starts(stand_in)) >= 2


def test_a_text_model_that_vllm_refuses_is_an_error_before_any_row(text_model, stand_in):
    (stand_in / "how").write_text("refuse")
    python = stand_in / "python"
    told = f"kind=model,model={text_model},device=cpu,engine=vllm,vllm={{python: {python}}}"
    with pytest.raises(InputError, match=r"vLLM ended with status 1 .*\['Tiny'\] are not supported"):
        Judge(read_judge(told))
    python.unlink()
    with pytest.raises(InputError, match=r"vllm\.python: .* is no program"):
        read_judge(told)


def test_text_models_name_the_python_of_vllm_too(text_model, stand_in):
    given = text_settings(text_model, stand_in, python="/no/python")
    line = "vllm.python: /no/python is no program; name the Python that has vLLM installed"
    assert ModelExtractor.missing(ModelExtractSettings(kind="model", **given)) == [line]
    assert missing(Adjudicate(model=given).text_model) == [line]
