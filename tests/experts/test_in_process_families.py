from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoProcessor

import checkpoints
import synthetic_clips
from emo import experts
from emo.errors import InputError, RowError
from emo.experts.media import audio_wave, evenly, frame_spacing, frames_tensor
from emo.experts.prompts import load_prompt
from emo.experts.qwen_omni import at_least_one_window

FRAMES_ONLY = ["internvl", "qwen2.5-vl", "qwen3-vl"]
OMNI = ["qwen2.5-omni", "qwen3-omni"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each family, made when it is first asked for."""
    made = {}

    def folder(family):
        if family not in made:
            made[family] = checkpoints.FAMILIES[family][1](tmp_path_factory.mktemp(family), end_bias=2.0)
        return made[family]

    return folder


@pytest.fixture(scope="module")
def loaded(folders):
    """Experts by family and settings; loading is most of a test's time."""
    made = {}

    def expert(family, **changes):
        key = (family, tuple(sorted(changes.items())))
        if key not in made:
            made[key] = load(family, folders(family), **changes)
        return made[key]

    return expert


def settings_for(family, folder, **changes):
    kind = checkpoints.FAMILIES[family][0]
    return {
        "name": family,
        "kind": kind,
        "model": str(folder),
        "device": "cpu",
        "max_new_tokens": 12,
        **changes,
    }


def load(family, folder, **changes):
    cls = experts.expert_class(checkpoints.FAMILIES[family][0])
    return cls(cls.Settings(**settings_for(family, folder, **changes)))


def texts(expert, clips):
    answers = expert.describe(clips)
    assert all(isinstance(answer, list) for answer in answers), answers
    return [[description.text for description in answer] for answer in answers]


def plain(family, folder, clip, max_frames=8, max_new_tokens=12):
    """The way of the published examples: the processor's own normalisation, one clip, `generate`."""
    kind = checkpoints.FAMILIES[family][0]
    processor = AutoProcessor.from_pretrained(folder)
    question = load_prompt(f"{kind}-description").text
    arguments, content = {}, []
    spacing = 1.0
    if kind != "qwen-audio":
        places = evenly(len(clip.frames), max_frames)
        spacing = frame_spacing(clip, places)
        metadata = {
            "fps": 1000,
            "frames_indices": [round(clip.frame_times[place] * 1000) for place in places],
            "total_num_frames": round(spacing * len(places) * 1000),
        }
        arguments["videos"] = [frames_tensor(clip, places)]
        arguments["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": [metadata]}
        content.append({"type": "video"})
    model_arguments = {}
    if kind == "qwen-audio":
        wave, span = audio_wave(clip), processor.feature_extractor.n_samples
        arguments |= {
            "audio": [wave[at : at + span] for at in range(0, len(wave), span)],
            "sampling_rate": 16000,
        }
        content += [{"type": "audio"}] * len(arguments["audio"])
    if kind == "qwen-omni":
        arguments |= {
            "audio": [at_least_one_window(processor, audio_wave(clip))],
            "load_audio_from_video": True,
            "audio_from_video_indices": [0],
        }
        arguments["videos_kwargs"]["fps"] = 1.0 / spacing
        model_arguments["use_audio_in_video"] = True
    turns = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    written = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    if family == "qwen3-vl":  # the processor of its release replaced the marks with the video
        written = written.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
    inputs = processor(text=[written], return_tensors="pt", **arguments)
    inputs.pop("token_type_ids", None)
    architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model.generate(**inputs, **model_arguments, max_new_tokens=max_new_tokens, do_sample=False)
    return processor.tokenizer.decode(
        out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    ).strip()


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_greedy_descriptions_equal_the_plain_path_token_for_token(family, folders, loaded):
    clips = synthetic_clips.mixed(3)
    for clip, (text,) in zip(clips, texts(loaded(family), clips), strict=True):
        assert text == plain(family, folders(family), clip)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_descriptions_depend_on_neither_batch_nor_order_nor_neighbours(family, loaded):
    clips = synthetic_clips.mixed(5, seed=1)
    together = texts(loaded(family, samples=3), clips)
    alone = loaded(family, samples=3, token_budget=1, workers=1)
    assert together == [texts(alone, [clip])[0] for clip in clips]
    assert texts(loaded(family, samples=3), clips[::-1]) == together[::-1]
    assert texts(loaded(family, samples=3), clips[2:4]) == together[2:4]
    later = [replace(clip, samples=(2,)) for clip in clips]
    assert texts(loaded(family, samples=3), later) == [samples[2:] for samples in together]
    assert len({text for samples in together for text in samples}) > len(clips), "samples differ"


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_greedy_samples_are_identical_and_the_picture_or_sound_matters(family, loaded):
    answers = texts(
        loaded(family, samples=3, temperature=0.0), [synthetic_clips.clip(1), synthetic_clips.clip(2)]
    )
    assert all(len(answer) == 3 and len(set(answer)) == 1 for answer in answers)
    assert answers[0] != answers[1]


@pytest.mark.parametrize("family", OMNI)
def test_omni_without_sound_looks_at_the_frames_and_says_so(family, loaded):
    silent = synthetic_clips.clip(1, sound=False)
    full = synthetic_clips.clip(1)
    (without,), (whole,) = loaded(family).describe([silent, full])
    assert without.degraded == ("audio",)
    assert whole.degraded == ()
    assert without.prompt_tokens < whole.prompt_tokens


@pytest.mark.parametrize("family", OMNI)
def test_omni_without_frames_listens_and_says_so(family, loaded):
    (heard,) = loaded(family).describe([synthetic_clips.clip(1, frames=0)])
    assert heard[0].degraded == ("frames",)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_clip_without_what_the_expert_needs_fails_alone(family, loaded):
    kind = checkpoints.FAMILIES[family][0]
    empty = synthetic_clips.clip(1, frames=0 if kind != "qwen-audio" else 4, sound=False)
    good, missing = loaded(family).describe([synthetic_clips.clip(2), empty])
    assert isinstance(missing, RowError)
    assert missing.code == "modality_missing"
    assert [[description.text for description in good]] == texts(loaded(family), [synthetic_clips.clip(2)])


def test_the_thinker_of_a_full_omni_checkpoint_is_loaded_alone(folders, tmp_path):
    thinker = transformers.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folders("qwen2.5-omni"))
    config = transformers.Qwen2_5OmniConfig(
        thinker_config=thinker.config.to_dict(), enable_audio_output=False
    )
    whole = transformers.Qwen2_5OmniForConditionalGeneration(config)
    whole.thinker.load_state_dict(thinker.state_dict())
    for path in folders("qwen2.5-omni").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole.save_pretrained(tmp_path)
    expert = load("qwen2.5-omni", tmp_path)
    assert expert.engine.model.config.model_type == "qwen2_5_omni_thinker"
    clips = [synthetic_clips.clip(1)]
    assert texts(expert, clips) == texts(load("qwen2.5-omni", folders("qwen2.5-omni")), clips)


def test_broken_frames_and_broken_sound_fail_their_rows_alone(loaded):
    from dataclasses import replace

    good = synthetic_clips.clip(1)
    cut = replace(good, frames=(*good.frames[:-1], good.frames[-1][:100]))
    noise = replace(good, audio=b"not a sound")
    for expert in (loaded("internvl"), loaded("qwen2.5-omni")):
        first, second = expert.describe([cut, good])
        assert isinstance(first, RowError)
        assert first.code == "bad_frames"
        assert isinstance(second, list)
    (failed,) = loaded("qwen2-audio").describe([noise])
    assert isinstance(failed, RowError)
    assert failed.code == "bad_audio"


@pytest.mark.parametrize("family", ["internvl", "qwen2.5-vl", "qwen2-audio"])
def test_a_clip_that_does_not_fit_the_context_fails_alone(family, tmp_path):
    folder = checkpoints.FAMILIES[family][1](tmp_path, max_position_embeddings=400)
    short = synthetic_clips.clip(1, frames=2, size=(64, 64), seconds=0.5)
    long = synthetic_clips.clip(2, frames=100, size=(84, 84), seconds=20.0)
    changes = {} if family == "qwen2-audio" else {"max_frames": 100}
    fitting, failing = load(family, folder, **changes).describe([short, long])
    assert isinstance(fitting, list)
    assert isinstance(failing, RowError)
    assert failing.code == "too_long"


def test_a_single_frame_is_enough(loaded):
    one = synthetic_clips.clip(3, frames=1)
    for family in (*FRAMES_ONLY, *OMNI):
        assert isinstance(loaded(family).describe([one])[0], list)


def test_the_transcript_is_given_on_request_only(loaded):
    said, unsaid = synthetic_clips.clip(1), synthetic_clips.clip(1, transcript=None)
    usual, asked = loaded("internvl"), loaded("internvl", give_transcript=True)
    assert texts(usual, [said]) == texts(usual, [unsaid])
    (with_words,), (without,) = asked.describe([said, unsaid])
    assert with_words.prompt_tokens > without.prompt_tokens
    assert without.degraded == ("transcript",)
    assert usual.card.prompt_sha != asked.card.prompt_sha


def test_the_card_says_what_was_asked_of_which_model(loaded, folders):
    card = loaded("internvl").card
    assert card.model == str(folders("internvl"))
    assert card.modalities == ("frames",)
    assert card.revision.startswith("local-")
    assert card.licence == "apache-2.0"
    assert card.trained_on == ("random/none",)
    assert card.memory_gib is not None
    assert loaded("internvl", prompt="open-vocabulary").card.prompt_sha != card.prompt_sha


def test_frames_reach_the_device_as_bytes(loaded):
    prompt = loaded("internvl").engine.preprocessor.prepare(synthetic_clips.clip(1))
    assert prompt.features["pixel_values"].dtype == torch.uint8
    prompt = loaded("qwen2.5-vl").engine.preprocessor.prepare(synthetic_clips.clip(1))
    assert prompt.features["pixel_values_videos"].dtype == torch.uint8


def test_a_prompt_of_ones_own_is_read_from_its_file(folders, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("How does this feel?\n")
    expert = load("internvl", folders("internvl"), prompt=str(path))
    assert expert.engine.preprocessor.question.text(synthetic_clips.clip(1)) == "How does this feel?"
    with pytest.raises(InputError, match="unknown prompt 'internvl-poetry'"):
        load("internvl", folders("internvl"), prompt="poetry")


def test_evenly_takes_the_first_and_the_last():
    assert evenly(3, 8) == [0, 1, 2]
    assert evenly(16, 8)[0] == 0
    assert evenly(16, 8)[-1] == 15
    assert len(set(evenly(100, 8))) == 8
    assert evenly(9, 1) == [4]
    assert np.all(np.diff(evenly(50, 7)) > 0)
