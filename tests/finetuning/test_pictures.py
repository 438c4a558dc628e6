"""Sets of pictures are trained on as pictures, each where the chat names it."""

import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

import checkpoints
import synthetic_clips
from emo.captions.messages import Turn
from emo.errors import RowError
from emo.finetuning import model
from emo.finetuning.collate import collate
from emo.finetuning.loss import loss_sum, on_device
from emo.finetuning.masking import Encoder
from emo.finetuning.samples import from_turns
from emo.finetuning.settings import Finetune

SEEING = ["internvl", "qwen2.5-vl", "qwen3-vl", "qwen2.5-omni", "qwen3-omni"]
ASKED = "First <image> then <image>. What is felt?"
CHAT = [Turn("user", ASKED), Turn("assistant", "She frowns.")]


def picture(seed, width, height):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = (picture(1, 112, 84), picture(2, 70, 140))


def clip(pictures):
    times = tuple(map(float, range(len(pictures))))
    return replace(
        synthetic_clips.clip(1), frames=tuple(pictures), frame_times=times, audio=None, transcript=None
    )


def sample(chat=CHAT):
    return from_turns("s", chat, None, True, pictures=True)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    made = {}

    def get(family):
        kind, make = checkpoints.FAMILIES[family]
        if family not in made:
            folder = make(tmp_path_factory.mktemp(family))
            made[family] = folder, Encoder(kind, folder, max_frames=2, max_tokens=4000)
        return made[family]

    return get


@pytest.mark.parametrize("family", SEEING)
def test_pictures_of_any_size_stand_where_the_chat_names_them_as_the_processor_puts_them(family, encoders):
    folder, encoder = encoders(family)
    made = encoder.encode(sample(), clip(PICTURES))
    processor = AutoProcessor.from_pretrained(folder)
    parts = [{"type": "text", "text": "First "}, {"type": "image"}, {"type": "text", "text": " then "}]
    turns = [
        {"role": "user", "content": [*parts, {"type": "image"}, {"type": "text", "text": ". What is felt?"}]}
    ]
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    shown = [Image.open(io.BytesIO(data)).convert("RGB") for data in PICTURES]
    plain = processor(text=[text], images=shown, return_tensors="pt")
    assert made.input_ids[: made.prompt].tolist() == plain["input_ids"][0].tolist()
    whole = re.sub("·+", "·", encoder.show(made))
    assert re.search(r"First \S*?·\S*\s* then \S*?·\S*\s*\. What is felt\?", whole), whole
    batch = collate([made], encoder.preprocessor, encoder.pad_token, None)
    inputs, _ = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
    # JPEGs are decoded by two libraries: a value or two apart.
    assert (inputs["pixel_values"] - plain["pixel_values"]).abs().max() < 0.2
    assert (inputs["pixel_values"] - plain["pixel_values"]).abs().mean() < 0.02


@pytest.mark.parametrize("family", ["qwen2.5-vl", "qwen3-vl", "qwen2.5-omni"])
def test_a_single_picture_is_shown_once(family, encoders):
    _, encoder = encoders(family)
    chat = [Turn("user", "<image>What is felt?"), Turn("assistant", "She frowns.")]
    made = encoder.encode(sample(chat), clip(PICTURES[:1]))
    assert made.features["image_grid_thw"].tolist()[0][0] == 1
    assert len(made.features["image_grid_thw"]) == 1


@pytest.mark.parametrize("family", ["qwen2.5-omni", "qwen3-omni"])
def test_a_sound_stands_where_its_tag_is(family, encoders):
    _, encoder = encoders(family)
    chat = [Turn("user", "<audio>You heard it. <image>And saw it."), Turn("assistant", "She frowns.")]
    heard = replace(clip(PICTURES[:1]), audio=synthetic_clips.clip(1).audio)
    made = encoder.encode(sample(chat), heard)
    said = "".join(
        text for text, _ in itertools.groupby(encoder.tokenizer.decode([i]) for i in made.input_ids.tolist())
    )
    assert said.index("<|AUDIO|>") < said.index("You heard") < said.index("<|IMAGE|>") < said.index("And saw")


@pytest.mark.parametrize("family", SEEING)
def test_pictures_and_a_video_train_in_one_batch_as_each_alone(family, encoders):
    folder, encoder = encoders(family)
    kind, _ = checkpoints.FAMILIES[family]
    settings = Finetune(family=kind, model=str(folder), device="cpu", lora={"rank": 2, "dropout": 0})
    made = model.prepare(settings, folder).model.eval()
    usual = from_turns("v", [Turn("user", "What?"), Turn("assistant", "She smiles.")], None, True)
    rows = [encoder.encode(sample(), clip(PICTURES)), encoder.encode(usual, synthetic_clips.clip(2))]

    def loss(chosen):
        batch = collate(chosen, encoder.preprocessor, encoder.pad_token, None)
        inputs, labels = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
        return loss_sum(made, made.get_base_model().get_output_embeddings(), inputs, labels)

    alone = loss(rows[:1]) + loss(rows[1:])
    together = loss(rows)
    assert torch.allclose(alone, together, rtol=1e-4), (alone, together)
    together.backward()
    assert all(value.grad is not None for value in made.parameters() if value.requires_grad)


def test_a_family_without_eyes_takes_no_pictures(encoders):
    _, encoder = encoders("qwen2-audio")
    with pytest.raises(RowError, match="takes no pictures"):
        encoder.encode(sample(), clip(PICTURES))
