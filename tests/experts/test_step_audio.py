import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import step_audio_checkpoint as made
from emo import experts
from emo.errors import InputError, RowError
from emo.experts import step_audio_model as parts
from emo.experts.answers import read_description
from emo.experts.prompts import load_prompt
from emo.experts.protocol import Description
from synthetic_clips import clip, flac


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.make(tmp_path_factory.mktemp("step-audio"))


def settings(folder, **changes):
    given = {
        "name": "step",
        "kind": "step-audio",
        "model": str(folder),
        "device": "cpu",
        "max_new_tokens": 12,
    }
    return experts.settings_of({**given, **changes})


@pytest.fixture(scope="module")
def expert(folder):
    return experts.load(settings(folder))


@pytest.fixture(scope="module")
def state(folder):
    return {name: value.double() for name, value in made.read(folder).items()}


def edited(folder, copy, change):
    shutil.copytree(folder, copy)
    state = made.read(folder)
    change(state)
    made.write(copy, state)
    return copy


def configured(folder, copy, change):
    shutil.copytree(folder, copy)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


# The files: what is in them, and what must not be.


def test_the_parts_have_the_published_keys_and_shapes():
    published = {**made.SOUND, "n_mels": 128, "n_audio_state": 1280, "n_audio_head": 20, "n_audio_layer": 32}
    with torch.device("meta"):
        encoder, adapter = parts.Encoder(published), parts.Adapter(1280, 3584)
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes == made.encoder_shapes(1280, 128, 32, 1500)
    shapes = {name: tuple(value.shape) for name, value in adapter.state_dict().items()}
    assert shapes == made.adapter_shapes(1280, 3584)


@pytest.mark.parametrize(
    "key", ["encoder.blocks.1.attn.key.weight", "adapter.conv.bias", "lm_head.weight", "model.norm.weight"]
)
def test_a_missing_weight_is_named_before_anything_is_loaded(folder, tmp_path, key):
    without = edited(folder, tmp_path / "copy", lambda state: state.pop(key))
    (line,) = experts.expert_class("step-audio").missing(settings(without))
    assert f"1 keys are missing: {key}" in line


def test_a_weight_that_is_not_understood_is_named_and_ignored_only_on_demand(folder, tmp_path):
    def change(state):
        state["encoder.blocks.0.attn.key.bias"] = torch.zeros(made.A)

    extra = edited(folder, tmp_path / "copy", change)
    with pytest.raises(InputError, match=r"not understood .*encoder\.blocks\.0\.attn\.key\.bias"):
        experts.load(settings(extra))
    card = experts.load(settings(extra, ignore_unknown_keys=True)).card
    assert card.model.endswith("without encoder.blocks.0.attn.key.bias")


def test_another_adapter_or_another_configuration_is_refused(folder, tmp_path):
    def other_stride(config):
        config["audio_encoder_config"]["adapter_stride"] = 4

    (line,) = experts.expert_class("step-audio").missing(
        settings(configured(folder, tmp_path / "a", other_stride))
    )
    assert "adapter_stride is 4, expected 2" in line
    without = configured(folder, tmp_path / "b", lambda config: config.pop("text_config"))
    with pytest.raises(InputError, match="lacks text_config"):
        experts.load(settings(without))


def test_a_tokenizer_without_the_tokens_of_sound_is_refused(folder, tmp_path):
    import checkpoint_parts

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    checkpoint_parts.tokenizer(made.TOKENS).save_pretrained(copy)
    with pytest.raises(InputError, match="has no <audio_start>, <audio_patch>, <audio_end>"):
        experts.load(settings(copy))


# What is computed, against plain arithmetic on the weights of the files.


def layer_norm(state, key, states):
    return F.layer_norm(states, states.shape[-1:], state[f"{key}.weight"], state[f"{key}.bias"])


def linear(state, key, states):
    return F.linear(states, state[f"{key}.weight"], state.get(f"{key}.bias"))


def attention(state, key, states, bias):
    """Of one chunk, head by head, queries and keys scaled each, as published."""
    query, keys, value = (linear(state, f"{key}.{name}", states) for name in ("query", "key", "value"))
    width = made.A // 2
    heads = []
    for head in range(2):
        part = slice(head * width, (head + 1) * width)
        scores = (query[:, part] * width**-0.25) @ (keys[:, part] * width**-0.25).T + bias
        heads.append(torch.softmax(scores, -1) @ value[:, part])
    return linear(state, f"{key}.out", torch.cat(heads, -1))


def encoded(state, mel, frames):
    """[bands, T] of one chunk, `frames` of them sound, to [T / 4, A]; then through the adapter."""
    state = {name.removeprefix("encoder."): value for name, value in state.items()}
    total = mel.shape[1]
    states = F.gelu(F.conv1d(mel[None], state["conv1.weight"], state["conv1.bias"], padding=1))
    states = F.gelu(F.conv1d(states, state["conv2.weight"], state["conv2.bias"], stride=2, padding=1))[0].T
    states = states + state["positional_embedding.weight"][: len(states)]
    seen = [place < frames - 2 for place in range(total)][(total + 1) % 2 :: 2]
    bias = torch.tensor([0.0 if one else -1e10 for one in seen], dtype=mel.dtype)
    for layer in range(2):
        key = f"blocks.{layer}"
        states = states + attention(state, f"{key}.attn", layer_norm(state, f"{key}.attn_ln", states), bias)
        inner = F.gelu(linear(state, f"{key}.mlp.0", layer_norm(state, f"{key}.mlp_ln", states)))
        states = states + linear(state, f"{key}.mlp.2", inner)
    even = len(states) // 2 * 2
    states = layer_norm(state, "after_norm", (states[0:even:2] + states[1:even:2]) / 2)
    weight, shift = state["adapter.conv.weight"], state["adapter.conv.bias"]
    states = F.gelu(F.conv1d(states.T[None], weight, shift, stride=2, padding=1))[0].T
    return linear(state, "adapter.linear2", F.relu(linear(state, "adapter.linear1", states)))


def loaded(folder):
    _, sound = parts.read_configs(folder)
    return parts.load_sound(folder, sound, torch.float64)


@pytest.mark.parametrize("lengths", [(40,), (41,), (60, 37), (61, 38), (62, 3)])
def test_the_chunks_of_a_clip_become_what_the_published_arithmetic_makes_of_them(folder, state, lengths):
    encoder, adapter = loaded(folder)
    longest = max(lengths)
    mel = torch.zeros(len(lengths), made.BANDS, longest, dtype=torch.float64)
    for row, length in zip(mel, lengths, strict=True):
        row[:, :length] = torch.randn(made.BANDS, length, dtype=torch.float64)
    with torch.no_grad():
        found = adapter(encoder(mel, torch.tensor(lengths)))
    for one, chunk, length in zip(found, mel, lengths, strict=True):
        count = parts.vectors_of(length)
        torch.testing.assert_close(one[:count], encoded(state, chunk, length)[:count])


def test_a_chunk_of_so_many_frames_becomes_so_many_vectors():
    # By the published formula, written out.
    for frames in range(3, 3000):
        pooled = (frames - 2 + 1) // 2 // 2
        assert parts.vectors_of(frames) == max(0, (pooled + 2 - 3) // 2 + 1)
    assert parts.vectors_of(2502) == 313  # 25 s: 12.5 a second


def test_the_spectrum_is_that_of_whisper_for_as_long_as_the_sound_lasts():
    from transformers import WhisperFeatureExtractor

    wave = np.random.default_rng(1).standard_normal(16_000).astype(np.float32) * 0.1
    mel = parts.log_mel(wave, 128)
    assert mel.shape == (128, (16_000 + 479) // 160)
    whisper = WhisperFeatureExtractor(feature_size=128, chunk_length=1)(wave, sampling_rate=16_000)
    # Whisper's second ends without silence behind it, so its last frame is another.
    np.testing.assert_allclose(mel[:, :98], whisper.input_features[0][:, :98], atol=1e-4)


# The prompt, and what a clip lacks.


def test_the_chat_is_cut_into_tokens_piece_by_piece(expert):
    preprocessor = expert.engine.preprocessor
    ids = preprocessor.prepare(clip(0, seconds=26.0)).input_ids.tolist()
    counts = [parts.vectors_of(frames) for frames in (2502, (16_000 + 479) // 160)]
    sound = "".join(f"<audio_start>{'<audio_patch>' * count}<audio_end>" for count in counts)
    pieces = [
        "<|BOT|>system\nYou are a helpful assistant.<|EOT|>",
        "<|BOT|>human\n",
        load_prompt("qwen-audio-description").text,
        sound,
        "<|EOT|>",
        "<|BOT|>assistant\n",
    ]
    expected = [token for piece in pieces for token in preprocessor.tokenizer(piece)["input_ids"]]
    assert ids == expected


def test_a_model_that_thinks_begins_with_its_thought(folder):
    thinking = experts.load(settings(folder, think=True, system=None)).engine.preprocessor
    text = thinking.tokenizer.decode(thinking.prepare(clip(0)).input_ids)
    assert text.endswith("<|BOT|>assistant\n\n<think>\n")
    assert text.startswith("<|BOT|>human\n")
    read, error = read_description(Description("The voice shakes.\n</think>\n\nShe is afraid."))
    assert error is None
    assert (read.text, read.thought) == ("She is afraid.", "The voice shakes.")


def test_tokens_of_sound_and_of_turns_are_no_part_of_the_answer(expert):
    preprocessor = expert.engine.preprocessor
    known = preprocessor.tokenizer.get_vocab()
    words = preprocessor.tokenizer("She smiles.")["input_ids"]
    assert preprocessor.text([*words, known["<audio_0>"], known["<audio_start>"]]) == "She smiles."
    assert known["<|EOT|>"] in expert.engine.end_tokens


def test_the_vectors_of_each_prompt_stand_in_its_own_places(expert):
    """The first scores of a batch are those of each prompt alone, with sounds of different lengths."""
    clips = [clip(0, seconds=1.3), clip(1, seconds=27.0), clip(2, seconds=2.0), clip(3, seconds=50.5)]
    together = expert.describe(clips)
    assert together == [answer for one in clips for answer in expert.describe([one])]
    assert len({answer[0].text for answer in together}) == 4


def test_sound_changes_what_is_written_and_every_sample_is_its_own(folder, expert):
    text = expert.describe([clip(0)])[0][0].text
    assert text != expert.describe([replace(clip(0), audio=clip(9).audio)])[0][0].text
    (answers,) = experts.load(settings(folder, samples=3)).describe([clip(0)])
    assert len({answer.text for answer in answers}) == 3


def test_a_clip_without_sound_or_with_too_little_of_it_fails_alone(expert):
    short = replace(clip(4), audio=flac(4, 0.01))
    silent, good, tiny = expert.describe([clip(0, sound=False), clip(1), short])
    assert isinstance(silent, RowError)
    assert silent.code == "modality_missing"
    assert isinstance(good, list)
    assert tiny.code == "bad_audio"


def test_no_code_of_the_checkpoint_is_run(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "modeling_step_audio_2.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert experts.load(settings(copy)).describe([clip(0)])[0][0].text
    assert not (tmp_path / "ran").exists()
