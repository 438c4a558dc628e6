"""The expert affectgpt on clips: faces, batches, samples, missing parts; its card and its dry check."""

import cv2
import numpy as np
import pytest
import torch

import affectgpt_checkpoint
from affectgpt_clips import flac, noise_clip, sample_clip, settings
from emo.errors import RowError
from emo.experts import affectgpt_model as parts
from emo.experts.affectgpt import AffectGPTExpert, Prompts


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
