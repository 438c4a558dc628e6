import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoProcessor

import checkpoints
import hf_checkpoints
import synthetic_clips
from emo import experts
from emo.engines.any_class import model_class
from emo.errors import InputError, RowError
from emo.experts.hf import HfSettings
from emo.experts.hf_chat import AnyChat
from emo.experts.media import audio_wave, frames_tensor, video_metadata
from emo.experts.prompts import load_prompt

FAMILIES = list(hf_checkpoints.FAMILIES)
HEARS = {"audioflamingo3", "voxtral", "gemma4"}
SEES = set(FAMILIES) - {"audioflamingo3", "voxtral"}
# The chat of the one is written by another package; the other is given pictures in words.
BY_TEMPLATE = [family for family in FAMILIES if family not in ("voxtral", "gemma3")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each family, made when it is first asked for."""
    made = {}

    def folder(family):
        if family in hf_checkpoints.NEEDS:
            pytest.importorskip(hf_checkpoints.NEEDS[family])
        if family not in made:
            made[family] = hf_checkpoints.FAMILIES[family](tmp_path_factory.mktemp(family))
        return made[family]

    return folder


@pytest.fixture(scope="module")
def loaded(folders):
    """Experts by family and settings; loading is most of a test's time."""
    made = {}

    def expert(family, **changes):
        key = (family, json.dumps(changes))
        if key not in made:
            made[key] = load(folders(family), **changes)
        return made[key]

    return expert


def load(folder, **changes):
    settings = {"name": "any", "kind": "hf", "model": str(folder), "device": "cpu", "max_new_tokens": 10}
    return experts.load(experts.settings_of({**settings, **changes}))


def texts(answers):
    assert all(isinstance(answer, list) for answer in answers), answers
    return [[description.text for description in answer] for answer in answers]


def plain(family, folder, clip):
    """The way of the published examples: the processor writes the chat and makes the inputs of one clip."""
    processor = AutoProcessor.from_pretrained(folder)
    if family == "qwen3.5":  # the processor of its kind once replaced the marks with the video
        marked = "<|vision_start|><|video_pad|><|vision_end|>"
        processor.chat_template = processor.chat_template.replace(marked, "<|video_pad|>")
    content, arguments = [], {}
    if family in SEES:
        places = range(len(clip.frames))
        content.append({"type": "video", "video": frames_tensor(clip, places)})
        arguments["videos_kwargs"] = {
            "do_sample_frames": False,
            "video_metadata": [[video_metadata(clip, places)]],
        }
    if family in HEARS:
        content.append({"type": "audio", "audio": audio_wave(clip)})
    content.append({"type": "text", "text": load_prompt("openai-description").text})
    inputs = processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        processor_kwargs=arguments,
    )
    inputs.pop("token_type_ids", None)
    model = model_class(folder, False).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    written = out[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(written, skip_special_tokens=True).strip()


@pytest.mark.parametrize("family", BY_TEMPLATE)
def test_an_answer_is_that_of_the_published_way(family, folders, loaded):
    clip = synthetic_clips.clip(4, frames=6, seconds=1.5)
    assert texts(loaded(family).describe([clip])) == [[plain(family, folders(family), clip)]]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_depend_on_neither_batch_nor_order_nor_neighbours(family, loaded):
    clips = synthetic_clips.mixed(3, seed=1)
    clips += [synthetic_clips.clip(9, frames=6), synthetic_clips.clip(10, frames=6, seconds=3.0)]
    expert = loaded(family, samples=2)
    together = texts(expert.describe(clips))
    assert together == [texts(expert.describe([clip]))[0] for clip in clips]
    assert texts(expert.describe(clips[::-1])) == together[::-1]
    second = [replace(clip, samples=(1,)) for clip in clips]
    assert texts(expert.describe(second)) == [samples[1:] for samples in together]
    assert len({text for samples in together for text in samples}) > len(clips), "samples differ"
    assert not expert.engine.one_by_one


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_clip_lacks_is_said_and_what_it_has_matters(family, loaded):
    expert = loaded(family)
    whole, other = synthetic_clips.clip(1), synthetic_clips.clip(2)
    silent, dark = synthetic_clips.clip(1, sound=False), synthetic_clips.clip(1, frames=0)
    sees, hears = family in SEES, family in HEARS
    assert expert.card.modalities == (*(["frames"] if sees else []), *(["audio"] if hears else []))
    answers = expert.describe([whole, other, silent, dark])
    assert answers[0][0].degraded == ()
    # Of random weights the text may say the same of two clips; the scores never do.
    scores, others = (
        expert.engine._first_scores(expert.engine.preprocessor.batch([clip])) for clip in (whole, other)
    )
    assert not torch.allclose(scores, others, rtol=1e-3)
    for answer, there, other_there, lacking in (
        (answers[2], hears, sees, "audio"),
        (answers[3], sees, hears, "frames"),
    ):
        if there and not other_there:
            assert isinstance(answer, RowError)
            assert answer.code == "modality_missing"
        else:
            assert answer[0].degraded == ((lacking,) if there else ())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_broken_clip_costs_itself_alone(family, loaded):
    good = synthetic_clips.clip(1)
    broken = replace(good, video_id="x", frames=(b"no picture",) * 8, audio=b"no sound")
    first, failed, second = loaded(family).describe([good, broken, good])
    assert isinstance(failed, RowError)
    assert failed.code == ("bad_frames" if family in SEES else "bad_audio")
    assert texts([first]) == texts([second]) == texts(loaded(family).describe([good]))


def test_a_family_whose_rows_see_their_padding_goes_one_by_one(folders, caplog):
    clips = [
        replace(synthetic_clips.clip(number), transcript="Well. " * 9 * number, video_id=f"{number}")
        for number in range(1, 4)
    ]
    expert = load(folders("qwen2-vl"), give_transcript=True)
    alone = [texts(expert.describe([clip]))[0] for clip in clips]
    batch = expert.engine.preprocessor.batch

    def unmasked(items):
        inputs = batch(items)
        return {**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}

    expert.engine.preprocessor.batch = unmasked
    assert texts(expert.describe(clips)) == alone
    assert expert.engine.one_by_one
    assert "each goes alone" in caplog.text


def test_a_batch_that_does_not_fit_the_memory_is_halved(folders):
    clips = [synthetic_clips.clip(number) for number in range(6)]
    expert = load(folders("qwen2-vl"))
    wanted = texts(expert.describe(clips))
    rows = []
    generate = expert.engine.model.generate

    def small(**inputs):
        rows.append(len(inputs["input_ids"]))
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("too much")
        return generate(**inputs)

    expert.engine.model.generate = small
    assert texts(expert.describe(clips)) == wanted
    assert max(rows) > 2
    assert expert.engine.stats.out_of_memory > 0
    rows.clear()
    assert texts(expert.describe(clips)) == wanted
    assert max(rows) <= 2, "what did not fit is not tried again"


def test_a_clip_that_does_not_fit_the_memory_alone_fails_alone(folders):
    clips = [synthetic_clips.clip(number, frames=4 * number) for number in (1, 2)]
    expert = load(folders("qwen2-vl"))
    generate = expert.engine.model.generate
    longest = expert.engine.preprocessor.batch(clips[:1])["input_ids"].shape[1]

    def small(**inputs):
        if inputs["input_ids"].shape[1] > longest:
            raise torch.OutOfMemoryError("too much")
        return generate(**inputs)

    expert.engine.model.generate = small
    first, second = expert.describe(clips)
    assert isinstance(first, list)
    assert second.code == "out_of_memory"


def test_a_clip_that_does_not_fit_the_context_fails_alone(loaded):
    good = synthetic_clips.clip(1)
    long = replace(good, video_id="long", transcript="I am so happy. " * 3000)
    first, failed = loaded("qwen2-vl", give_transcript=True).describe([good, long])
    assert isinstance(first, list)
    assert failed.code == "too_long"


def test_a_variable_of_the_chat_template_is_passed_on(folders, loaded):
    thinks, answers = loaded("qwen3.5"), loaded("qwen3.5", template={"enable_thinking": False})
    clip = synthetic_clips.clip(1)
    for expert, end in ((thinks, "<think>\n"), (answers, "</think>\n\n")):
        chat = expert.engine.preprocessor
        assert chat.chat.written(chat.question.turns(clip, [{"type": "video"}])).endswith(end)
    with pytest.raises(InputError, match=r"template\.enable_thought: its chat template has no such variable"):
        load(folders("qwen3.5"), template={"enable_thought": False})
    folder = checkpoints.make_internvl(folders("qwen3.5") / "internvl")
    with pytest.raises(InputError, match="no such variable"):
        load(folder, kind="internvl", template={"enable_thought": False})


def test_without_a_prompt_nothing_is_asked(loaded):
    clip = synthetic_clips.clip(1)
    asked, silent = loaded("qwen2-vl"), loaded("qwen2-vl", prompt=None)
    (with_words,), (without,) = asked.describe([clip])[0], silent.describe([clip])[0]
    assert with_words.prompt_tokens > without.prompt_tokens + 100
    assert without.text
    assert asked.card.prompt_sha != silent.card.prompt_sha


def test_a_system_turn_that_the_template_refuses_goes_before_the_question(loaded, caplog):
    expert = loaded("gemma3", system="You look closely.")
    chat = expert.engine.preprocessor
    turns = chat.question.turns(synthetic_clips.clip(1), [{"type": "image"}])
    assert "<start_of_image>You look closely.\n\nDescribe" in chat.chat.written(turns)
    assert "takes no system turn" in caplog.text
    assert texts(expert.describe([synthetic_clips.clip(1)]))
    kept = loaded("qwen2-vl", system="You look closely.").engine.preprocessor
    turns = kept.question.turns(synthetic_clips.clip(1), [{"type": "video"}])
    assert kept.chat.written(turns).startswith("<|im_start|>system\nYou look closely.<|im_end|>")


def test_frames_are_a_video_or_pictures_with_their_times(loaded):
    clip = synthetic_clips.clip(1, frames=3, seconds=1.5)
    chat = loaded("qwen2-vl").engine.preprocessor
    assert chat._parts(clip, {"frames"}) == [{"type": "video"}]
    pictures = loaded("gemma3").engine.preprocessor._parts(clip, {"frames"})
    assert [part["type"] for part in pictures] == ["text", "image"] * 3
    assert [part["text"] for part in pictures[::2]] == [f"Frame at {time} s:" for time in (0.0, 0.5, 1.0)]
    deaf = loaded("gemma4", sound=False)
    assert deaf.card.modalities == ("frames",)
    assert deaf.describe([clip])[0][0].degraded == ()
    blind = loaded("gemma4", frames_as="off")
    assert blind.card.modalities == ("audio",)
    with pytest.raises(InputError, match="frames_as: video: it takes none"):
        loaded("gemma3", frames_as="video")
    with pytest.raises(InputError, match="takes no pictures and no sound"):
        loaded("gemma4", frames_as="off", sound=False)


def test_sound_goes_to_the_model_at_its_own_rate(folders):
    processor = AutoProcessor.from_pretrained(folders("audioflamingo3"))
    processor.feature_extractor.sampling_rate = 24_000
    folder = folders("audioflamingo3")
    expert = load(folder)
    chat = AnyChat(
        processor, folder, expert.settings, expert.engine.preprocessor.question, type(expert.engine.model)
    )
    clip = synthetic_clips.clip(1, seconds=2.0)
    assert len(chat._wave(clip)) == 48_000
    assert len(expert.engine.preprocessor._wave(clip)) == 32_000


def test_control_tokens_are_left_out_of_an_answer_but_for_marks_of_thought(loaded):
    chat = loaded("qwen3.5").engine.preprocessor
    made = chat.tokenizer
    made.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    chat._control = frozenset({made.eos_token_id, made.convert_tokens_to_ids("<|im_start|>")})
    ids = made("<think>She frowns</think><|im_start|>sad<|im_end|>", add_special_tokens=False)["input_ids"]
    assert chat.text(ids) == "<think>She frowns</think>sad"


def refusal(folder, change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    settings = HfSettings(name="any", kind="hf", model=str(folder), device="cpu")
    missing = experts.expert_class("hf").missing(settings)
    with pytest.raises(InputError) as raised:
        experts.load(settings)
    assert missing == [str(raised.value)]
    return str(raised.value)


def test_a_checkpoint_that_cannot_be_loaded_is_refused_before_anything_starts(tmp_path):
    folder = hf_checkpoints.make_qwen2_vl(tmp_path / "family")
    told = refusal(folder, {"model_type": "emotion_qwen"})
    assert "has no class for 'emotion_qwen' that takes media" in told
    assert "use the expert `openai`" in told
    told = refusal(folder, {"auto_map": {"AutoModelForCausalLM": "modeling.Own"}})
    assert "brings its own code, which trust_remote_code: true runs" in told


def test_a_checkpoint_without_a_chat_template_or_a_processor_is_refused(tmp_path):
    folder = hf_checkpoints.make_qwen2_vl(tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template; expected an instruction-tuned checkpoint"):
        load(folder)
    with pytest.raises(InputError, match="has no class for 'qwen2' that takes media"):
        load(checkpoints.make_text(tmp_path / "text"))


def test_of_a_full_omni_checkpoint_the_thinker_is_loaded(tmp_path):
    folder = checkpoints.make_qwen2_5_omni(tmp_path)
    assert model_class(folder, False).__name__ == "Qwen2_5OmniThinkerForConditionalGeneration"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen2_5_omni"}))
    assert model_class(folder, False).__name__ == "Qwen2_5OmniThinkerForConditionalGeneration"
