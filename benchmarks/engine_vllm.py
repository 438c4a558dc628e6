"""emo's own loop and a model's own `generate` against vLLM on the same prompts, greedy, in one run.

vLLM is a server that this starts, as `engine: vllm` does. Each repeat has prompts of its own: vLLM meets
them unseen, then again, with their keys and values in its prefix cache; then the other two answer them, which
keep nothing. The server has nothing to do meanwhile. So all ways take turns, and a change of the machine's
pace meets all of them; the figures are medians. Random weights end an answer early now and then, so tokens
that were written are counted.
"""

import random
import statistics
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

import checkpoints
from emo.engines.generate import BatchPreprocessor, GenerateEngine
from emo.engines.settings import ModelSettings
from emo.engines.text import Chat, TextPreprocessor
from emo.engines.transformers_engine import TransformersEngine
from emo.engines.vllm import VllmEngine
from emo.engines.vllm_server import VllmSettings
from emo.errors import RowError

_WORDS = (
    "the",
    "person",
    "smiles",
    "and",
    "looks",
    "relaxed",
    "voice",
    "is",
    "warm",
    "she",
    "frowns",
    "slowly",
)


class TextBatch(BatchPreprocessor[Chat]):
    """Prompts of text, padded on the left."""

    wanted = ()

    def __init__(self, folder: Path) -> None:
        self._one = TextPreprocessor(folder)
        self.tokenizer = self._one.tokenizer

    def size(self, item: Chat) -> int:
        return self._one.size(item)

    def kind(self, item: Chat) -> Hashable:
        return None

    def degraded(self, item: Chat) -> tuple[str, ...]:
        return ()

    def text(self, token_ids: Sequence[int]) -> str:
        return self._one.text(token_ids)

    def batch(self, items: Sequence[Chat]) -> dict[str, Any]:
        rows = [self._one.prepare(item).input_ids for item in items]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, width - len(row) :] = row
            mask[place, width - len(row) :] = 1
        return {"input_ids": ids, "attention_mask": mask}


def against_vllm(
    folder: Path,
    python: str,
    device: str,
    count: int,
    new_tokens: int,
    repeats: int,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Tokens per second of the three, and the share of the greedy texts that are those of vLLM."""
    settings = ModelSettings(model=str(folder), device=device, max_new_tokens=new_tokens, temperature=0.0)
    keys = [str(number) for number in range(count)]
    vllm = VllmSettings(python=python, arguments=("--max-model-len", "2048", *arguments))
    served: VllmEngine[str] = VllmEngine(
        settings, vllm, lambda text: ([{"role": "user", "content": text}], ()), {}
    )
    ways: dict[str, Any] = {
        "emo": TransformersEngine(settings, TextPreprocessor),
        "generate": GenerateEngine(settings, folder, TextBatch, AutoModelForCausalLM),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ("vllm_cold", "vllm_seen", *ways)}
    equal = dict.fromkeys(ways, 0)
    try:
        served.generate(["warm up"] * 4, keys[:4], name="warm")
        for engine in ways.values():
            engine.generate([Chat("warm up")] * 4, keys[:4], name="warm")
        for repeat in range(repeats):
            chosen = random.Random(repeat)
            prompts = [" ".join(chosen.choices(_WORDS, k=chosen.randint(12, 28))) for _ in range(count)]
            theirs: list[Any] = []
            for name in ("vllm_cold", "vllm_seen"):
                speed, theirs = _timed(lambda prompts=prompts: served.generate(prompts, keys, name="speed"))
                speeds[name].append(speed)
            chats = [Chat(text) for text in prompts]
            for name, engine in ways.items():
                speed, ours = _timed(
                    lambda engine=engine, chats=chats: engine.generate(chats, keys, name="speed")
                )
                speeds[name].append(speed)
                equal[name] += sum(
                    _text(mine) == _text(other) for mine, other in zip(ours, theirs, strict=True)
                )
    finally:
        served.close()
    result: dict[str, Any] = {"prompts": count, "new_tokens": new_tokens, "repeats": repeats}
    result["vllm"] = served.name
    result |= {name: statistics.median(found) for name, found in speeds.items()}
    for name in ways:
        ratios = [mine / cold for mine, cold in zip(speeds[name], speeds["vllm_cold"], strict=True)]
        result[f"{name}_over_vllm_cold"] = statistics.median(ratios)
        result[f"{name}_texts_equal"] = equal[name] / (count * repeats)
    return result


def _timed(act: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    started = time.perf_counter()
    answers = act()
    elapsed = time.perf_counter() - started
    # Random weights may end an answer at once, which a server's client takes for a fault of that row.
    written = [answer for answer in answers if not isinstance(answer, RowError)]
    assert len(written) > 0.9 * len(answers), answers
    return sum(answer[0].output_tokens for answer in written) / elapsed, answers


def _text(answer: list[Any] | RowError) -> str:
    return "" if isinstance(answer, RowError) else answer[0].text


def small_text(folder: Path) -> Path:
    """17 million parameters, with heads that vLLM's kernels for a CPU know."""
    return checkpoints.make_text(
        folder, hidden_size=384, intermediate_size=1536, num_hidden_layers=7, num_attention_heads=6
    )
