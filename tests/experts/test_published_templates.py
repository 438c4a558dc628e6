"""What each family is given with a chat template that writes what the published one writes."""

import itertools

import pytest

import checkpoint_parts
import checkpoints
import hf_checkpoints
import synthetic_clips
from emo import experts

_SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
_ASKED = "What is felt?<|im_end|>\n<|im_start|>assistant\n"
_PLACEHOLDERS = ("<IMG_CONTEXT>", "<|video_pad|>", "<|VIDEO|>", "<|AUDIO|>")
_CLIP = synthetic_clips.clip(1, frames=4, seconds=1.5)
# Family -> text of a video, text of a sound, the system turn that the template adds by itself.
_PUBLISHED = {
    "internvl": ("<video>\n", "", ""),
    "qwen2.5-vl": ("<|vision_start|><|video_pad|><|vision_end|>", "", _SYSTEM),
    "qwen3-vl": ("<|vision_start|><|video_pad|><|vision_end|>", "", ""),
    "qwen2.5-omni": ("<|vision_bos|><|VIDEO|><|vision_eos|>", "<|audio_bos|><|AUDIO|><|audio_eos|>", _SYSTEM),
    "qwen3-omni": ("<|vision_bos|><|VIDEO|><|vision_eos|>", "<|audio_bos|><|AUDIO|><|audio_eos|>", ""),
    "qwen2-audio": ("", "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n", _SYSTEM),
}
# What the model is given before the question, each run of one placeholder as one.
_GIVEN = {
    "internvl": "".join(f"Frame{place}: <img><IMG_CONTEXT></img>\n" for place in (1, 2, 3, 4)),
    "qwen2.5-vl": "<|vision_start|><|video_pad|><|vision_end|>",
    # A patch spans two frames, and a time in words stands before it.
    "qwen3-vl": (
        "<0.2 seconds><|vision_start|><|video_pad|><|vision_end|>"
        "<0.9 seconds><|vision_start|><|video_pad|><|vision_end|>"
    ),
    # Frames and sound in turns, by their time.
    "qwen2.5-omni": "<|vision_bos|><|audio_bos|><|VIDEO|><|AUDIO|><|audio_eos|><|vision_eos|>",
    "qwen3-omni": "<|vision_bos|><|audio_bos|>{turns}<|audio_eos|><|vision_eos|>",
    "qwen2-audio": "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n",
}


def published(folder, video, audio, system):
    template = checkpoint_parts.chat_template(video=video, audio=audio)
    if system:
        first = "{% if messages[0]['role'] != 'system' %}" + system + "{% endif %}"
        template = first + template
    (folder / "chat_template.jinja").write_text(template)
    return folder


def given(kind, folder, tmp_path):
    question = tmp_path / "question.txt"
    question.write_text("What is felt?")
    cls = experts.expert_class(kind)
    values = {"name": "e", "kind": kind, "model": str(folder), "device": "cpu", "prompt": str(question)}
    expert = cls(cls.Settings(**values))
    preprocessor = expert.engine.preprocessor
    ids = (
        preprocessor.batch([_CLIP])["input_ids"][0] if kind == "hf" else preprocessor.prepare(_CLIP).input_ids
    )
    expert.close()
    parts = itertools.groupby(preprocessor.tokenizer.decode([token]) for token in ids.tolist())
    return "".join(text if text in _PLACEHOLDERS else text * len(list(run)) for text, run in parts)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_clip_stands_in_the_chat_as_the_family_was_trained_on_it(family, tmp_path):
    kind, make = checkpoints.FAMILIES[family]
    video, audio, system = _PUBLISHED[family]
    said = given(kind, published(make(tmp_path / "base"), video, audio, system), tmp_path)
    before, after = f"{system}<|im_start|>user\n", _ASKED
    assert said.startswith(before)
    assert said.endswith(after)
    shown = said.removeprefix(before).removesuffix(after)
    if family == "qwen3-omni":
        begin, end = _GIVEN[family].split("{turns}")
        assert shown.startswith(begin)
        assert shown.endswith(end)
        assert set(shown[len(begin) : -len(end)].replace("<|VIDEO|>", "v").replace("<|AUDIO|>", "a")) == {
            "v",
            "a",
        }
    else:
        assert shown == _GIVEN[family]


def test_a_model_of_that_processor_that_is_loaded_by_what_it_is_has_the_marks_once_too(tmp_path):
    folder = hf_checkpoints.make_qwen3_5(tmp_path / "base")
    said = given("hf", published(folder, *_PUBLISHED["qwen3-vl"]), tmp_path)
    assert _GIVEN["qwen3-vl"] in said
    assert said.count("<|vision_start|>") == said.count("<|vision_end|>") == 2
