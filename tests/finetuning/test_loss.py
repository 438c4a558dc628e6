import pytest
import torch

import checkpoints
import synthetic_clips
from emo.captions.messages import Turn
from emo.finetuning import masking, model
from emo.finetuning.collate import collate
from emo.finetuning.loss import loss_sum, on_device
from emo.finetuning.samples import from_turns
from emo.finetuning.settings import Finetune


def sample(text, has_media):
    return from_turns("s", [Turn("user", "What is felt?"), Turn("assistant", text)], None, has_media)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_batch_has_the_loss_of_its_samples_and_trains_every_adapted_layer(family, tmp_path):
    kind, make = checkpoints.FAMILIES[family]
    folder = make(tmp_path)
    settings = Finetune(
        family=kind, model=str(folder), device="cpu", lora={"rank": 2, "dropout": 0.0}, max_frames=2
    )
    encoder = masking.Encoder(kind, folder, max_frames=2, max_tokens=2000)
    made = model.prepare(settings, folder).model.train()
    output = made.get_base_model().get_output_embeddings()
    rows = [
        encoder.encode(sample("She frowns.", True), synthetic_clips.clip(1, seconds=1.0)),
        encoder.encode(sample("He smiles and leans forward.", True), synthetic_clips.clip(2, seconds=2.0)),
        encoder.encode(sample("No clip at all.", False), None),
    ]

    def loss(some, dummy=None):
        batch = collate(some, encoder.preprocessor, encoder.pad_token, dummy)
        inputs, labels = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
        return loss_sum(made, output, inputs, labels)

    together = loss(rows)
    alone = sum(float(loss([row]).detach()) for row in rows)
    assert float(together.detach()) == pytest.approx(alone, rel=1e-4)
    together.backward()
    adapted = {name: v.grad for name, v in made.named_parameters() if "lora_B" in name and v.requires_grad}
    assert adapted
    assert all(grad is not None and grad.abs().sum() > 0 for grad in adapted.values())
    # The dummy row of ZeRO-3 changes nothing, and a worker without samples has a loss of nothing.
    text_alone = float(loss(rows[2:]).detach())
    assert float(loss(rows[2:], encoder.dummy()).detach()) == pytest.approx(text_alone, rel=1e-4)
    nothing = loss([], encoder.dummy())
    assert float(nothing.detach()) == 0.0
    nothing.backward()


def test_only_trained_places_reach_the_output_layer(tmp_path):
    folder = checkpoints.make_internvl(tmp_path)
    encoder = masking.Encoder("internvl", folder, max_frames=2, max_tokens=2000)
    settings = Finetune(model=str(folder), device="cpu", lora={"dropout": 0.0})
    made = model.prepare(settings, folder).model.eval()
    row = encoder.encode(sample("She frowns.", True), synthetic_clips.clip(1))
    batch = collate([row], encoder.preprocessor, encoder.pad_token, None)
    inputs, labels = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
    output = made.get_base_model().get_output_embeddings()
    seen = []
    hook = output.register_forward_hook(lambda layer, given, result: seen.append(result.shape[:2]))
    mine = loss_sum(made, output, inputs, labels)
    hook.remove()
    assert [tuple(shape) for shape in seen] == [(1, row.trained)]
    whole = made(**inputs, labels=labels).loss * row.trained
    assert float(mine.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
