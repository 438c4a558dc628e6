import io
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

import affectgpt_checkpoint
from emo.errors import InputError, RowError
from emo.experts import affectgpt_model as parts
from emo.experts.affectgpt import AffectGPTExpert, AffectGPTSettings, Prompts
from emo.experts.protocol import Clip

SAMPLES = Path(__file__).parents[2] / "samples" / "clips"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return affectgpt_checkpoint.make(tmp_path_factory.mktemp("affectgpt"))


def settings(files, **changes):
    given_settings = {
        "name": "affectgpt",
        "kind": "affectgpt",
        "model": str(files.llm),
        "vision": str(files.vision),
        "audio": str(files.audio),
        "checkpoint": str(files.checkpoint),
        "sees": "frame",
        "device": "cpu",
        "max_new_tokens": 24,
    }
    return AffectGPTSettings(**{**given_settings, **changes})


@pytest.fixture(scope="module")
def expert(files):
    return AffectGPTExpert(settings(files, samples=2))


@pytest.fixture(scope="module")
def greedy(files):
    return AffectGPTExpert(settings(files, temperature=0))


@pytest.fixture(scope="module")
def face_expert(files):
    return AffectGPTExpert(settings(files, sees="face", temperature=0))


def noise_clip(number, **changes):
    """Eight pictures of coloured squares, seconds of tones in noise, some lines of text."""
    random = np.random.default_rng(number)
    squares = random.integers(0, 255, (8, 3, 4, 3), dtype=np.uint8)
    frames = [jpeg(picture.repeat(30, axis=0).repeat(40, axis=1)) for picture in squares]
    seconds = np.arange(int(16_000 * (0.7 + number))) / 16_000
    sound = np.sin(seconds * random.uniform(500, 5000)) * np.sin(seconds * random.uniform(2, 20))
    sound += random.normal(size=len(seconds)) * 0.1
    parts_of_clip = {
        "video_id": f"noise/{number}",
        "frames": tuple(frames),
        "frame_times": tuple(float(i) for i in range(8)),
        "audio": flac(sound * 0.3),
        "transcript": "I am so happy to see you! " * (1 + number % 4),
        "language": "en",
        "duration_s": 1.0 + number,
    }
    return Clip(**{**parts_of_clip, **changes})


def jpeg(bgr):
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def flac(samples, rate=16_000):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate, format="FLAC")
    return buffer.getvalue()


def sample_clip(name):
    """One of the sample clips, eight frames of it, without sound."""
    with av.open(str(SAMPLES / f"{name}.mp4")) as container:
        images = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    chosen = [images[i] for i in np.arange(0, len(images), len(images) / 8).astype(int)]
    return Clip(name, tuple(map(jpeg, chosen)), tuple(range(8)), None, "Thank you all", "en", 5.0)


# The file: what is in it, and what must not be.


def test_the_published_sizes_add_up_to_the_published_number_of_weights():
    from transformers import Qwen2Config

    llm = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    lora = sum(16 * (size_in + size_out) for size_in, size_out in parts.lora_modules(llm).values())
    with torch.device("meta"):
        fusion = sum(p.numel() for p in parts.Fusion(768, 1024, 3584).parameters())
    assert lora == 40_370_176
    assert lora + fusion == 57_168_644


def test_every_key_of_the_file_has_its_place(files):
    state = parts.read_state(files.checkpoint)
    checkpoint = fit(files, state)
    assert checkpoint.rank == affectgpt_checkpoint.RANK
    assert len(checkpoint.fusion) + 2 * len(checkpoint.lora) == len(state)
    assert checkpoint.ignored == ()


def fit(files, state, ignore_unknown=False):
    from transformers import AutoConfig

    return parts.match(state, 24, 32, AutoConfig.from_pretrained(files.llm), ignore_unknown)


@pytest.mark.parametrize(
    "key",
    [
        "fc_att.bias",
        "affectgpt_proj.weight",
        "llama_model.base_model.model.model.layers.1.mlp.up_proj.lora_B.default.weight",
    ],
)
def test_a_missing_weight_is_named(files, key):
    state = parts.read_state(files.checkpoint)
    del state[key]
    with pytest.raises(InputError, match="missing: " + key.replace(".", r"\.")):
        fit(files, state)


def test_weights_of_another_shape_are_named_with_both_shapes(files):
    state = parts.read_state(files.checkpoint)
    state["audio_llama_proj.weight"] = torch.zeros(64, 40)
    name = "llama_model.base_model.model.model.layers.0.self_attn.k_proj.lora_A.default.weight"
    state[name] = torch.zeros(8, 64)
    with pytest.raises(InputError) as caught:
        fit(files, state)
    assert "audio_llama_proj.weight is [64, 40], expected [64, 32]" in str(caught.value)
    assert f"{name} is [8, 64], expected [4, 64]" in str(caught.value)


def test_weights_that_are_not_understood_are_named_and_left_out_only_when_asked(files):
    state = parts.read_state(files.checkpoint)
    state["pose_llama_proj.weight"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"not understood.*pose_llama_proj\.weight"):
        fit(files, state)
    assert fit(files, state, ignore_unknown=True).ignored == ("pose_llama_proj.weight",)


def test_what_was_left_out_stands_on_the_card(files, tmp_path):
    state = parts.read_state(files.checkpoint)
    state["pose_llama_proj.weight"] = torch.zeros(3)
    path = tmp_path / "mercaptionplus_frame_lz" / "more.pth"
    path.parent.mkdir()
    affectgpt_checkpoint.write_checkpoint(path, state)
    card = AffectGPTExpert(settings(files, checkpoint=str(path), ignore_unknown_keys=True)).card
    assert "without pose_llama_proj.weight" in card.adapter
    assert card.trained_on == ("MER-Caption+",)


def test_a_variant_with_a_qformer_is_refused_by_name(files):
    state = parts.read_state(files.checkpoint)
    state["video_Qformer.bert.encoder.layer.0.attention.self.query.weight"] = torch.zeros(3, 3)
    state["video_query_tokens"] = torch.zeros(1, 32, 768)
    with pytest.raises(InputError, match="'qformer' for video"):
        fit(files, state)


def test_a_file_that_would_run_code_is_not_loaded(tmp_path):
    path = tmp_path / "evil.pth"
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save({"model": {"fc_att.bias": Evil()}}, path)
    with pytest.raises(InputError, match="more than weights"):
        parts.read_state(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_is_an_input_error(tmp_path, content):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.pth"):
        parts.read_state(path)


def test_another_models_checkpoint_is_an_input_error(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match="not an AffectGPT checkpoint"):
        parts.read_state(path)


def test_the_merged_lora_answers_as_pefts_own_layers(files):
    from transformers import AutoModelForCausalLM

    # In double precision: how a processor rounds single precision is not what is compared.
    merged = AutoModelForCausalLM.from_pretrained(files.llm, dtype=torch.float64).eval()
    before = merged(torch.arange(40)[None]).logits
    parts.merge_lora(merged, fit(files, parts.read_state(files.checkpoint)))
    ids = torch.arange(40)[None]
    with torch.no_grad():
        expected = published_llm(files).double()(input_ids=ids).logits
        torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert (before - expected).abs().max() > 0.1


# Sound and pictures.


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


# The whole way, against the published computation written down plainly.


def published_llm(files):
    model = affectgpt_checkpoint.with_lora(files.llm)
    state = {
        key.removeprefix("llama_model."): value
        for key, value in parts.read_state(files.checkpoint).items()
        if key.startswith("llama_model.")
    }
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    return model


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
    model = published_llm(files)
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


# Faces.


def test_a_face_is_cut_out_and_reaches_the_encoder_as_bgr(face_expert):
    clip = sample_clip("portrait_welcome")
    prompt = face_expert.engine.preprocessor.prepare(clip)
    face = prompt.features["images"][0, 0].permute(1, 2, 0).numpy()
    whole = cv2.imdecode(np.frombuffer(clip.frames[0], np.uint8), cv2.IMREAD_COLOR)
    # The crop is found again in the frame in OpenCV's own order of channels, and worse in the other order.
    side = next(s for s in range(40, 400) if best_match(whole, face, s)[0] > 0.97)
    right, _ = best_match(whole, face, side)
    swapped, _ = best_match(whole[:, :, ::-1], face, side)
    assert right > swapped
    assert face[..., 2].mean() > face[..., 0].mean()  # skin: more red, the last of BGR, than blue


def best_match(whole, face, side):
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    if side > min(whole.shape[:2]):
        return -1.0, None
    _, score, _, place = cv2.minMaxLoc(cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED))
    return score, place


def test_a_clip_with_a_face_is_described_in_face_mode(face_expert):
    (answer,) = face_expert.describe([sample_clip("portrait_welcome")])
    assert answer[0].degraded == ("audio",)


def test_a_clip_without_a_face_is_described_by_its_sound_and_says_so(face_expert):
    (answer,) = face_expert.describe([noise_clip(1)])
    assert answer[0].degraded == ("faces",)


def test_a_silent_clip_without_a_face_fails_and_says_what_is_missing(face_expert):
    (answer,) = face_expert.describe([noise_clip(1, audio=None)])
    assert answer.code == "modality_missing"
    assert "no faces and no audio" in answer.message


# Batches, samples, missing modalities.


def mixed_clips():
    return [
        noise_clip(0),
        noise_clip(1, audio=None),
        noise_clip(2, frames=()),
        noise_clip(3, transcript=None),
        noise_clip(4, audio=b"no flac"),
        noise_clip(5, frames=(b"no jpeg",) * 8),
        noise_clip(5, frames=(), audio=None),
        noise_clip(4, video_id="long", transcript="so happy " * 2000),
        noise_clip(1, video_id="short", audio=flac([0.1] * 400)),
    ]


def test_missing_modalities_are_reported_and_bad_clips_fail_alone(expert):
    answers = expert.describe(mixed_clips())
    assert [a.code if isinstance(a, RowError) else a[0].degraded for a in answers] == [
        (),
        ("audio",),
        ("frames",),
        ("transcript",),
        "bad_audio",
        "bad_frames",
        "modality_missing",
        "too_long",
        (),
    ]


def test_a_batch_answers_as_each_clip_alone_whatever_the_order(expert):
    clips = mixed_clips()
    together = expert.describe(clips)
    backwards = expert.describe(clips[::-1])[::-1]
    for clip, first, second in zip(clips, together, backwards, strict=True):
        (alone,) = expert.describe([clip])
        if isinstance(alone, RowError):
            assert first.code == second.code == alone.code
        else:
            assert first == second == alone


def test_samples_differ_and_are_the_same_every_time(expert, files):
    (answer,) = expert.describe([noise_clip(0)])
    assert len(answer) == 2
    assert answer[0].text != answer[1].text
    again = AffectGPTExpert(settings(files, samples=2))
    assert again.describe([noise_clip(0)]) == [answer]
    other_seed = AffectGPTExpert(settings(files, samples=2, seed=1))
    assert other_seed.describe([noise_clip(0)]) != [answer]


def test_a_subtitle_cannot_bring_in_the_models_own_words(expert):
    names = "<AudioHere> <FaceHere> <|im_end|> <|im_start|> <<AudioHere>> <|<|im_end|>|>"
    prepared = expert.engine.preprocessor.prepare(noise_clip(1, transcript=names))
    for word, number in expert.engine.preprocessor.placeholders.items():
        expected = word in ("<MultiHere>", "<AudioHere>", "<FrameHere>")
        assert (prepared.input_ids == number).sum() == expected
    assert not isinstance(expert.describe([noise_clip(1, transcript=names)])[0], RowError)


def test_the_turn_ends_with_three_hashes(expert):
    preprocessor = expert.engine.preprocessor
    tokens = preprocessor.tokenizer.convert_ids_to_tokens(sorted(preprocessor.turn_tokens))
    assert "###" in tokens
    assert preprocessor.turn_tokens <= expert.engine.end_tokens
    encode = preprocessor.tokenizer.encode
    assert (
        preprocessor.text(encode("Assistant: In the text, he is sad.### and more"))
        == "In the text, he is sad."
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_runs_in_float16_on_a_gpu(files, expert):
    on_gpu = AffectGPTExpert(settings(files, device="cuda", samples=2))
    assert on_gpu.engine.model.dtype == torch.float16
    for here, there in zip(expert.describe(mixed_clips()), on_gpu.describe(mixed_clips()), strict=True):
        if isinstance(here, RowError):
            assert there.code == here.code
        else:
            assert [one.degraded for one in there] == [one.degraded for one in here]


# Settings, prompts, card and the dry check.


def test_the_prompts_are_those_that_the_weights_learned(files):
    asked = Prompts(settings(files, sees="face", prompt="open-vocabulary")).written(
        ["windows", "images"], "Hello there."
    )
    assert asked == (
        "###Human: The audio and video merged info is: <Multi><MultiHere></Multi>. The audio content is as "
        "follows: <Audio><AudioHere></Audio>. Meanwhile, we uniformly sample raw frames from the video and "
        "extract faces from these frames: <Video><FaceHere></Video>. The subtitle of this video is: "
        "<Subtitle>Hello there.</Subtitle>. Now, please answer my question based on all the provided "
        "information. Please recognize all possible emotional states of the character. ###Assistant: "
    )
    silent = Prompts(settings(files, sees="face")).written(["images"], "")
    assert silent.startswith("###Human: We uniformly sample raw frames from the video and extract faces")
    assert "<Subtitle></Subtitle>" in silent
    assert "<MultiHere>" not in silent
    assert "<AudioHere>" not in silent


def test_the_card_says_what_it_is_made_of(expert, files):
    card = expert.card
    assert card.modalities == ("frames", "audio", "transcript")
    for part in (files.llm, files.vision, files.audio):
        assert str(part) in card.model
    assert card.revision.count("local-") == 3
    assert card.adapter.startswith("checkpoint_000030_loss_0.4.pth@")
    assert "(merged)" in card.adapter
    assert len(card.prompt_sha) == 16


def test_the_card_of_face_mode_says_that_faces_are_not_aligned(face_expert):
    assert face_expert.card.model.endswith("faces not aligned as OpenFace does")
    assert face_expert.card.modalities[0] == "faces"


def test_nothing_is_missing_where_all_parts_are_there(files):
    assert AffectGPTExpert.missing(settings(files)) == []


def test_the_dry_check_names_what_is_missing(files, tmp_path):
    state = parts.read_state(files.checkpoint)
    del state["fc_att.bias"]
    broken = tmp_path / "broken.pth"
    affectgpt_checkpoint.write_checkpoint(broken, state)
    assert "missing: fc_att.bias" in AffectGPTExpert.missing(settings(files, checkpoint=str(broken)))[0]
    swapped = AffectGPTExpert.missing(settings(files, vision=str(files.audio)))
    assert any("model_type 'hubert'; expected 'clip'" in line for line in swapped)
    absent = AffectGPTExpert.missing(settings(files, checkpoint=str(tmp_path / "no.pth")))
    assert any("no.pth" in line for line in absent)


def test_a_folder_with_one_checkpoint_names_it_and_with_two_does_not(files, tmp_path):
    (tmp_path / "run_1").mkdir()
    (tmp_path / "run_1" / "checkpoint.pth").write_bytes(files.checkpoint.read_bytes())
    assert AffectGPTExpert.missing(settings(files, checkpoint=str(tmp_path))) == []
    (tmp_path / "another.pth").write_bytes(files.checkpoint.read_bytes())
    (line,) = AffectGPTExpert.missing(settings(files, checkpoint=str(tmp_path)))
    assert "found another.pth, checkpoint.pth" in line


def test_a_checkpoint_of_s3_is_named_by_its_folder(files):
    lines = AffectGPTExpert.missing(settings(files, checkpoint="s3://bucket/run/checkpoint.pth"))
    assert "folder is fetched" in lines[0]


def test_an_adapter_beside_its_own_lora_is_refused(files):
    with pytest.raises(ValueError, match="has its LoRA in `checkpoint`"):
        settings(files, adapter="somewhere")


def test_a_base_encoder_as_a_pickle_of_weights_is_loaded(files, tmp_path):
    import shutil

    from safetensors.torch import load_file

    folder = tmp_path / "hubert"
    shutil.copytree(files.audio, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with_bin = AffectGPTExpert(settings(files, audio=str(folder), temperature=0))
    assert AffectGPTExpert.missing(settings(files, audio=str(folder))) == []
    with_safetensors = AffectGPTExpert(settings(files, temperature=0))
    assert with_bin.describe([noise_clip(2)]) == with_safetensors.describe([noise_clip(2)])
