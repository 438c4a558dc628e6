"""The expert `classifier`: pictures, sounds and words through small checkpoints of the real classes."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import classifier_checkpoints
from emo import experts
from emo.errors import InputError, RowError
from emo.experts.classifier import ClassifierExpert, kept, likely
from emo.media.faces import FaceFinder
from synthetic_clips import clip as drawn_clip
from synthetic_clips import flac

HZ = 16_000
PORTRAIT = Path(__file__).resolve().parents[2] / "samples" / "clips" / "portrait_welcome.mp4"
SENSES = tuple(classifier_checkpoints.MAKERS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        sees: make(tmp_path_factory.mktemp("models") / sees)
        for sees, make in classifier_checkpoints.MAKERS.items()
    }


def load(sees, folder, **changes) -> ClassifierExpert:
    entry = {"name": "small", "kind": "classifier", "sees": sees, "model": str(folder), **changes}
    return experts.load(experts.settings_of(entry))


def sound(wave) -> bytes:
    """FLAC of samples at 16 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(wave, np.float32), HZ, format="FLAC")
    return buffer.getvalue()


def picture(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait():
    """Four frames of a real face."""
    with av.open(str(PORTRAIT)) as video:
        decoded = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return tuple(picture(frame) for frame in decoded[:: len(decoded) // 4][:4])


@pytest.fixture(scope="module")
def clips(portrait):
    """Clips whose sounds and words have several lengths, so that batches hold all of them."""
    texts = ["I am so happy.", "No.", "Why did you do that to me, of all people?", "Well"]
    return [
        replace(
            drawn_clip(number, transcript=text),
            frames=portrait,
            frame_times=(0.0, 0.5, 1.0, 1.5),
            audio=flac(number, 0.5 + number / 3),
        )
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize("sees", SENSES)
def test_what_is_said_of_clips_together_is_what_is_said_of_each_alone(sees, folders, clips):
    expert = load(sees, folders[sees], at_least=0.01, most=7)
    together = expert.describe(clips)
    alone = [expert.describe([clip])[0] for clip in clips]
    for one, other in zip(together, alone, strict=True):
        assert [word for word, _ in one[0].labels] == [word for word, _ in other[0].labels]
        assert [s for _, s in one[0].labels] == pytest.approx([s for _, s in other[0].labels], abs=1e-5)
        assert one[0].labels, one[0].text


@pytest.mark.parametrize("sees", ["audio", "transcript"])
def test_different_clips_are_told_apart(sees, folders, clips):
    expert = load(sees, folders[sees], at_least=0.01, most=7)
    assert len({answer[0].labels for answer in expert.describe(clips)}) == len(clips)


def test_a_model_that_reads_a_mask_hears_no_padding_either(tmp_path, clips):
    folder = classifier_checkpoints.make_voices(tmp_path / "masked", mask=True)
    expert = load("audio", folder, at_least=0.01)
    for clip, answer in zip(clips, expert.describe(clips), strict=True):
        [[alone]] = expert.describe([clip])
        assert [s for _, s in answer[0].labels] == pytest.approx([s for _, s in alone.labels], abs=1e-4)


@pytest.mark.parametrize("sees", SENSES)
def test_what_is_not_there_gives_no_label_and_is_named(sees, folders, clips):
    nothing = replace(clips[0], frames=(), frame_times=(), audio=None, transcript=None)
    [[description]] = load(sees, folders[sees]).describe([nothing])
    assert description.labels == ()
    assert description.degraded == ({"face": "frames"}.get(sees, sees),)


def test_a_picture_without_a_face_gives_no_label(folders, clips):
    grey = picture(np.full((120, 160, 3), 128, np.uint8))
    [[description]] = load("face", folders["face"]).describe([replace(clips[0], frames=(grey,) * 4)])
    assert description.labels == ()
    assert "No face was found in 3 frames" in description.text


def test_a_tilted_face_that_the_cascades_miss_is_classified(folders, clips, portrait):
    turned = np.asarray(Image.open(io.BytesIO(portrait[0])).rotate(40, Image.Resampling.BICUBIC))
    assert FaceFinder().largest(cv2.cvtColor(turned, cv2.COLOR_RGB2GRAY)) is None
    expert = load("face", folders["face"])
    [[description]] = expert.describe([replace(clips[0], frames=(picture(turned),) * 4)])
    assert description.labels
    assert "in 3 of 3 frames" in description.text


def test_silence_and_a_sound_of_a_few_samples_give_no_label(folders, clips):
    expert = load("audio", folders["audio"])
    for audio in (sound(np.zeros(HZ)), flac(1, 0.01)):
        [[description]] = expert.describe([replace(clips[0], audio=audio)])
        assert description.labels == ()


def test_a_sound_of_a_minute_is_heard_whole_and_in_windows(folders, clips):
    expert = load("audio", folders["audio"], at_least=0.01)
    [[description]] = expert.describe([replace(clips[0], audio=flac(1, 61.0))])
    assert "over 61.0 seconds" in description.text
    assert description.labels


def test_a_text_longer_than_the_model_takes_is_cut_and_not_refused(folders, clips):
    [[description]] = load("transcript", folders["transcript"], at_least=0.01).describe(
        [replace(clips[0], transcript="I am so happy. " * 500)]
    )
    assert description.labels


@pytest.mark.parametrize(
    ("text", "language", "read"),
    [
        ("我很高兴", None, False),
        ("Ich bin froh", "de", False),
        ("I am glad", "en-US", True),
        ("Hm", None, True),
    ],
)
def test_words_of_another_language_give_no_label(folders, clips, text, language, read):
    expert = load("transcript", folders["transcript"], languages=["en"], at_least=0.01)
    [[description]] = expert.describe([replace(clips[0], transcript=text, language=language)])
    assert bool(description.labels) == read


def test_a_broken_clip_costs_itself_alone(folders, clips):
    broken = replace(clips[0], frames=(b"no picture",), audio=b"no sound")
    for sees, code in (("face", "bad_frames"), ("frames", "bad_frames"), ("audio", "bad_audio")):
        expert = load(sees, folders[sees])
        first, second, third = expert.describe([clips[1], broken, clips[2]])
        assert isinstance(second, RowError)
        assert second.code == code
        assert first == expert.describe([clips[1]])[0]
        assert third[0].text


def test_strengths_are_the_probabilities_and_a_temperature_makes_them_less_sure(folders, clips):
    [[sure]] = load("audio", folders["audio"], at_least=0.01, most=4).describe(clips[:1])
    [[less]] = load("audio", folders["audio"], at_least=0.01, most=4, temperature=4.0).describe(clips[:1])
    assert sum(share for _, share in sure.labels if sure.labels[0][0] != "neutral") <= 1 + 1e-9
    assert less.labels[0][1] < sure.labels[0][1]


def test_classes_are_named_by_the_table_and_short_ones_are_spelled_out(tmp_path, clips):
    folder = classifier_checkpoints.make_voices(tmp_path / "voices", classes=("LABEL_0", "LABEL_1", "hap"))
    with pytest.raises(InputError, match="gives no names to LABEL_0, LABEL_1; say what they mean"):
        load("audio", folder)
    expert = load("audio", folder, at_least=0.001, most=9, labels={"LABEL_0": "furious", "LABEL_1": None})
    [[description]] = expert.describe(clips[:1])
    assert {word for word, _ in description.labels} <= {"furious", "happy"}
    with pytest.raises(InputError, match="no class joy; it has: LABEL_0, LABEL_1, hap"):
        load("audio", folder, labels={"joy": "happy"})


def test_a_checkpoint_of_another_kind_is_refused_before_anything_is_loaded(folders):
    for sees, other in (("audio", "face"), ("face", "audio"), ("transcript", "face")):
        options = ClassifierExpert.Settings(
            name="small", kind="classifier", sees=sees, model=str(folders[other])
        )
        [fault] = ClassifierExpert.missing(options)
        assert "expected a classifier of" in fault


def test_weights_that_are_missing_are_named(tmp_path, folders):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["audio"], tmp_path / "half")
    weights = load_file(folder / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are not in the checkpoint: classifier\.weight"):
        load("audio", folder)


def test_a_pickle_is_read_only_with_consent(tmp_path, folders, clips):
    from safetensors.torch import load_file

    folder = shutil.copytree(folders["audio"], tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle; name a revision"):
        load("audio", folder)
    consenting = load("audio", folder, pickled_weights=True, at_least=0.01)
    # On a busy machine the last digits of a score differ from one time to the next.
    ours, theirs = consenting.describe(clips), load("audio", folders["audio"], at_least=0.01).describe(clips)
    assert [one.text for [one] in ours] == [one.text for [one] in theirs]
    for [one], [other] in zip(ours, theirs, strict=True):
        assert dict(one.labels) == pytest.approx(dict(other.labels))


def test_a_pickle_that_would_run_code_is_refused_with_consent_too(tmp_path, folders):
    class Evil:
        def __reduce__(self):
            return (json.loads, ("1",))

    folder = shutil.copytree(folders["audio"], tmp_path / "evil")
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        load("audio", folder, pickled_weights=True)


def test_the_card_says_what_the_checkpoint_says_of_itself(folders):
    card = load("face", folders["face"]).card
    assert (card.licence, card.trained_on, card.modalities) == ("mit", ("random/none",), ("frames",))
    assert card.revision.startswith("local-")


def test_neutral_stands_alone_or_not_at_all():
    assert kept([("neutral", 0.6), ("sad", 0.3)], 0.2, 3) == [("neutral", 0.6)]
    assert kept([("sad", 0.6), ("neutral", 0.3)], 0.2, 3) == [("sad", 0.6)]
    assert kept([("sad", 0.1)], 0.2, 3) == []


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0.01, 1), st.integers(1, 5))
@settings(max_examples=100)
def test_labels_are_at_most_as_many_as_asked_likely_enough_and_the_likeliest_first(shares, at_least, most):
    words = ["happy", "sad", None, "happy", "neutral"]
    found = kept(likely(words, shares), at_least, most)
    assert len(found) <= most
    assert all(share >= at_least for _, share in found)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)
    assert len({word for word, _ in found}) == len(found)
