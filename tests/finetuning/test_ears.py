"""Captions of an expert with ears do a model without ears no harm: what speaks of sound is left out."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import drawn_faces
from emo.finetuning import adapter, batching, held_out, listing, model, prepared
from emo.finetuning.collator import Collator
from emo.finetuning.loss import loss_sum, on_device
from emo.finetuning.schedule import learning_rate
from emo.finetuning.settings import Finetune
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, CLIPS
from trained_folders import prepare

RUN = "20260101T000000Z"
TRAINED = 60  # persons
SETTINGS = {
    "device": "cpu", "batch": 32, "epochs": 12, "learning_rate": 2e-3, "gradient_checkpointing": False,
    "lora": {"dropout": 0}, "max_frames": 1, "validation": {"samples": 60, "max_new_tokens": 12},
}  # fmt: skip


def write_out(out: Storage, heard: bool) -> None:
    """Clips of drawn faces with captions of what is seen.

    heard: each clip that is trained on also has a caption of an expert with ears, about another feeling:
    what a voice says of a person is not what a face does.
    """
    names = list(drawn_faces.EXPRESSIONS)
    clips, captions = [], []
    empty = {field.name: None for field in CAPTIONS.schema}
    source = dict.fromkeys(CAPTIONS.schema.field("source").type.names)
    for number in [*range(TRAINED), *range(1000, 1010)]:
        for place, expression in enumerate(names):
            clip = drawn_faces.clip(number, expression)
            row = {field.name: getattr(clip, field.name, None) for field in CLIPS.schema}
            clips.append({**row, "uri": "u", "status": "ok", "run_id": RUN})
            other = names[(place + 1) % len(names)]
            written = [("eyes", False, drawn_faces.EXPRESSIONS[expression][0])]
            if heard and number < 1000:
                written.append(("ears", True, f"The person feels {other}: the voice trembles."))
            for expert, audio, text in written:
                tags = "<image><audio>" if audio else "<image>"
                chat = [
                    {"role": "user", "content": f"{tags}{drawn_faces.QUESTION}"},
                    {"role": "assistant", "content": text},
                ]
                captions.append(
                    {
                        **empty, "caption_id": f"{clip.video_id}:{expert}", "video_id": clip.video_id,
                        "split": "train" if number < 1000 else "validation", "frames": [0], "audio": audio,
                        "messages": json.dumps(chat), "labels": [other if audio else expression],
                        "status": "ok", "filters": [], "run_id": RUN,
                        "source": {**source, "expert": expert, "window": "0-100"},
                    }
                )  # fmt: skip
    for name, schema, rows in (("clips", CLIPS, clips), ("captions", CAPTIONS, captions)):
        committed.commit(out, name, schema, "a", pa.Table.from_pylist(rows, schema=schema.schema))


def trained(
    settings: Finetune, base: Path, out: Storage, run: Storage, steps: int
) -> tuple[dict[str, int], float]:
    """Train in one process as a run does, without Ray: what was refused, and the label F1 at the end."""
    listed, _ = listing.list_samples(out, settings)
    entries = list(prepare(out, run, settings, listed).values())
    stored = prepared.Stored(run, prepared.TRAIN)
    collator = Collator(run, settings, base, stored)
    made = model.prepare(settings, base)
    weights = [value for value in made.model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    output = made.model.get_base_model().get_output_embeddings()
    for plan in batching.steps(len(stored), settings.batch, settings.epochs, 0, steps, batching.Cursor()):
        batch = collator.batch(plan.samples)
        inputs, labels = on_device(batch, collator.encoder.preprocessor, torch.device("cpu"), torch.float32)
        loss = loss_sum(made.model, output, inputs, labels) / batch.trained
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan.after.step, steps, settings.learning_rate, 0.1)
        optimizer.step()
    about = adapter.manifest(
        "faces", settings, base, targets=made.targets, data=prepared.about(entries, "f"), step=steps,
        template=str(collator.encoder.preprocessor.processor.chat_template), metrics={},
    )  # fmt: skip
    folder = Path(run.full("adapter"))
    adapter.write_adapter(
        folder,
        made.model,
        {n: v.detach() for n, v in made.model.named_parameters() if v.requires_grad},
        about,
    )
    metrics = held_out.judge_result(run, settings, folder, steps)
    return prepared.counts(entries), metrics["f1"]


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_lora_on_faces_ends_no_worse_with_captions_of_an_expert_with_ears(tmp_path):
    base = drawn_faces.make_base(tmp_path / "base", range(2000, 2100))
    settings = Finetune(**SETTINGS, model=str(base))
    every = 6 * TRAINED
    expected = {
        "eyes": {"train": every, "held_out": 60, "refused": {}},
        "both": {"train": every, "held_out": 60, "refused": {"other_sense": every}},
    }
    steps = batching.steps_in(every, settings.batch, settings.epochs, None)
    ended = {}
    for name, counts in expected.items():
        out = Storage(str(tmp_path / name))
        write_out(out, heard=name == "both")
        found, ended[name] = trained(settings, base, out, Storage(str(tmp_path / f"run-{name}")), steps)
        assert found == counts
        print(f"label F1 after {steps} steps on {name}: {ended[name]:.3f}")
    assert ended["eyes"] > 0.3, "it learns"
    assert ended["both"] >= ended["eyes"]
