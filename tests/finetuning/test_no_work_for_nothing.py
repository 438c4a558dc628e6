"""What a step does not need is not computed, and what a worker does not need is not in its memory."""

import subprocess
import sys

import pytest
import torch

import checkpoints
import synthetic_clips
from emo.captions.messages import Turn
from emo.experts.in_process import finetunable
from emo.finetuning import model, parts, prepared, samples
from emo.finetuning.collate import collate
from emo.finetuning.loss import loss_sum, on_device
from emo.finetuning.masking import Encoder
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

_CHAT = [Turn("user", "What is felt?"), Turn("assistant", "She frowns.")]


def gradients(kind, folder, checkpointing, **freeze):
    """Of one sample: each trained weight's gradient, and which towers' outputs asked for one."""
    settings = Finetune(
        family=kind, model=str(folder), device="cpu", freeze=freeze, lora={"rank": 2, "dropout": 0},
        gradient_checkpointing=checkpointing,
    )  # fmt: skip
    made = model.prepare(settings, folder).model
    encoder = Encoder(kind, folder, max_frames=2, max_tokens=2000)
    row = encoder.encode(samples.from_turns("s", _CHAT, None, True), synthetic_clips.clip(1))
    batch = collate([row], encoder.preprocessor, encoder.pad_token, None)
    inputs, labels = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
    base = made.get_base_model()
    family = finetunable(kind).family
    asked = []

    def look(module, given, output):
        found = output if isinstance(output, torch.Tensor) else output[0]
        asked.append(found.requires_grad)

    for name, module in base.named_modules():
        if isinstance(module, torch.nn.Linear) and parts.part_of(name, family) == "vision":
            module.register_forward_hook(look)
    torch.manual_seed(0)
    for name, value in made.named_parameters():
        if "lora_B" in name:
            value.data.normal_(std=0.1)  # at nought, A would get no gradient
    loss_sum(made.train(), base.get_output_embeddings(), inputs, labels).backward()
    return {name: value.grad for name, value in made.named_parameters() if value.requires_grad}, asked


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_frozen_tower_takes_no_part_in_the_backward_pass(family, tmp_path):
    kind, make = checkpoints.FAMILIES[family]
    folder = make(tmp_path)
    plain, _ = gradients(kind, folder, False)
    checked, asked = gradients(kind, folder, True)
    assert asked
    assert not any(asked)
    assert plain.keys() == checked.keys()
    for name, value in plain.items():
        assert value.abs().max() > 0, name
        assert torch.allclose(value, checked[name], rtol=1e-4, atol=1e-6), name


def test_a_tower_that_is_trained_keeps_its_gradients_under_checkpointing(tmp_path):
    folder = checkpoints.make_internvl(tmp_path)
    plain, _ = gradients("internvl", folder, False, vision=False)
    checked, asked = gradients("internvl", folder, True, vision=False)
    assert any(asked)
    assert any("vision_tower" in name for name in plain)
    for name, value in plain.items():
        assert torch.allclose(value, checked[name], rtol=1e-4, atol=1e-6), name


def entries(count):
    turns = (Turn("user", "What is felt?"), Turn("assistant", "She frowns and looks away. " * 10))
    return [
        prepared.Entry(
            f"{number:05d}", ("train", "validation")[number % 5 == 4], turns, tokens=number + 1, trained=1,
            error="bad_frames" if number % 7 == 6 else None,
        )
        for number in range(count)
    ]  # fmt: skip


def test_samples_on_the_disk_are_those_in_memory_in_the_same_order(tmp_path):
    run = Storage(str(tmp_path))
    prepared.write_entries(run, [prepared.table_of(entries(1000))])
    listed = prepared.read_entries(run)
    for split, expected in (
        ("train", prepared.training_entries(listed)),
        ("validation", prepared.usable(listed, prepared.HELD_OUT)),
    ):
        stored = prepared.Stored(run, split)
        assert list(stored) == expected
        assert stored[-1] == expected[-1]
        assert stored[3:5] == expected[3:5]
        assert stored.tokens == [entry.tokens for entry in expected]


_HELD = """
import sys, tracemalloc
from emo.finetuning import prepared
from emo.store.storage import Storage
run = Storage(sys.argv[1])
prepared.Stored(run, "train")[0]  # imports what it needs
tracemalloc.start()
stored = prepared.Stored(run, "train")
assert stored[12_000].turns
print(tracemalloc.get_traced_memory()[0])
"""


def test_samples_that_are_not_used_stay_on_the_disk(tmp_path):
    prepared.write_entries(Storage(str(tmp_path)), [prepared.table_of(entries(20_000))])
    # In a process of its own: threads that other libraries started do not bear to be traced.
    done = subprocess.run([sys.executable, "-c", _HELD, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) / 20_000 < 200, "the text of one is 270 characters"
