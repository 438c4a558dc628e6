"""Speed of the in-process engine against the two usual ways to run a model over clips, in one run.

    OMP_WAIT_POLICY=passive taskset -c 0,1 python benchmarks/engine.py [--json PATH]
                                                two CPU cores, a small random model
    python benchmarks/engine.py --gpu [--json PATH]
                                                InternVL3-8B's real shape, random weights

(a) is the loop of the published scripts: one clip at a time, processor in line, `generate`. (b) is static
batches in the order of arrival, processor in line, padded to the longest, `generate` until the longest
answer of the batch is done. All three write the same number of tokens per clip, and greedy answers, which
are compared.

The model for the CPU is so small that a step for many rows costs not much more than a step for one, as on a
GPU, where a step reads all weights whatever the number of rows.
"""

import argparse
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import add_json_option, compare, write
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import checkpoints
from emo.engines.batching import Budget
from emo.engines.generation import Generator, Task
from emo.engines.sampling import Sampling
from emo.engines.text import Chat, TextPreprocessor
from emo.experts.in_process import FramesSettings, Question
from emo.experts.internvl import InternVLPreprocessor
from emo.experts.media import frames_tensor
from emo.experts.protocol import Clip

MAX_FRAMES = 16
STATIC_BATCH = 8


def made_clips(count: int, frames: Sequence[int], size: tuple[int, int]) -> list[Clip]:
    """Clips of noise, as ingest stores them: JPEG at quality 92."""
    numbers, chosen = np.random.default_rng(0), random.Random(0)
    pictures = []
    for _ in range(32):
        coarse = numbers.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
        pictures.append(buffer.getvalue())
    clips = []
    for number in range(count):
        many = chosen.choice(frames)
        clips.append(
            Clip(
                video_id=f"clip-{number}",
                frames=tuple(chosen.choices(pictures, k=many)),
                frame_times=tuple(float(place) for place in range(many)),
                audio=None,
                transcript=None,
                language=None,
                duration_s=float(many),
            )
        )
    return clips


class PlainPath:
    """The processor in line and `generate`, as published scripts do it."""

    def __init__(self, model: Any, folder: Path, question: Question) -> None:
        self.model = model
        # `generate` takes what is not given from here, and all ways must write equally many tokens.
        model.generation_config = GenerationConfig()
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.question = question
        self.device = model.get_input_embeddings().weight.device

    def inputs(self, clip: Clip) -> dict[str, torch.Tensor]:
        turns = self.question.turns(clip, [{"type": "video"}])
        text = self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        made = self.processor(
            text=[text],
            videos=[frames_tensor(clip, range(len(clip.frames)))],
            do_sample_frames=False,
            return_tensors="pt",
        )
        return {name: made[name] for name in ("input_ids", "attention_mask", "pixel_values")}

    def answers(self, batch: Sequence[dict[str, torch.Tensor]], limit: int) -> list[list[int]]:
        width = max(inputs["input_ids"].shape[1] for inputs in batch)
        joined = {
            name: torch.cat(
                [
                    torch.nn.functional.pad(inputs[name], (width - inputs[name].shape[1], 0))
                    for inputs in batch
                ]
            )
            for name in ("input_ids", "attention_mask")
        }
        joined["pixel_values"] = torch.cat([inputs["pixel_values"] for inputs in batch])
        config = GenerationConfig(
            max_new_tokens=limit, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True
        )
        sent = {name: tensor.to(self.device) for name, tensor in joined.items()}
        sent["pixel_values"] = sent["pixel_values"].to(self.model.dtype)
        with torch.inference_mode():
            out = self.model.generate(**sent, generation_config=config)
        return out[:, width:].tolist()


def one_by_one(plain: PlainPath, clips: Sequence[Clip], limits: Sequence[int]) -> list[list[int]]:
    return [plain.answers([plain.inputs(clip)], limit)[0] for clip, limit in zip(clips, limits, strict=True)]


def static_batches(plain: PlainPath, clips: Sequence[Clip], limits: Sequence[int]) -> list[list[int]]:
    found = []
    for start in range(0, len(clips), STATIC_BATCH):
        part = slice(start, start + STATIC_BATCH)
        batch = [plain.inputs(clip) for clip in clips[part]]
        written = plain.answers(batch, max(limits[part]))
        found += [tokens[:limit] for tokens, limit in zip(written, limits[part], strict=True)]
    return found


class Tokens(InternVLPreprocessor):
    """Keeps the token ids as text, so that answers can be compared token for token."""

    def text(self, token_ids: Sequence[int]) -> str:
        return " ".join(map(str, token_ids))


def engine_for(model: Any, preprocessor: Any, budget: Budget, workers: int) -> Generator[Any]:
    return Generator(
        model,
        preprocessor,
        sampling=Sampling(),
        end_tokens=frozenset(),
        pad_token=0,
        budget=budget,
        context=None,
        workers=workers,
    )


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    result = act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def three_ways(
    model: Any,
    folder: Path,
    clips: Sequence[Clip],
    limits: Sequence[int],
    budget: Budget,
    workers: int,
    repeats: int,
) -> dict[str, Any]:
    """The three ways over the same clips, in turns, so that a change of the machine's pace meets all."""
    # Of these small tokenizers' tokens a real prompt has so many that all clips would be about equally long.
    prompt = folder / "prompt.txt"
    prompt.write_text("Describe the face and the body of the person.")
    settings = FramesSettings(
        name="speed", kind="internvl", model=str(folder), max_frames=MAX_FRAMES, prompt=str(prompt)
    )
    question = Question(settings, "internvl")
    plain = PlainPath(model, folder, question)
    preprocessor = Tokens(folder, settings, question, ("frames",))
    tasks = [Task(clip, (0,), limit) for clip, limit in zip(clips, limits, strict=True)]
    engine = engine_for(model, preprocessor, budget, workers)
    warm = [Task(clip, (0,), 4) for clip in clips[:4]]
    engine.run(warm)
    one_by_one(plain, clips[:1], [4])

    rows: dict[str, Any] = {}
    best: dict[str, float] = {}
    answers: dict[str, list[list[int]]] = {}
    for _ in range(repeats):
        engine = engine_for(model, preprocessor, budget, workers)
        ways: dict[str, Callable[[], Any]] = {
            "a plain loop": lambda: one_by_one(plain, clips, limits),
            "b static batches": lambda: static_batches(plain, clips, limits),
            "engine": lambda engine=engine: [
                [int(token) for token in row[0].text.split()] for row in engine.run(tasks)
            ],
        }
        for name, act in ways.items():
            elapsed, answers[name] = timed(act)
            if elapsed < best.get(name, float("inf")):
                best[name] = elapsed
                rows[name] = {
                    "clips_per_s": len(clips) / elapsed,
                    "output_tokens_per_s": sum(limits) / elapsed,
                }
                if name == "engine":
                    rows[name]["prompt_tokens_per_s"] = engine.stats.prompt_tokens / elapsed
                    rows[name]["waiting_share"] = engine.stats.waiting_share
    return {
        "clips": len(clips),
        "ways": rows,
        "engine_over_a": rows["engine"]["clips_per_s"] / rows["a plain loop"]["clips_per_s"],
        "engine_over_b": rows["engine"]["clips_per_s"] / rows["b static batches"]["clips_per_s"],
        "answers_equal_a": sum(
            mine == other for mine, other in zip(answers["engine"], answers["a plain loop"], strict=True)
        )
        / len(clips),
    }


def samples_cost(
    folder: Path, prompt_tokens: int, new_tokens: int, samples: int, repeats: int
) -> dict[str, Any]:
    """Seconds for one sample and for several of one prompt."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    preprocessor = TextPreprocessor(folder)
    word = len(preprocessor.prepare(Chat("word " * 100))) - len(preprocessor.prepare(Chat("word " * 50)))
    chat = Chat("word " * (prompt_tokens * 50 // word))
    seconds = {}
    for count in (1, samples):
        engine = engine_for(model, preprocessor, Budget(10**6, 10**6), workers=1)
        engine.sampling = Sampling(temperature=1.0)
        task = [Task(chat, tuple(range(count)), new_tokens)]
        engine.run(task)
        seconds[count] = min(
            timed(lambda engine=engine, task=task: engine.run(task))[0] for _ in range(repeats)
        )
    return {
        "prompt_tokens": len(preprocessor.prepare(chat)),
        "new_tokens": new_tokens,
        "one_sample_s": seconds[1],
        f"{samples}_samples_s": seconds[samples],
        "ratio": seconds[samples] / seconds[1],
    }


def on_cpu(count: int, repeats: int, vllm: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkpoints.make_internvl(
            Path(scratch) / "internvl", tile=112, hidden_size=128, intermediate_size=512, num_hidden_layers=4
        )
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        chosen = random.Random(1)
        clips = made_clips(count, [2, 4, 8, 12, 16], (448, 252))
        limits = [chosen.choice([32, 64, 96, 128, 192, 256]) for _ in clips]
        result = three_ways(model, folder, clips, limits, Budget(48_000, 2_048), workers=2, repeats=repeats)
        text = checkpoints.make_text(
            Path(scratch) / "text", hidden_size=256, intermediate_size=1024, num_hidden_layers=4
        )
        result["samples"] = samples_cost(text, 2000, 64, 5, repeats)
        if vllm:
            from engine_vllm import against_vllm, small_text

            small = small_text(Path(scratch) / "small")
            # On a CPU the share is one of the machine's memory; by default it is nearly all of it.
            share = ["--enforce-eager", "--gpu-memory-utilization", "0.2"]
            result["vllm"] = against_vllm(small, vllm, "cpu", 96, 96, repeats + 1, share)
    return result


def on_gpu(count: int, repeats: int, vllm: str | None) -> dict[str, Any]:
    """8 frames of 448 pixels (2,048 vision tokens) and 128 new tokens per clip."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, model = checkpoints.internvl3_8b_shape(Path(scratch), torch.device("cuda"))
        clips = made_clips(count, [8], (448, 252))
        free = torch.cuda.mem_get_info()[0]
        per_token = 2 * 28 * 4 * 128 * 2
        budget = Budget(int(0.6 * free / per_token), 16_384)
        result = three_ways(model, folder, clips, [128] * count, budget, workers=8, repeats=repeats)
        result |= prefill_share(model)
        result["device"] = torch.cuda.get_device_name()
        del model
        torch.cuda.empty_cache()
        if vllm:
            from engine_vllm import against_vllm

            sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24}
            text = checkpoints.make_text(Path(scratch) / "text", num_attention_heads=16, **sizes)
            result["vllm"] = against_vllm(text, vllm, "cuda", 512, 256, repeats + 1)
    return result


def prefill_share(model: Any) -> dict[str, Any]:
    """Arithmetic of a pass over 8 prompts of 2,048 tokens against what large bf16 products reach here."""
    size = 8192
    left = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    left @ left
    product_s = min(timed(lambda: [left @ left for _ in range(10)])[0] for _ in range(3)) / 10
    ceiling = 2 * size**3 / product_s
    text = model.model.language_model
    weights = sum(parameter.numel() for parameter in text.layers.parameters())
    rows, length = 8, 2048
    config = model.config.text_config
    attention = 2 * 2 * rows * length**2 * config.hidden_size * config.num_hidden_layers / 2
    work = 2 * weights * rows * length + attention
    ids = torch.zeros((rows, length), dtype=torch.long, device="cuda")
    with torch.inference_mode():
        model(input_ids=ids, use_cache=True, logits_to_keep=1)
        seconds = min(
            timed(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1))[0] for _ in range(3)
        )
    return {"bf16_ceiling_tflops": ceiling / 1e12, "prefill_share_of_ceiling": work / seconds / ceiling}


def show(result: dict[str, Any]) -> None:
    print(f"{'way':<18}{'clips/s':>9}{'out tok/s':>11}{'prompt tok/s':>14}{'waiting':>9}")
    for name, row in result["ways"].items():
        prompt = f"{row['prompt_tokens_per_s']:.0f}" if "prompt_tokens_per_s" in row else "-"
        waiting = f"{row['waiting_share']:.1%}" if "waiting_share" in row else "-"
        print(
            f"{name:<18}{row['clips_per_s']:>9.2f}{row['output_tokens_per_s']:>11.0f}{prompt:>14}{waiting:>9}"
        )
    print(f"engine / a: {result['engine_over_a']:.2f}   engine / b: {result['engine_over_b']:.2f}")
    print(f"greedy answers equal to those of (a): {result['answers_equal_a']:.1%}")
    if "samples" in result:
        cost = result["samples"]
        print(
            f"5 samples of a prompt of {cost['prompt_tokens']} tokens, {cost['new_tokens']} new: "
            f"{cost['5_samples_s']:.2f} s against {cost['one_sample_s']:.2f} s for one ({cost['ratio']:.2f}x)"
        )
    if "vllm" in result:
        found = result["vllm"]
        for name in ("vllm_cold", "vllm_seen", "emo", "generate"):
            print(f"{name:<12}{found[name]:>9.0f} tokens/s")
        print(
            f"emo / vLLM (prompts it has not seen): {found['emo_over_vllm_cold']:.2f}   "
            f"generate / vLLM: {found['generate_over_vllm_cold']:.2f}"
        )
    if "bf16_ceiling_tflops" in result:
        print(
            f"{result['device']}: prefill at {result['prefill_share_of_ceiling']:.0%} of "
            f"{result['bf16_ceiling_tflops']:.0f} TFLOP/s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--clips", type=int, default=None, help="default 64")
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many")
    parser.add_argument("--vllm", metavar="PYTHON", help="of an environment with vLLM: the third way")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU")
    add_json_option(parser)
    arguments = parser.parse_args()
    if arguments.gpu and not torch.cuda.is_available():
        sys.exit("--gpu: torch sees no CUDA device")
    torch.set_num_threads(arguments.threads)
    result = (
        on_gpu(arguments.clips or 64, arguments.repeats, arguments.vllm)
        if arguments.gpu
        else on_cpu(arguments.clips or 64, arguments.repeats, arguments.vllm)
    )
    result["torch"] = torch.__version__
    show(result)
    where = arguments.json or (Path("engine_gpu.json") if arguments.gpu else None)
    compare(where, result, lower=("ratio",), higher=("_over_", "share_of_ceiling"))
    write(arguments.json, result)


if __name__ == "__main__":
    main()
