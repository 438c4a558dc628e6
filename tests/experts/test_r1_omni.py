import itertools
import json
import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import r1_omni_checkpoint as made
from emo import experts
from emo.errors import InputError
from emo.experts import r1_omni_model as parts
from emo.experts.answers import read_description
from emo.experts.protocol import Description
from emo.experts.r1_omni import nearest
from emo.experts.r1_omni_projector import Branches, Gate, sound_projector
from synthetic_clips import clip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return made.make(tmp_path_factory.mktemp("r1-omni"))


def settings(files, **changes):
    given = {
        "name": "r1-omni",
        "kind": "r1-omni",
        "model": str(files.model),
        "router_tokenizer": str(files.router_tokenizer),
        "device": "cpu",
        "max_new_tokens": 12,
    }
    return experts.settings_of({**given, **changes})


@pytest.fixture(scope="module")
def expert(files):
    return experts.load(settings(files))


@pytest.fixture(scope="module")
def state(files):
    return load_file(files.model / "model.safetensors")


def edited(files, folder, change):
    """A copy of the checkpoint with another set of weights."""
    shutil.copytree(files.model, folder)
    state = load_file(files.model / "model.safetensors")
    change(state)
    made.write(folder, state)
    return replace(files, model=folder)


# The file: what is in it, and what must not be.


def test_the_published_sizes_add_up_to_the_published_number_of_weights(tmp_path):
    from transformers import BertModel, Qwen2ForCausalLM, SiglipVisionModel, WhisperForAudioClassification

    llm = {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps({**made.PUBLISHED, **llm}))
    sizes = parts.read_sizes(tmp_path)
    sizes.vision.vision_use_head = True
    with torch.device("meta"):
        counts = [
            sum(weight.numel() for weight in part.parameters())
            for part in (
                Qwen2ForCausalLM(sizes.llm),
                SiglipVisionModel(sizes.vision),
                WhisperForAudioClassification(sizes.audio).encoder,
                BertModel(sizes.router),
                Gate(768),
                sound_projector(1280, 896),
                Branches(768, 896),
            )
        ]
    assert counts[4:] == [2_766_851, 1_951_488, 34_762_944]
    assert sum(counts) == 1_372_849_475
    assert (sizes.video_tokens, sizes.audio_tokens, sizes.side, sizes.seconds) == (392, 500, 224, 30)


def test_the_branches_have_the_published_keys_and_shapes():
    with torch.device("meta"):
        branches = Branches(768, 896).state_dict()
    assert {name: tuple(value.shape) for name, value in branches.items()} == made.projector_shapes(768, 896)


@pytest.mark.parametrize(
    "key",
    [
        "model.mm_projector.s1_body.b1.downsample.bn.bias",
        "model.audio_tower.audio_tower.encoder.layers.1.fc2.weight",
        "model.bert_gate.2.weight",
        "model.layers.1.self_attn.q_proj.bias",
    ],
)
def test_a_missing_weight_is_named_before_anything_is_loaded(files, tmp_path, key):
    without = edited(files, tmp_path / "copy", lambda state: state.pop(key))
    (line,) = experts.expert_class("r1-omni").missing(settings(without))
    assert f"1 keys are missing: {key}" in line
    with pytest.raises(InputError, match="are missing"):
        experts.load(settings(without))


def test_a_weight_of_another_shape_and_one_that_is_not_understood_are_named(files, tmp_path):
    def change(state):
        state["model.bert_gate.0.bias"] = torch.zeros(7)
        state["model.feature_compressor.vlm_key_projector.weight"] = torch.zeros(2, 2)

    other = edited(files, tmp_path / "copy", change)
    with pytest.raises(InputError) as caught:
        experts.load(settings(other))
    assert "model.bert_gate.0.bias is [7], expected [3584]" in str(caught.value)
    assert "not understood (allow with ignore_unknown_keys): model.feature_compressor" in str(caught.value)


def test_what_is_ignored_on_demand_stands_on_the_card(files, tmp_path):
    extra = edited(files, tmp_path / "copy", lambda state: state.update({"model.extra": torch.zeros(2)}))
    with pytest.raises(InputError, match=r"model\.extra"):
        experts.load(settings(extra))
    card = experts.load(settings(extra, ignore_unknown_keys=True)).card
    assert card.model.endswith("without model.extra")


@pytest.mark.parametrize(
    ("key", "value"),
    [("mm_projector_type", "all_in_one"), ("mm_vision_select_layer", -1), ("mm_use_x_start_end", False)],
)
def test_another_model_of_the_family_is_refused_by_what_is_different(files, tmp_path, key, value):
    folder = tmp_path / "copy"
    shutil.copytree(files.model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    (line,) = experts.expert_class("r1-omni").missing(settings(replace(files, model=folder)))
    assert f"{key} is {value!r}, expected" in line


def test_a_vocabulary_of_another_bert_is_refused(files, tmp_path):
    words = (files.router_tokenizer / "vocab.txt").read_text()
    (tmp_path / "vocab.txt").write_text(words + "one\nword\nmore\n")
    with pytest.raises(InputError, match="expected the vocabulary of bert-base-uncased"):
        experts.load(settings(files, router_tokenizer=str(tmp_path)))
    (tmp_path / "vocab.txt").unlink()
    (line,) = experts.expert_class("r1-omni").missing(settings(files, router_tokenizer=str(tmp_path)))
    assert "no tokenizer; expected vocab.txt" in line


def test_of_bert_the_vocabulary_is_enough(files):
    model, router = experts.expert_class("r1-omni").models(settings(files))
    assert model.here() == files.model
    assert router.here() == files.router_tokenizer


# What is computed, against plain arithmetic on the weights of the file.


def norm(state, key, pixels):
    mean = pixels.mean(1, keepdim=True)
    variance = ((pixels - mean) ** 2).mean(1, keepdim=True)
    scale, shift = (state[f"{key}.{name}"][None, :, None, None] for name in ("weight", "bias"))
    return (pixels - mean) / torch.sqrt(variance + 1e-5) * scale + shift


def bottleneck(state, key, pixels):
    def step(name, given, **more):
        return norm(state, f"{key}.{name}.bn", F.conv2d(given, state[f"{key}.{name}.conv.weight"], **more))

    def dense(name, given):
        weight = state[f"{key}.se.{name}.weight"][:, :, 0, 0]
        return given @ weight.T + state[f"{key}.se.{name}.bias"]

    found = F.silu(step("conv1", pixels))
    found = F.silu(step("conv2", found, padding=1, groups=found.shape[1]))
    gate = torch.sigmoid(dense("fc2", F.silu(dense("fc1", found.mean((2, 3))))))
    found = step("conv3", found * gate[:, :, None, None])
    has_downsample = f"{key}.downsample.conv.weight" in state
    return F.silu(found + (step("downsample", pixels) if has_downsample else pixels))


def two_layers(state, key, given):
    first = F.gelu(given @ state[f"{key}.0.weight"].T + state[f"{key}.0.bias"])
    return first @ state[f"{key}.2.weight"].T + state[f"{key}.2.bias"]


def convolved(state, name, features):
    """[frames, 16, V] of one clip to [frames * 4, H]."""
    frames = []
    for frame in features:
        square = frame.T.reshape(1, made.V, 4, 4)
        for block in ("b1", "b2"):
            square = bottleneck(state, f"s1_{name}.{block}", square)
        frames.append(square[0])
    blank = torch.zeros_like(frames[0])
    padded = [blank, *frames, blank]
    weight, bias = state[f"sampler_{name}.0.weight"], state[f"sampler_{name}.0.bias"]
    tokens = []
    # Nine pairs; the last one is cut off.
    for before, after in itertools.pairwise(padded[:-1]):
        pair = F.conv2d(before[None], weight[:, :, 0], stride=2) + F.conv2d(
            after[None], weight[:, :, 1], stride=2
        )
        square = F.silu(pair + bias[None, :, None, None])
        for block in ("b1", "b2"):
            square = bottleneck(state, f"s2_{name}.{block}", square)
        tokens += list(square[0].flatten(1).T)
    return two_layers(state, f"readout_{name}", torch.stack(tokens))


def resized(state, features):
    """Halving a bilinear picture takes the mean of each square of four."""
    found = two_layers(state, "mlp_2xgelu_face", features).reshape(-1, 2, 2, 2, 2, made.H)
    return found.mean((2, 4)).flatten(0, 2)


def test_the_branches_compute_what_the_sheet_of_the_published_model_says(expert, state):
    prefix = "model.mm_projector."
    mine = {name.removeprefix(prefix): value.double() for name, value in state.items() if prefix in name}
    features = torch.randn(2, made.FRAMES, made.PATCHES, made.V, dtype=torch.float64)
    shares = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    branches = Branches(made.V, made.H).double()
    branches.load_state_dict(mine)
    with torch.no_grad():
        found = branches(features, shares)
    for features_of_one, one in zip(features, found, strict=True):
        expected = 0.5 * convolved(mine, "video", features_of_one)
        expected += 0.2 * convolved(mine, "body", features_of_one)
        expected += 0.3 * resized(mine, features_of_one)
        torch.testing.assert_close(one, expected)


def test_the_router_reads_the_question_and_nothing_else(files, expert, state):
    from transformers import BertConfig, BertModel, BertTokenizer

    config = json.loads((files.model / "config.json").read_text())
    bert = BertModel(BertConfig(**config["router_config"]))
    prefix = "model.bert_model."
    bert.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    tokenizer = BertTokenizer.from_pretrained(files.router_tokenizer)
    question = experts.expert_class("r1-omni").Settings.model_fields["prompt"].default
    assert question == "emotion"
    from emo.experts.prompts import load_prompt

    words = tokenizer(load_prompt("r1-omni-emotion").text, return_tensors="pt")
    with torch.no_grad():
        read = bert.eval()(**words).last_hidden_state[0, 0]
        gate = {n.removeprefix("model.bert_"): v for n, v in state.items() if "bert_gate" in n}
        expected = torch.softmax(two_layers(gate, "gate", read), 0)
    torch.testing.assert_close(expert.engine.model.shares, expected)
    assert expected.max() < 0.95


def test_the_pictures_are_seen_by_all_but_the_last_layer_of_siglip(expert, state):
    from transformers import SiglipVisionConfig, SiglipVisionModel

    whole = SiglipVisionModel(SiglipVisionConfig(**made.VISION))
    prefix = "model.vision_tower.vision_tower.vision_model."
    whole.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    pixels = torch.randn(1, made.FRAMES, 3, 56, 56)
    model = expert.engine.model
    with torch.no_grad():
        states = whole.eval()(pixels[0], output_hidden_states=True).hidden_states
        expected = model.senses.branches(states[-2][None], model.shares)
        torch.testing.assert_close(model.senses.see(pixels, model.shares), expected)


def test_three_steps_of_sound_become_one(expert, state):
    model = expert.engine.model
    mel = torch.randn(1, 16, 200)
    with torch.no_grad():
        heard = model.senses.audio(mel).last_hidden_state[0]
        assert heard.shape == (100, made.A)
        means = heard[:99].reshape(33, 3, made.A).mean(1)
        expected = two_layers(
            {n.removeprefix("model."): v for n, v in state.items()}, "audio_projector", means
        )
        torch.testing.assert_close(model.senses.hear(mel)[0], expected)


# The prompt, and what a clip lacks.


def test_the_prompt_is_cut_into_tokens_between_the_media(expert):
    preprocessor = expert.engine.preprocessor
    prompt = preprocessor.prepare(clip(0))
    video, sound = (preprocessor.placeholders[mark] for mark in ("<video>", "<audio>"))
    ids = prompt.input_ids.tolist()
    assert (ids.count(video), ids.count(sound)) == (32, 33)
    kept = [token for token in ids if token not in (video, sound)]
    text = preprocessor.tokenizer.decode(kept)
    assert "<vi_start><vi_end>\n<au_start><au_end>\nAs an emotional recognition expert; " in text
    assert "to you?  Output the thinking process" in text
    assert prompt.features["pixels"].shape == (1, 8, 3, 56, 56)
    assert prompt.features["pixels"].dtype == torch.uint8
    assert prompt.features["mel"].shape == (1, 16, 200)


def test_the_older_files_of_the_tokenizer_give_the_same_prompt(files, expert, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(files.model, folder)
    whole = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    merges = ["#version: 0.2", *(" ".join(pair) for pair in whole["model"]["merges"])]
    (folder / "merges.txt").write_text("\n".join(merges))
    about = json.loads((folder / "tokenizer_config.json").read_text())
    about["added_tokens_decoder"] = {str(token["id"]): token for token in whole["added_tokens"]}
    about["chat_template"] = (folder / "chat_template.jinja").read_text()
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    for name in ("tokenizer.json", "chat_template.jinja"):
        (folder / name).unlink()
    older = experts.load(settings(replace(files, model=folder))).engine.preprocessor
    prompts = [one.prepare(clip(0)).input_ids.tolist() for one in (older, expert.engine.preprocessor)]
    assert prompts[0] == prompts[1]


def test_a_clip_without_sound_is_asked_about_the_frames_alone(expert):
    preprocessor = expert.engine.preprocessor
    prompt = preprocessor.prepare(clip(0, sound=False))
    assert prompt.degraded == ("audio",)
    assert set(prompt.features) == {"pixels"}
    ids = prompt.input_ids.tolist()
    assert preprocessor.placeholders["<audio>"] not in ids
    text = preprocessor.tokenizer.decode(
        [token for token in ids if token != preprocessor.placeholders["<video>"]]
    )
    assert "<vi_start><vi_end>\nAs an" in text
    assert "au_start" not in text


def test_what_is_seen_and_heard_changes_the_scores(expert):
    one = expert.describe([clip(0)])[0][0].text
    assert one == expert.describe([clip(0)])[0][0].text
    assert one != expert.describe([replace(clip(0), frames=clip(5).frames)])[0][0].text
    assert one != expert.describe([replace(clip(0), audio=clip(9).audio)])[0][0].text


def test_a_batch_of_clips_with_and_without_sound_is_described_as_each_alone(expert):
    clips = [clip(0), clip(1, sound=False), clip(2, frames=3), clip(3, sound=False), clip(4)]
    together = expert.describe(clips)
    assert together == [answer for one in clips for answer in expert.describe([one])]


def test_every_sample_of_a_clip_is_its_own(files):
    several = experts.load(settings(files, samples=3))
    (answers,) = several.describe([clip(0)])
    assert len({answer.text for answer in answers}) == 3


@pytest.mark.parametrize(("shape", "corner"), [("squash", False), ("pad", True)])
def test_a_frame_becomes_square_by_squashing_or_by_grey_bars(files, shape, corner):
    preprocessor = experts.load(settings(files, shape=shape)).engine.preprocessor
    pixels = preprocessor.prepare(clip(0, size=(160, 80))).features["pixels"][0]
    bars = pixels[:, :, [0, -1], :].float()
    assert bool((bars == 127).all()) == corner


def test_the_frames_are_those_nearest_to_the_middles_of_eight_parts():
    assert nearest([0.0, 1.0, 2.0, 3.0], 4.0, 4) == [0, 1, 2, 3]
    assert nearest([float(time) for time in range(16)], 16.0, 8) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert nearest([0.0], 3.0, 8) == [0] * 8


def test_a_prompt_that_names_the_media_is_refused(files, tmp_path):
    (tmp_path / "asked.txt").write_text("What does <video> show?")
    with pytest.raises(InputError, match="leave them out"):
        experts.load(settings(files, prompt=str(tmp_path / "asked.txt")))


def test_the_label_is_read_from_the_answer_and_the_reasons_are_kept():
    written = "<think>He shouts, angry or disgusted.</think>\n<answer>happy</answer>"
    read, error = read_description(Description(written))
    assert error is None
    assert (read.text, read.thought) == ("happy", "He shouts, angry or disgusted.")
