import io
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile
from PIL import Image

import checkpoints
from chat_server import chat_server, requests_to
from emo import experts
from emo.errors import RowError
from emo.experts.openai import OpenAIExpert, OpenAISettings
from emo.experts.protocol import Clip


@pytest.fixture(scope="module")
def server():
    with chat_server() as url:
        yield url


def settings(url, server_settings=None, **changes):
    served = {"url": url, "model": "tiny", "attempts": 2, "backoff_s": 0.02, "timeout_s": 60}
    given = {"name": "remote", "kind": "openai", "server": {**served, **(server_settings or {})}}
    return OpenAISettings(**{**given, **changes})


def describe(url, clips, server_settings=None, **changes):
    with closing(OpenAIExpert(settings(url, server_settings, **changes))) as expert:
        return expert.describe(clips)


def clip(name="a/clip", frames=8, audio=True, transcript="Hello there."):
    random = np.random.default_rng(len(name) + frames)
    pictures = []
    for number in range(frames):
        buffer = io.BytesIO()
        colour = tuple(int(c) for c in random.integers(0, 255, 3))
        Image.new("RGB", (100 + number, 60), colour).save(buffer, "JPEG")
        pictures.append(buffer.getvalue())
    sound = io.BytesIO()
    soundfile.write(sound, np.sin(np.arange(24_000) / 20) * 0.3, 16_000, format="FLAC")
    return Clip(
        video_id=name,
        frames=tuple(pictures),
        frame_times=tuple(map(float, range(frames))),
        audio=sound.getvalue() if audio else None,
        transcript=transcript,
        language="en",
        duration_s=1.5,
    )


def test_the_frames_go_along_as_jpeg_in_their_order(server):
    (answer,) = describe(server, [clip()])
    seen = answer[0].text.split("; ")
    assert seen[:8] == [f"data:image/jpeg;base64 {100 + n}x60" for n in range(8)]
    assert "how the main person in this clip feels" in seen[8]
    assert "Hz" not in answer[0].text
    assert "Hello there." not in answer[0].text
    assert (answer[0].degraded, answer[0].finish_reason, answer[0].prompt_tokens) == ((), "stop", 100)


def test_fewer_frames_are_taken_at_even_distances(server):
    (answer,) = describe(server, [clip()], max_frames=3)
    assert answer[0].text.split("; ")[:3] == [f"data:image/jpeg;base64 {w}x60" for w in (100, 104, 107)]


def test_the_frames_go_along_as_one_video(server):
    (answer,) = describe(server, [clip()], max_frames=3, frames_as="video", audio="wav")
    video, sound = answer[0].text.split("; ")[:2]
    assert video == "data:video/jpeg;base64 100x60 104x60 107x60"
    assert sound.startswith("wav=")
    with pytest.raises(ValueError, match="takes 32 frames"):
        settings(server, max_frames=33, frames_as="video")


def test_a_video_says_when_its_frames_stand_where_the_server_takes_that(server):
    describe(server, [clip("timed")], max_frames=3, frames_as="timed_video")
    told = json.loads(urlopen(f"{server}/log").read())["requests"][-1]["media"]["video"]
    assert [place / told["fps"] for place in told["frames_indices"]] == [0.0, 4.0, 7.0]
    assert (told["duration"], told["num_frames"]) == (1.5, -1)
    assert told["total_num_frames"] >= 3


@pytest.mark.parametrize(
    ("form", "seen"), [("wav", "wav=WAV 16000 Hz 1.50 s"), ("flac", "flac=FLAC 16000 Hz 1.50 s")]
)
def test_the_sound_goes_along_in_the_form_that_the_server_takes(server, form, seen):
    (answer,) = describe(server, [clip()], audio=form)
    assert seen in answer[0].text
    assert answer[0].text.count("image/jpeg") == 8


def test_a_server_for_sound_alone_gets_no_frames(server):
    (answer,) = describe(server, [clip()], audio="wav", max_frames=0)
    assert answer[0].text.startswith("wav=")
    assert "image" not in answer[0].text


def test_the_transcript_goes_along_only_when_asked(server):
    (answer,) = describe(server, [clip()], give_transcript=True)
    assert 'What is said in the clip: "Hello there."' in answer[0].text


def test_what_a_clip_lacks_is_reported_and_a_clip_with_nothing_fails_alone(server):
    answers = describe(
        server,
        [
            clip(),
            clip("silent", audio=False),
            clip("sound", frames=0),
            clip("nothing", frames=0, audio=False),
        ],
        audio="wav",
    )
    degraded = [answer[0].degraded for answer in answers[:3]]
    assert degraded == [(), ("audio",), ("frames",)]
    assert answers[3].code == "modality_missing"


def test_samples_have_seeds_of_their_own_that_depend_on_the_row_alone(server):
    clips = [clip("a"), clip("b")]
    together = describe(server, clips, samples=3)
    assert len({one.text for answer in together for one in answer}) == 6
    assert [len(answer) for answer in together] == [3, 3]
    alone = describe(server, clips[1:], samples=3)
    assert alone == together[1:]
    # Those that a clip names are the same, whichever others are asked for.
    [later] = describe(server, [replace(clips[0], samples=(1, 2))], samples=3)
    assert later == together[0][1:]
    assert describe(server, clips, samples=3, seed=1) != together
    assert describe(server, clips, samples=3, name="other") != together
    assert all(0 <= r["seed"] < 2**31 for r in requests_to(server)["requests"])


def test_a_refused_clip_fails_with_the_servers_words_and_its_neighbour_does_not(server, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(json.dumps({"always": {"status": 400}}))
    (answer,) = describe(server, [clip()], prompt=str(prompt))
    assert isinstance(answer, RowError)
    assert answer.code == "refused_by_server"
    bad = Clip("bad", clip().frames, clip().frame_times, b"no flac", None, None, 1.0)
    answers = describe(server, [bad, clip()], audio="wav")
    assert answers[0].code == "bad_audio"
    assert answers[1][0].text.endswith(f"seed={requests_to(server)['requests'][-1]['seed']}")


def test_the_dry_check_names_the_unset_key_and_the_unknown_prompt(server):
    bad = settings(server, {"api_key_env": "NOT_SET_ANYWHERE"}, prompt="no-such-prompt")
    key, prompt = OpenAIExpert.missing(bad)
    assert "NOT_SET_ANYWHERE" in key
    assert "openai-no-such-prompt" in prompt
    assert OpenAIExpert.missing(settings(server)) == []


def test_the_card_says_what_is_sent_where(server):
    with closing(experts.load(settings(server, audio="wav"))) as expert:
        assert expert.card.modalities == ("frames", "audio")
        assert expert.card.model == "tiny"
        assert len(expert.card.prompt_sha) == 16
    with pytest.raises(ValueError, match="nothing would be sent"):
        settings(server, max_frames=0)


def test_an_unknown_setting_of_the_server_is_named(server):
    with pytest.raises(ValueError, match="retries"):
        settings(server, {"retries": 3})


# A server of transformers, with a model that looks at pictures.


@pytest.fixture(scope="module")
def transformers_server(tmp_path_factory):
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi, uvicorn and openai")
    model = checkpoints.make_internvl(tmp_path_factory.mktemp("served") / "internvl")
    generation = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps({**generation, "do_sample": True}))
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(model)]
    log = tmp_path_factory.mktemp("log") / "serve.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(240):
            if process.poll() is not None:
                raise RuntimeError(f"transformers serve ended: {log.read_text()[-2000:]}")
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        process.kill()
        process.wait()


def test_transformers_serve_describes_the_frames_of_a_clip(transformers_server):
    url, model = transformers_server
    # One request at a time: this server's seed is one for all requests that it works on.
    served = {"model": model, "max_tokens": 12, "temperature": 1.0, "concurrency": 1}
    with closing(OpenAIExpert(settings(url, served, samples=2))) as expert:
        first, second = expert.describe([clip("a"), clip("bb")])
        again = expert.describe([clip("bb"), clip("a")])
    assert first[0].output_tokens == 12
    assert first[0].prompt_tokens > 300
    assert first[0].finish_reason == "length"
    assert len({one.text for one in first + second}) == 4
    assert again == [second, first]


def test_transformers_serve_refuses_another_model_than_its_own(transformers_server):
    url, _ = transformers_server
    (answer,) = describe(url, [clip()], {"model": "another/model"})
    assert answer.code == "refused_by_server"
    assert "Server is pinned" in answer.message


def test_a_server_that_ignores_n_is_told_apart(transformers_server):
    url, model = transformers_server
    # A connection may be cut while this server is busy: one more try, as a user would have.
    served = {"model": model, "max_tokens": 4, "samples_by": "n", "attempts": 3}
    (answer,) = describe(url, [clip()], served, samples=2)
    assert answer.code == "bad_answer"
    assert "asked for 2 choices, got 1" in answer.message
