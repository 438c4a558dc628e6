"""What every tiny checkpoint has: a tokenizer, a chat template, small sizes, drawn weights, its files."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

SENTENCES = [
    "The person smiles and looks relaxed, the voice is warm and quick.",
    "She frowns, lowers her eyes and speaks slowly in a low voice.",
    "He raises his eyebrows, opens his mouth and leans forward.",
    "Describe the face, the body and the voice of the person in this clip.",
    "What the person feels is not certain; several feelings are possible.",
]
_QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'video' %}VIDEO"
    "{% elif part['type'] == 'audio' %}AUDIO{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_template(image: str = "", video: str = "", audio: str = "") -> str:
    """A chat template of the Qwen form with these texts in place of the media."""
    return _QWEN_TEMPLATE.replace("IMAGE", image).replace("VIDEO", video).replace("AUDIO", audio)


def tokenizer(
    special: list[str] | None = None, template: str | None = None, **named: str
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of a few hundred entries; `named` are special tokens by attribute name."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    extra = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(special or []), *named.values()]
    trained.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=list(dict.fromkeys(extra)),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )
    made.chat_template = template or chat_template()
    return made


def text_config(vocabulary: int, **changes: Any) -> dict[str, Any]:
    """Sizes of a small decoder with grouped heads."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "tie_word_embeddings": False,
        **changes,
    }


def save(
    model: Any,
    folder: Path,
    processor: Any,
    end_token: int,
    seed: int = 0,
    end_bias: float = 0.0,
    generation: dict[str, Any] | None = None,
) -> Path:
    """Draw the weights anew, wide enough that answers differ, and write everything into `folder`.

    end_bias: how much more often than by chance the model ends its answer (it widens the end token's row).
    """
    random_numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                # Every layer passes on what it was given at about the same size, so that the pictures and the
                # sound still count in the last layer.
                scale = 0.5 if "embed" in name or "lm_head" in name else 2.0 / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=random_numbers) * scale)
        model.get_output_embeddings().weight[end_token] *= 1.0 + end_bias
    model.generation_config = GenerationConfig(eos_token_id=end_token, **(generation or {}))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\ndatasets:\n- random/none\n---\n\nRandom weights for tests.\n"
    )
    return folder


def drawn(name: str, shape: tuple[int, ...], numbers: torch.Generator) -> torch.Tensor:
    """A random weight, wide enough that what comes out depends on what goes in."""
    found = torch.randn(shape, generator=numbers)
    if "embed" in name:
        return found * 0.5
    if len(shape) > 1:
        return found * 2.0 / found[0].numel() ** 0.5
    return 1.0 + 0.1 * found if name.endswith("weight") else 0.1 * found
