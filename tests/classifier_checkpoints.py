"""Random classifiers of the three kinds, saved as a hub folder would be; small unless sizes are given."""

from pathlib import Path
from typing import Any

import torch
import transformers

import checkpoint_parts

FACES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
VOICES = ("neu", "hap", "ang", "sad")
WORDS = ("anger", "joy", "neutral", "remorse", "sadness")


def _named(classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def _save(model: Any, processor: Any, folder: Path, seed: int, spread: float) -> Path:
    """Weights drawn anew, wide enough in the last layer that classes differ between inputs."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                scale = 1.0 / parameter[0].numel() ** 0.5
                last = spread if name.split(".")[0] in ("classifier", "projector") else 1.0
                parameter.copy_(torch.randn(parameter.shape, generator=numbers) * scale * last)
            elif name.endswith("bias"):
                # Some are drawn when the model is made, from numbers that an earlier test may have used up.
                parameter.zero_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\ndatasets:\n- random/none\n---\n\nRandom weights.\n")
    return folder


def make_faces(
    folder: Path,
    classes: tuple[str, ...] = FACES,
    *,
    seed: int = 0,
    spread: float = 6.0,
    side: int = 32,
    **sizes: Any,
) -> Path:
    """A ViT classifier of pictures."""
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "patch_size": 8,
    }
    config = transformers.ViTConfig(**{**small, "image_size": side, **sizes}, **_named(classes))
    processor = transformers.ViTImageProcessor(size={"height": side, "width": side})
    return _save(transformers.ViTForImageClassification(config), processor, folder, seed, spread)


def make_voices(
    folder: Path,
    classes: tuple[str, ...] = VOICES,
    *,
    seed: int = 0,
    spread: float = 6.0,
    mask: bool = False,
    **sizes: Any,
) -> Path:
    """A wav2vec 2.0 classifier of sounds; mask: of the kind that was trained with an attention mask."""
    small: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (16, 16, 16),
        "conv_kernel": (10, 8, 4),
        "conv_stride": (8, 8, 4),
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "classifier_proj_size": 16,
        "use_weighted_layer_sum": True,
    }
    config = transformers.Wav2Vec2Config(
        **{**small, **sizes}, feat_extract_norm="layer" if mask else "group", **_named(classes)
    )
    processor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask)
    model = transformers.Wav2Vec2ForSequenceClassification(config)
    return _save(model, processor, folder, seed, spread)


def make_words(
    folder: Path,
    classes: tuple[str, ...] = WORDS,
    *,
    seed: int = 0,
    spread: float = 6.0,
    several: bool = True,
    **sizes: Any,
) -> Path:
    """A RoBERTa classifier of texts; several: more than one class may hold."""
    tokenizer = checkpoint_parts.tokenizer()
    tokenizer.model_max_length = 64
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "type_vocab_size": 1,
    }
    config = transformers.RobertaConfig(
        **{**small, **sizes},
        pad_token_id=tokenizer.pad_token_id,
        problem_type="multi_label_classification" if several else "single_label_classification",
        **_named(classes),
    )
    model = transformers.RobertaForSequenceClassification(config)
    return _save(model, tokenizer, folder, seed, spread)


MAKERS = {"face": make_faces, "frames": make_faces, "audio": make_voices, "transcript": make_words}
"""What makes a checkpoint for each of the things that a classifier sees."""
