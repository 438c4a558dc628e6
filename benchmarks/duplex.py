"""What duplex attention (`finetune.attention_module: moda`) adds to a LoRA on drawn faces, seed by seed.

    python benchmarks/duplex.py [--seeds 5] [--faces 40,160] [--json PATH]

A tiny InternVL that knows three of six expressions is trained on all six. In each seed every arm is trained
on the same faces in the same order, and judged on the same faces that none of them saw:

    lora    a LoRA as `emo finetune` makes it
    moda    the same LoRA and duplex attention beside it
    wider   a LoRA of a higher rank with at least as many weights as `moda`: more weights alone may help

Answers are written by the adapter as a run leaves it, through the engine of the experts. `f1` is the label F1
of `emo finetune`. Differences are those of two arms within a seed, so that faces and their order fall out.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from figures import add_json_option, show, write

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import drawn_faces
from emo.captions.messages import Turn
from emo.experts.in_process import finetunable
from emo.experts.protocol import Clip
from emo.finetuning import adapter, batching, collate, loss, model, parts, validation
from emo.finetuning.masking import Encoder, TrainingInput
from emo.finetuning.samples import Sample, from_turns
from emo.finetuning.schedule import learning_rate
from emo.finetuning.settings import Finetune

RANK, EPOCHS, BATCH, RATE = 16, 6, 32, 2e-3
HELD_OUT = range(1000, 1032)
ARMS = ("lora", "moda", "wider")


def faces(numbers: range) -> list[tuple[Sample, Clip]]:
    """A question, its answer and a picture for each expression of these people."""
    found = []
    for number in numbers:
        for expression, (answer, *_) in drawn_faces.EXPRESSIONS.items():
            chat = [Turn("user", drawn_faces.QUESTION), Turn("assistant", answer)]
            name = f"{expression}-{number}"
            found.append((from_turns(name, chat, None, True), drawn_faces.clip(number, expression)))
    return found


def settings_of(base: Path, rank: int, duplex: bool, seed: int) -> Finetune:
    """Those of an arm; alpha follows the rank, so that both scale alike."""
    return Finetune(
        model=str(base), device="cpu", seed=seed, max_frames=1, learning_rate=RATE, batch=BATCH,
        epochs=EPOCHS, gradient_checkpointing=False, lora={"rank": rank, "alpha": 2 * rank},
        attention_module="moda" if duplex else None,
        validation={"max_new_tokens": 12},
    )  # fmt: skip


def batch_loss(made: Any, encoder: Encoder, rows: list[TrainingInput]) -> tuple[torch.Tensor, int]:
    """The loss summed over the trained tokens of the rows, and how many these are."""
    batch = collate.collate(rows, encoder.preprocessor, encoder.pad_token, None)
    inputs, labels = loss.on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
    output = made.get_base_model().get_output_embeddings()
    return loss.loss_sum(made, output, inputs, labels), batch.trained


def trained(settings: Finetune, base: Path, encoder: Encoder, rows: list[TrainingInput]) -> model.Prepared:
    """One arm after its training; a bare loop of the same steps, rates and order as a run's."""
    prepared = model.prepare(settings, base)
    made = prepared.model.train()
    groups = parts.optimizer_groups(made, settings, finetunable(settings.family).family)
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    steps = batching.steps_in(len(rows), BATCH, EPOCHS, None)
    for plan in batching.steps(len(rows), BATCH, EPOCHS, settings.seed, None, batching.Cursor()):
        torch.manual_seed(settings.seed * 1_000_003 + plan.after.step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan.after.step, steps, RATE, settings.warmup_share)
        summed, count = batch_loss(made, encoder, [rows[place] for place in plan.samples])
        optimizer.zero_grad()
        (summed / count).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), settings.clip)
        optimizer.step()
    return prepared


def judged(
    settings: Finetune, base: Path, prepared: model.Prepared, encoder: Encoder, asked: list[validation.Asked]
) -> dict[str, float]:
    """Label F1 of its answers, and its loss, on faces that it did not see."""
    rows = [encoder.encode(one.sample, one.clip) for one in asked]
    prepared.model.eval()
    with torch.no_grad():
        summed, count = zip(
            *(
                batch_loss(prepared.model, encoder, rows[at : at + BATCH])
                for at in range(0, len(rows), BATCH)
            ),
            strict=True,
        )
    weights = {n: v.detach() for n, v in prepared.model.named_parameters() if v.requires_grad}
    about = adapter.manifest(
        "faces", settings, base, targets=prepared.targets, step=1, metrics={}, attention=prepared.attention,
        template=str(encoder.preprocessor.processor.chat_template), data={"fingerprint": "drawn faces"},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as path:
        adapter.write_adapter(Path(path) / "adapter", prepared.model, weights, about)
        written = validation.answers(settings, base, Path(path) / "adapter", asked)
    figures = validation.score(asked, written)
    return {"f1": figures["f1"], "held_out_loss": float(sum(summed)) / sum(count)}


def differences(arm: list[dict[str, Any]], other: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Mean and standard error over the seeds of a figure of the one less that of the other."""
    found = [one[name] - two[name] for one, two in zip(arm, other, strict=True)]
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else float("nan")
    return {
        "mean": round(statistics.mean(found), 4),
        "standard_error": round(error, 4),
        "seeds_above_0": sum(one > 0 for one in found),
    }


def measured(base: Path, people: int, seeds: int) -> dict[str, Any]:
    """All arms and seeds of a training on so many people."""
    encoder = Encoder("internvl", base, max_frames=1, max_tokens=500)
    asked = [validation.Asked(sample, clip, None) for sample, clip in faces(HELD_OUT)]
    of_lora = model.prepare(settings_of(base, RANK, False, 0), base).trained
    of_moda = model.prepare(settings_of(base, RANK, True, 0), base).trained
    arms = {
        "lora": (RANK, False),
        "moda": (RANK, True),
        "wider": (math.ceil(of_moda / of_lora * RANK), False),
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    weights = {}
    for seed in range(seeds):
        rows = [encoder.encode(*one) for one in faces(range(seed * people, (seed + 1) * people))]
        for name, (rank, duplex) in arms.items():
            began = time.monotonic()
            settings = settings_of(base, rank, duplex, seed)
            prepared = trained(settings, base, encoder, rows)
            figures = judged(settings, base, prepared, encoder, asked)
            weights[name] = prepared.trained
            runs[name].append({key: round(value, 4) for key, value in figures.items()})
            told = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(
                f"{people} people, seed {seed}, {name}: {told}, {time.monotonic() - began:.0f} s",
                file=sys.stderr,
            )
    return {
        "people": people,
        "samples": people * len(drawn_faces.EXPRESSIONS),
        "held_out": len(asked),
        "trained_weights": weights,
        "rank_of_wider": arms["wider"][0],
        "f1": {name: [one["f1"] for one in found] for name, found in runs.items()},
        "held_out_loss": {name: [one["held_out_loss"] for one in found] for name, found in runs.items()},
        **{
            f"{figure}_of_moda_less_{other}": differences(runs["moda"], runs[other], figure)
            for figure in ("f1", "held_out_loss")
            for other in ("lora", "wider")
        },
    }


def main() -> None:
    """Print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--faces", default="40,160", metavar="N,...", help="numbers of people to train on")
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, Any] = {"seeds": options.seeds, "epochs": EPOCHS, "rank": RANK}
    with tempfile.TemporaryDirectory() as path:
        base = drawn_faces.make_base(Path(path) / "base", range(2000, 2400))
        for people in map(int, options.faces.split(",")):
            figures[f"{people} people"] = measured(base, people, options.seeds)
            # Each takes minutes: those that are there are kept.
            write(options.json, figures)
    show(figures)


if __name__ == "__main__":
    main()
