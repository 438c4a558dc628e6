"""The expert affectgpt against the published computation, written down plainly."""

import io
from fractions import Fraction

import cv2
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

import affectgpt_checkpoint
from affectgpt_clips import jpeg, noise_clip
from emo.experts import affectgpt_model as parts


def test_too_few_images_are_filled_up_with_the_last():
    assert parts.uniform_indices(3) == [0, 1, 2, 2, 2, 2, 2, 2]
    assert parts.uniform_indices(8) == list(range(8))
    assert parts.uniform_indices(12) == [0, 1, 3, 4, 6, 7, 9, 10]


def test_the_windows_of_sound_cover_the_clip_at_equal_distances():
    ramp = np.arange(16_000 * 9, dtype=np.float32)
    windows = parts.windows_of_sound(ramp)
    assert windows.shape == (8, 32_000)
    assert windows.dtype == np.float32
    assert windows[:, 0].tolist() == [16_000.0 * i for i in range(8)]
    assert windows[7, -1] == ramp[-1]


@given(st.integers(1, 16_000 * 30))
def test_windows_start_at_the_published_fractions_of_the_duration(length):
    windows = parts.windows_of_sound(np.arange(length, dtype=np.float32))
    padded = max(length, 32_000)
    starts = [int(Fraction(padded / 16_000 - 2) * i / 7 * 16_000) for i in range(8)]
    assert windows[:, 0].tolist() == starts
    assert starts[-1] + 32_000 <= padded


def test_short_sound_is_padded_with_silence():
    windows = parts.windows_of_sound(np.ones(16_000, dtype=np.float32))
    assert (windows[:, :16_000] == 1).all()
    assert (windows[:, 16_000:] == 0).all()


def published(files, images, samples, subtitle, limit):
    """The three modality words and the answer of one clip: PIL images, the extractors' own calls, PEFT's
    own layers.

    images: 8 uint8 arrays [224, 224, 3] in the order of channels that the model is to see.
    """
    from PIL import Image
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessor,
        CLIPModel,
        HubertModel,
        Wav2Vec2FeatureExtractor,
    )

    state = parts.read_state(files.checkpoint)
    linear = torch.nn.functional.linear

    def layer(name, x):
        return linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    clip_model = CLIPModel.from_pretrained(files.vision, dtype=torch.float32).eval()
    pixels = CLIPImageProcessor.from_pretrained(files.vision)(
        images=[Image.fromarray(image) for image in images], return_tensors="pt"
    )["pixel_values"]
    v = clip_model.get_image_features(pixels).pooler_output
    hubert = HubertModel.from_pretrained(files.audio, dtype=torch.float32).eval()
    step = (len(samples) / 16_000 - 2) / 7 * 16_000
    clips = torch.stack([torch.from_numpy(samples[int(i * step) :][:32_000]) for i in range(8)])
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(files.audio)
    values = extractor(clips, sampling_rate=16_000, return_tensors="pt").input_values[0]
    layers = hubert(values, output_hidden_states=True).hidden_states
    u = torch.stack(layers)[[-4, -3, -2, -1]].mean(dim=0).mean(dim=1)

    video = layer("affectgpt_proj", (v.T @ layer("video_attention_mlp", v)).T)
    audio = layer("audio_llama_proj", (u.T @ layer("audio_attention_mlp", u)).T)
    vm, um = layer("multi_video_embs", v.mean(0)), layer("multi_audio_embs", u.mean(0))
    g = layer("fc_att", layer("attention_mlp", torch.cat([vm, um])))
    multi = layer("multi_llama_proj", g[0] * vm + g[1] * um)

    tokenizer = AutoTokenizer.from_pretrained(files.llm)
    for word in ("<ImageHere>", "<AudioHere>", "<FrameHere>", "<FaceHere>", "<MultiHere>"):
        tokenizer.add_tokens([word], special_tokens=True)
    prompt = (
        "###Human: The audio and video merged info is: <Multi><MultiHere></Multi>. "
        "The audio content is as follows: <Audio><AudioHere></Audio>. "
        "Meanwhile, we uniformly sample raw frames from the video: <Video><FrameHere></Video>. "
        f"The subtitle of this video is: <Subtitle>{subtitle}</Subtitle>. "
        "Now, please answer my question based on all the provided information. "
        "Please infer the person's emotional state and provide your reasoning process. ###Assistant: "
    )
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids[0]
    model = affectgpt_checkpoint.published_llm(files)
    words = {"<MultiHere>": multi, "<AudioHere>": audio[0], "<FrameHere>": video[0]}
    looked_up = torch.where(ids >= model.config.vocab_size, 0, ids)
    embeddings = model.get_input_embeddings()(looked_up)
    for word, vector in words.items():
        (place,) = (ids == tokenizer.convert_tokens_to_ids(word)).nonzero()
        embeddings[place] = vector
    written = model.generate(
        inputs_embeds=embeddings[None],
        attention_mask=torch.ones(1, len(ids)),
        max_new_tokens=limit,
        do_sample=False,
        repetition_penalty=1.0,
    )
    text = tokenizer.decode(written[0], skip_special_tokens=True).split("###")[0].strip()
    return words, text


def published_images(clip):
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    decoded = [cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_COLOR) for f in clip.frames]
    rgb = torch.stack([torch.from_numpy(image) for image in decoded]).flip(-1).permute(0, 3, 1, 2)
    return resize(rgb, [224, 224], InterpolationMode.BICUBIC).permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def published_clips(files):
    """Clips with what the published computation makes of them."""
    made = []
    with torch.no_grad():
        for clip in [noise_clip(number) for number in (2, 3, 4)]:
            samples, _ = soundfile.read(io.BytesIO(clip.audio), dtype="float32")
            made.append(
                (clip, *published(files, published_images(clip), samples, clip.transcript.strip(), 24))
            )
    return made


@torch.no_grad()
def test_the_three_words_are_those_of_the_published_computation(published_clips, greedy):
    engine = greedy.engine
    for clip, expected, _ in published_clips:
        prompt = engine.preprocessor.prepare(clip)
        ids = prompt.input_ids[None]
        for at, vectors in engine.model._modality_words(ids, **prompt.features):
            (word,) = (w for w, n in engine.preprocessor.placeholders.items() if n == ids[at])
            torch.testing.assert_close(vectors[0], expected[word], rtol=1e-3, atol=1e-3)
    # The comparison means something: from clip to clip the words differ by much more.
    for word in ("<MultiHere>", "<AudioHere>", "<FrameHere>"):
        first, second, third = (words[word] for _, words, _ in published_clips)
        assert min((first - second).abs().max(), (second - third).abs().max()) > 0.1


def test_the_answers_are_those_of_the_published_computation(published_clips, greedy):
    answers = greedy.describe([clip for clip, _, _ in published_clips])
    texts = [text for _, _, text in published_clips]
    assert [answer[0].text for answer in answers] == texts
    assert len(set(texts)) == 3
    assert all(answer[0].degraded == () for answer in answers)


def test_each_modality_changes_what_the_model_is_told(greedy):
    other = noise_clip(3)
    clips = [
        noise_clip(2),
        noise_clip(2, frames=other.frames),
        noise_clip(2, audio=other.audio),
        noise_clip(2, transcript=other.transcript),
    ]
    scores = [next_word_scores(greedy, clip) for clip in clips]
    for number, first in enumerate(scores):
        for second in scores[:number]:
            assert (first - second).abs().max() > 0.05


@torch.no_grad()
def next_word_scores(expert, clip):
    prompt = expert.engine.preprocessor.prepare(clip)
    return expert.engine.model(prompt.input_ids[None], **prompt.features).logits[0, -1]


def test_the_pictures_reach_the_encoder_as_rgb_in_frame_mode(expert):
    red = np.zeros((50, 50, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV's order is BGR
    pictures = expert.engine.preprocessor.prepare(noise_clip(1, frames=(jpeg(red),) * 8)).features["images"]
    assert pictures.shape == (1, 8, 3, 224, 224)
    assert pictures[0, :, 0].min() > 240
    assert pictures[0, :, 1:].max() < 15
