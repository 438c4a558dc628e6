"""Models that learn what drawn faces show and what voices tell, in minutes each."""

import pytest

import drawn_faces
from finetuning_runs import (
    LORA,
    WHOLE_MODEL,
    f1_before_and_after,
    finetuned,
    labelled_right,
    write_clip,
)
from labelling import emo

LEARNT = ("happy", "angry", "surprised", "sad")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_model_learns_what_faces_show_and_label_then_labels_new_clips_right(tmp_path, ray_cluster):
    drawn_faces.make_base(tmp_path / "base")
    drawn_faces.write_messages(tmp_path, "train.jsonl", range(150), LEARNT)
    drawn_faces.write_messages(tmp_path, "held_out.jsonl", range(1000, 1016), LEARNT)
    done = finetuned(tmp_path, "faces", ray_cluster, {**WHOLE_MODEL, "epochs": 7})
    before, after = f1_before_and_after(tmp_path, "faces", done)
    assert before < 0.3
    assert after >= 0.95
    promoted = emo("adapters", "promote", "faces", "--out", tmp_path / "out")
    assert promoted.returncode == 0, promoted.stderr
    truth = {f"{n:02d}": expression for n, expression in enumerate(list(LEARNT) * 4)}
    (tmp_path / "clips").mkdir()
    for number, expression in truth.items():
        write_clip(tmp_path / "clips" / f"{number}.mp4", 5000 + int(number), expression)
    model = {"model": tmp_path / "out" / "adapters" / "faces"}
    assert labelled_right(tmp_path, "internvl", model, truth, ray_cluster) >= 0.9 * len(truth)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_model_learns_what_pitch_and_pace_of_a_voice_tell(tmp_path, ray_cluster):
    drawn_faces.make_voice_base(tmp_path / "base")
    drawn_faces.write_voices(tmp_path, "train.jsonl", range(150))
    drawn_faces.write_voices(tmp_path, "held_out.jsonl", range(1000, 1016))
    changes = {**WHOLE_MODEL, "family": "qwen-audio", "epochs": 4, "validation.samples": 96}
    done = finetuned(tmp_path, "voices", ray_cluster, changes)
    before, after = f1_before_and_after(tmp_path, "voices", done)
    assert before < 0.3
    assert after >= 0.95


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_lora_learns_faces_that_its_base_does_not_know(tmp_path, ray_cluster):
    drawn_faces.make_base(tmp_path / "base", range(2000, 2400))
    drawn_faces.write_messages(tmp_path, "train.jsonl", range(500))
    drawn_faces.write_messages(tmp_path, "held_out.jsonl", range(1000, 1016))
    done = finetuned(tmp_path, "faces", ray_cluster, {**LORA, "epochs": 7})
    before, after = f1_before_and_after(tmp_path, "faces", done)
    assert before < 0.6
    assert after >= 0.95
