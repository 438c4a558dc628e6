"""Answers with vLLM: a server of this worker's own, asked as any other server is."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Generic, TypeVar

from emo.engines.adapters import CONFIG, adapter_name, check_trained, has_duplex
from emo.engines.generation import Completion
from emo.engines.models import resolve_model, revision_of
from emo.engines.openai_client import Answer, ChatRequest, OpenAIClient, ServerSettings
from emo.engines.sampling import row_seed
from emo.engines.settings import ModelSettings, weights_dtype
from emo.engines.vllm_server import MODEL, VllmServer, VllmSettings
from emo.errors import EmoError, InputError, RowError

Item = TypeVar("Item")

# What may be the server's fault as well as the row's.
_LOST = ("unreachable", "timeout", "server_error")
# An answer whose beginning is given goes on from there; without these it would be a turn of its own.
_GOES_ON = {"add_generation_prompt": False, "continue_final_message": True}
# Of a LoRA adapter, the ranks that vLLM has room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class VllmEngine(Generic[Item]):
    """One model behind one server.

    asked: makes the messages of a request from an item, and what the item lacks; raises RowError for an item
    that cannot be used. A last turn of the model's is how its answer begins. media: how many pictures and
    sounds a request may have, at most. A server that dies or hangs is started anew, and what it left is asked
    one by one; a row that ends it alone has failed.
    """

    def __init__(
        self,
        settings: ModelSettings,
        vllm: VllmSettings,
        asked: Callable[[Item], tuple[list[dict[str, Any]], tuple[str, ...]]],
        media: dict[str, int],
    ) -> None:
        self.settings = settings
        self.folder = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        self.revision = revision_of(self.folder)
        self.adapter: str | None = None
        arguments = _arguments(settings, self.folder, media)
        adapter = None if settings.adapter is None else resolve_model(settings.adapter)
        check_trained(settings, self.folder, adapter, lambda: _template(settings, self.folder))
        if settings.adapter is not None and adapter is not None:
            arguments += _lora(adapter)
            self.adapter = adapter_name(adapter, settings.adapter, False)
        self._asked = asked
        self._vllm = vllm
        self._server = VllmServer(vllm, arguments)
        self.name = f"vllm {self._server.version}"

    def generate(
        self,
        items: Sequence[Item],
        keys: Sequence[str],
        *,
        name: str,
        samples: int = 1,
        seed: int = 0,
        chosen: Sequence[Sequence[int] | None] | None = None,
    ) -> list[list[Completion] | RowError]:
        """As `TransformersEngine.generate`."""
        results: list[list[Completion] | RowError] = []
        requests: dict[int, tuple[ChatRequest, tuple[str, ...]]] = {}
        for place, (item, key, numbers) in enumerate(
            zip(items, keys, chosen or [None] * len(items), strict=True)
        ):
            try:
                messages, degraded = self._asked(item)
            except RowError as error:
                results.append(error)
                continue
            seeds = (row_seed(seed, name, key, number) for number in numbers or range(samples))
            more = _GOES_ON if messages[-1]["role"] == "assistant" else {}
            request = ChatRequest(messages, tuple(one % 2**31 for one in seeds), more)
            requests[place] = request, degraded
            results.append(RowError("unreachable", "not asked yet"))
        answers = self._answered([request for request, _ in requests.values()], samples)
        for (place, (_, degraded)), answer in zip(requests.items(), answers, strict=True):
            results[place] = answer if isinstance(answer, RowError) else _completions(answer, degraded)
        return results

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def _answered(self, requests: Sequence[ChatRequest], samples: int) -> list[list[Answer] | RowError]:
        answers = self._ask(requests, samples)
        lost = [place for place, answer in enumerate(answers) if _is_lost(answer)]
        if not lost or self._server.alive():
            return answers
        why, down = self._server.told(), True
        for place in lost:
            if down or not self._server.alive():
                self._server.start()
            (answers[place],) = self._ask([requests[place]], samples)
            down = _is_lost(answers[place]) and not self._server.alive()
            if down:
                answers[place] = RowError("worker_died", f"vLLM died or hung on this row alone: {why}")
        return answers

    def _ask(self, requests: Sequence[ChatRequest], samples: int) -> list[list[Answer] | RowError]:
        if not requests:
            return []
        temperature = self.settings.temperature
        if temperature is None:
            temperature = 0.0 if samples == 1 else 1.0
        settings = ServerSettings(
            url=self._server.url,
            model=MODEL,
            api_key_env=self._server.key_name,
            temperature=temperature,
            top_p=self.settings.top_p,
            max_tokens=self.settings.max_new_tokens,
            concurrency=self._vllm.concurrency,
            timeout_s=self._vllm.timeout_s,
            attempts=1,
        )
        try:
            with closing(OpenAIClient(settings)) as client:
                return client.chat(requests)
        except EmoError as error:  # the server is gone
            return [RowError("unreachable", str(error)) for _ in requests]


def _is_lost(answer: list[Answer] | RowError) -> bool:
    return isinstance(answer, RowError) and answer.code in _LOST


def _completions(answers: list[Answer], degraded: tuple[str, ...]) -> list[Completion]:
    return [
        Completion(
            text=answer.text,
            prompt_tokens=answer.prompt_tokens or 0,
            output_tokens=answer.output_tokens or 0,
            finish_reason=answer.finish_reason or "stop",
            degraded=degraded,
            thought=answer.thought,
        )
        for answer in answers
    ]


def _arguments(settings: ModelSettings, folder: Path, media: dict[str, int]) -> list[str]:
    dtype = weights_dtype(settings.dtype, settings.device)
    # What emo's own engines take of a checkpoint's settings for writing: its penalty, and nothing else.
    penalty = settings.repetition_penalty
    written = folder / "generation_config.json"
    if penalty is None and written.exists():
        penalty = json.loads(written.read_text()).get("repetition_penalty")
    arguments = [
        *("--model", str(folder)),
        *("--served-model-name", "base" if settings.adapter else MODEL),
        *("--dtype", dtype),
        *("--tensor-parallel-size", str(settings.gpus)),
        *("--generation-config", "vllm"),
        "--enable-prefix-caching",
    ]
    if penalty is not None:
        arguments += ["--override-generation-config", json.dumps({"repetition_penalty": penalty})]
    if media:
        arguments += ["--limit-mm-per-prompt", json.dumps(media)]
    if settings.template:
        arguments += ["--default-chat-template-kwargs", json.dumps(settings.template)]
    if settings.trust_remote_code:
        arguments.append("--trust-remote-code")
    return arguments


def _template(settings: ModelSettings, folder: Path) -> str | None:
    """The processor's, or without one the tokenizer's: what vLLM writes prompts with."""
    from transformers import AutoProcessor

    writer = AutoProcessor.from_pretrained(folder, trust_remote_code=settings.trust_remote_code)
    return writer.chat_template


def _lora(adapter: Path) -> list[str]:
    written = adapter / CONFIG
    if not written.exists():
        raise InputError(f"{adapter}: no {CONFIG}; this is not a LoRA adapter")
    config = json.loads(written.read_text())
    if has_duplex(config):
        raise InputError(
            f"{adapter}: it has duplex attention (finetune.attention_module), which vLLM does not compute; "
            "leave `served` out"
        )
    rank = int(config.get("r", 8))
    room = next((size for size in _RANKS if size >= rank), None)
    if room is None:
        raise InputError(f"{adapter}: its rank {rank} is larger than vLLM takes, {_RANKS[-1]} at most")
    return ["--enable-lora", "--max-lora-rank", str(room), "--lora-modules", f"{MODEL}={adapter}"]
