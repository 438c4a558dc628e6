"""emo's own loop and a model's own `generate` against vLLM on the same prompts, greedy, in one run.

vLLM is a server that this starts, as `engine: vllm` does. Its first round meets prompts that it has not
seen; the second meets them again, with their keys and values in its prefix cache. The other two keep nothing
between rounds. Random weights end an answer early now and then, so tokens that were written are counted.
"""

import random
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import torch

import checkpoints
from emo.engines.generate import BatchPreprocessor, GenerateEngine
from emo.engines.settings import ModelSettings
from emo.engines.text import Chat, TextPreprocessor
from emo.engines.transformers_engine import TransformersEngine
from emo.engines.vllm import VllmEngine
from emo.engines.vllm_server import VllmSettings

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
    folder: Path, python: str, device: str, count: int, new_tokens: int, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """Tokens per second of the three, and how many of the greedy texts are those of vLLM."""
    chosen = random.Random(0)
    prompts = [" ".join(chosen.choices(_WORDS, k=chosen.randint(12, 28))) for _ in range(count)]
    settings = ModelSettings(model=str(folder), device=device, max_new_tokens=new_tokens, temperature=0.0)
    keys = [str(number) for number in range(count)]
    vllm = VllmSettings(python=python, arguments=("--max-model-len", "2048", *arguments))
    result: dict[str, Any] = {"prompts": count, "new_tokens": new_tokens}

    served: VllmEngine[str] = VllmEngine(
        settings, vllm, lambda text: ([{"role": "user", "content": text}], ()), {}
    )
    try:
        served.generate(["warm up"] * 4, ["a", "b", "c", "d"], name="warm")
        cold, theirs = _timed(lambda: served.generate(prompts, keys, name="speed"))
        seen, _ = _timed(lambda: served.generate(prompts, keys, name="speed"))
        result |= {"vllm": served.name, "vllm_cold": cold, "vllm_seen": seen}
    finally:
        served.close()
    chats = [Chat(text) for text in prompts]
    from transformers import AutoModelForCausalLM

    ways: dict[str, Any] = {
        "emo": TransformersEngine(settings, TextPreprocessor),
        "generate": GenerateEngine(settings, folder, TextBatch, AutoModelForCausalLM),
    }
    for name, engine in ways.items():
        engine.generate(chats[:4], keys[:4], name="warm")
        result[name], ours = _timed(lambda engine=engine: engine.generate(chats, keys, name="speed"))
        result[f"{name}_over_vllm_cold"] = result[name] / cold
        result[f"{name}_texts_equal"] = sum(
            mine[0].text == other[0].text for mine, other in zip(ours, theirs, strict=True)
        )
    return result


def _timed(act: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    started = time.perf_counter()
    answers = act()
    elapsed = time.perf_counter() - started
    return sum(answer[0].output_tokens for answer in answers) / elapsed, answers


def small_text(folder: Path) -> Path:
    """17 million parameters, with heads that vLLM's kernels for a CPU know."""
    return checkpoints.make_text(
        folder, hidden_size=384, intermediate_size=1536, num_hidden_layers=7, num_attention_heads=6
    )
