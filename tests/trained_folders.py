"""What a training leaves in the folder of its run: samples, and checkpoints as the workers write them."""

import pickle
from pathlib import Path

import torch

from emo.captions.messages import Turn
from emo.finetuning import adapter, model, prepared
from emo.finetuning.batching import Cursor
from emo.finetuning.listed import Listing
from emo.finetuning.settings import Finetune
from emo.finetuning.state import State
from emo.run import training_data
from emo.run.training_checkpoints import list_part
from emo.store.storage import Storage


def entry(name, answer, split="train", **changes):
    turns = (Turn("user", "What is felt?"), Turn("assistant", answer))
    return prepared.Entry(name, split, turns, tokens=9, trained=3, **changes)


def prepare(out: Storage, run: Storage, settings: Finetune, listed: Listing) -> dict[str, prepared.Entry]:
    """What the preparation does, in this process; its samples by their ids."""
    preparer = training_data._Preparer(run, out, settings)
    parts = [*listed.refused()]
    for shard in training_data._write_shards(run, out, listed):
        parts.append(pickle.loads(preparer(shard)["entries"]))
    training_data._write_list(run, listed, parts)
    return {one.sample_id: one for one in prepared.read_entries(run)}


def checkpoint(place: Storage, base: Path, settings: Finetune, step: int, loss: float, whole=True) -> None:
    """What the workers of Ray Train leave of a step."""
    made = model.prepare(settings, base)
    torch.manual_seed(step)
    weights = {n: torch.randn(v.shape) for n, v in made.model.named_parameters() if v.requires_grad}
    about = adapter.manifest(
        "stopped", settings, base, targets=made.targets, template=(base / "chat_template.jinja").read_text(),
        data={"fingerprint": "f", "train": 1, "held_out": 1, "refused": {}},
        step=step, metrics={"step": step, "held_out_loss": loss},
    )  # fmt: skip
    folder = Path(place.full(f"train/checkpoint-{step:07d}-a"))
    adapter.write_adapter(folder / "adapter", made.model, weights, about)
    history = [
        {"step": n, "loss": 1.0, "rate": 0.1, "held_out_loss": None, "tokens_per_s": 1, "memory_gib": 1,
         "tokens": 1, "trained": 1, "norm": 1.0, "waited_share": 0}
        for n in range(1, step + 1)
    ]  # fmt: skip
    State(Cursor(step), 1, 1.0, history).write(folder)
    if whole:
        list_part(folder, 0)
