"""A text-only causal language model as a family of the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emo.engines.chat_template import ChatTemplate
from emo.engines.preprocessing import ModelInput, Preprocessor


@dataclass(frozen=True)
class Chat:
    """One question to a text model; system: None: no system turn; begins: how its answer begins."""

    user: str
    system: str | None = None
    begins: str = ""


class TextPreprocessor(Preprocessor[Chat]):
    """Writes a chat with the template of the checkpoint; a checkpoint without one is an InputError."""

    def __init__(
        self, folder: Path, trust_remote_code: bool = False, template: Mapping[str, Any] | None = None
    ) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        self.chat = ChatTemplate(self.tokenizer, folder, template or {})

    def size(self, item: Chat) -> int:
        return (len(item.user) + len(item.system or "")) // 3

    def prepare(self, item: Chat) -> ModelInput:
        turns = [{"role": "system", "content": item.system}] if item.system else []
        turns.append({"role": "user", "content": item.user})
        written = self.chat.written(turns) + item.begins
        return text_input(self.tokenizer(written, add_special_tokens=False)["input_ids"])


def text_input(token_ids: Sequence[int]) -> ModelInput:
    """A prompt of tokens only, at positions 0, 1, 2, ..."""
    return ModelInput(torch.tensor(list(token_ids)), torch.arange(len(token_ids))[None])
