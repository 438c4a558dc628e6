"""Speed of the finetuning step against a bare PyTorch loop, and the agreement of the ZeRO stages.

    python benchmarks/finetune.py                 on this machine's cores: speed, then stages 0 to 3
    python benchmarks/finetune.py --gpu           InternVL3-8B's shape with random weights on one GPU

Both loops train the same LoRA on the same batches (tiny InternVL, drawn faces, already encoded), so that the
ratio is what DeepSpeed and the token mean over workers cost. The share of time that waits for data comes from
a whole run: its page and its curve.json say it.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from figures import add_json_option, compare, show, write

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

STEPS, WARM, BATCH = 50, 5, 32
RATE = 2e-3
# Dense bfloat16 of one H100 SXM, FLOP/s.
H100 = 989e12


def encoded(folder: Path, family: str = "internvl", frames: int = 1, samples: int = 256) -> Any:
    """The encoder and the rows of drawn faces."""
    import drawn_faces
    from emo.captions.messages import Turn
    from emo.finetuning import masking
    from emo.finetuning.samples import from_turns

    encoder = masking.Encoder(family, folder, max_frames=frames, max_tokens=8192)
    rows = []
    for number in range(samples):
        expression = list(drawn_faces.EXPRESSIONS)[number % len(drawn_faces.EXPRESSIONS)]
        chat = [
            Turn("user", drawn_faces.QUESTION),
            Turn("assistant", drawn_faces.EXPRESSIONS[expression][0] * (1 + number % 5)),
        ]
        sample = from_turns(str(number), chat, None, True)
        rows.append(encoder.encode(sample, drawn_faces.clip(number, expression, frames=frames)))
    return encoder, rows


def step_batches(encoder: Any, rows: list[Any], batch: int, budget: int) -> list[list[Any]]:
    """The batches of every step, made before the clock starts."""
    from emo.finetuning import batching, collate

    lengths = [len(row) for row in rows]
    plans = batching.steps(len(rows), batch, 1000, 0, STEPS, batching.Cursor())
    return [
        [
            collate.collate([rows[i] for i in micro], encoder.preprocessor, encoder.pad_token, None)
            for micro in batching.micro_batches(plan.samples, lengths, 1, budget)[0]
        ]
        for plan in plans
    ]


def timed(step: Any, batches: list[list[Any]]) -> tuple[float, list[float]]:
    """Median tokens per second after the first steps, and the loss of every step."""
    speeds, losses = [], []
    for number, group in enumerate(batches):
        seconds, loss = one(step, number, group)
        losses.append(loss)
        speeds.append(sum(batch.tokens for batch in group) / seconds)
    return statistics.median(speeds[WARM:]), losses


def one(step: Any, number: int, group: list[Any]) -> tuple[float, float]:
    """Seconds and loss of one step."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    loss = step(number, group)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, loss


def bare(settings: Any, folder: Path, encoder: Any) -> Any:
    """One step of model, loss, AdamW, clipping: nothing else."""
    from emo.finetuning import loss, model

    made = model.prepare(settings, folder).model.train()
    output = made.get_base_model().get_output_embeddings()
    trained = [value for value in made.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=settings.weight_decay)

    def step(number: int, group: list[Any]) -> float:
        count = sum(batch.trained for batch in group)
        total = 0.0
        for batch in group:
            inputs, labels = loss.on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
            part = loss.loss_sum(made, output, inputs, labels) / count
            part.backward()
            total += float(part.detach())
        torch.nn.utils.clip_grad_norm_(trained, settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return step


def ours(settings: Any, folder: Path, encoder: Any) -> Any:
    """One step of the engine of emo finetune."""
    from emo.finetuning import model
    from emo.finetuning.engine import TrainingEngine

    engine = TrainingEngine(model.prepare(settings, folder).model, encoder.preprocessor, settings)
    return lambda number, group: engine.step(group, RATE, number).loss


def start(device: str) -> None:
    """A process group of one worker."""
    from emo.finetuning.engine import initialise_communication

    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29587")
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    initialise_communication(device)


def on_cores(threads: int) -> dict[str, Any]:
    """Ratio to the bare loop, and the losses of the stages."""
    import drawn_faces
    from emo.finetuning.settings import Finetune

    torch.set_num_threads(threads)
    start("cpu")
    with tempfile.TemporaryDirectory() as path:
        folder = drawn_faces.make_base(Path(path) / "base")
        encoder, rows = encoded(folder)
        batches = step_batches(encoder, rows, BATCH, 8192)

        def settings(stage: int) -> Finetune:
            return Finetune(
                model=str(folder), device="cpu", zero=stage, gradient_checkpointing=False,
                lora={"dropout": 0.0},
            )  # fmt: skip

        # Step by step in turn, so that another load on the machine falls on both.
        reference, engine = bare(settings(2), folder, encoder), ours(settings(2), folder, encoder)
        expected, pairs, tokens = [], [], 0
        for number, group in enumerate(batches):
            bare_s, loss = one(reference, number, group)
            ours_s, _ = one(engine, number, group)
            expected.append(loss)
            if number >= WARM:
                pairs.append((bare_s, ours_s))
                tokens += sum(batch.tokens for batch in group)
        differences = {}
        for stage in range(4):
            _, losses = timed(ours(settings(stage), folder, encoder), batches)
            differences[stage] = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
    return {
        "threads": threads,
        "bare_tokens_per_s": round(tokens / sum(pair[0] for pair in pairs)),
        "tokens_per_s": round(tokens / sum(pair[1] for pair in pairs)),
        "ratio": round(statistics.median(pair[0] / pair[1] for pair in pairs), 3),
        f"largest_loss_difference_over_{STEPS}_steps": {k: f"{v:.1e}" for k, v in differences.items()},
    }


def on_gpu() -> dict[str, Any]:
    """InternVL3-8B's shape: r=16, 8 frames, batch 4: tokens/s, memory, share of the GPU's peak."""
    import checkpoints
    from emo.finetuning import parts
    from emo.finetuning.engine import TrainingEngine
    from emo.finetuning.settings import Finetune

    if not torch.cuda.is_available():
        sys.exit("--gpu needs a CUDA device; torch sees none")
    start("cuda")
    device = torch.device("cuda", 0)
    with tempfile.TemporaryDirectory() as path:
        folder, model = checkpoints.internvl3_8b_shape(Path(path), device)
        model.config.save_pretrained(folder)
        encoder, rows = encoded(folder, frames=8, samples=64)
        batches = step_batches(encoder, rows, 4, 4 * 4096)
        settings = Finetune(model=str(folder), device="cuda", max_frames=8, batch=4)
        from peft import LoraConfig, get_peft_model

        from emo.experts.internvl import InternVLExpert

        linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        targets = parts.lora_targets(linears, ["language"], InternVLExpert.family)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        tuned = get_peft_model(
            model, LoraConfig(r=16, lora_alpha=32, target_modules=parts.target_pattern(targets))
        )
        model.enable_input_require_grads()
        engine = TrainingEngine(tuned, encoder.preprocessor, settings)
        speed, losses = timed(lambda number, group: engine.step(group, 1e-4, number).loss, batches)
        weights = sum(value.numel() for value in model.model.language_model.parameters())
    return {
        "device": torch.cuda.get_device_name(0),
        "tokens_per_s": round(speed),
        "memory_gib": round(torch.cuda.max_memory_allocated() / 1024**3, 1),
        # Forward and backward through frozen weights: 2 + 2 FLOP per weight and token; what gradient
        # checkpointing computes again does not count.
        "mfu_of_the_language_part": round(4 * weights * speed / H100, 3),
        "losses_are_finite": all(value == value for value in losses),
    }


def main() -> None:
    """Print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    add_json_option(parser)
    options = parser.parse_args()
    figures = on_gpu() if options.gpu else on_cores(options.threads)
    show(figures)
    where = options.json or (Path("finetune_gpu.json") if options.gpu else None)
    compare(where, figures, lower=(), higher=("ratio", "share"))
    write(options.json, figures)


if __name__ == "__main__":
    main()
