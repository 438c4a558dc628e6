"""Tiny random AffectGPT: three base models saved as hub folders, and a `.pth` with the published key names.

C = 24, A = 32, H = 64, two blocks, LoRA of rank 4; everything else is as in the published files.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from emo.experts import affectgpt_model as parts

# Layers this small take longer on several threads than on one, and much longer beside other processes.
torch.set_num_threads(1)

C, A, H, M = 24, 32, 64, 32
RANK = 4
BLOCKS = 2
# Key and shape of every trained layer outside the language model, from the published file.
FUSION_SHAPES = {
    "image_llama_proj": (H, C),
    "video_attention_mlp": (1, C),
    "affectgpt_proj": (H, C),
    "audio_attention_mlp": (1, A),
    "audio_llama_proj": (H, A),
    "multi_audio_embs": (M, A),
    "multi_video_embs": (M, C),
    "attention_mlp": (M, 2 * M),
    "fc_att": (2, M),
    "multi_llama_proj": (H, M),
}
_LINES = [
    "###Human: The audio content is as follows. The subtitle of this video is: I am so happy to see you! ",
    "Please recognize all possible emotional states of the character. ###Assistant: ",
    "The character's emotional state is happy, excited, sad, angry, worried, surprised, afraid.###",
]


@dataclass(frozen=True)
class Files:
    """Where the parts are."""

    llm: Path
    vision: Path
    audio: Path
    checkpoint: Path


def make(folder: Path) -> Files:
    """Write all four parts under `folder`; the same weights every time."""
    files = Files(
        folder / "qwen", folder / "clip", folder / "hubert", folder / "checkpoint_000030_loss_0.4.pth"
    )
    torch.manual_seed(20)
    _save_llm(files.llm)
    _save_clip(files.vision)
    _save_hubert(files.audio)
    write_checkpoint(files.checkpoint, state_dict(files.llm))
    return files


def write_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> None:
    """The outer form of a published file."""
    content = {
        "model": state,
        "optimizer": {"state": {}, "param_groups": []},
        "config": {"model": {"arch": "affectgpt", "lora_r": RANK}, "run": {"init_lr": 1e-5}},
        "scaler": {"scale": 65536.0},
        "epoch": 30,
    }
    torch.save(content, path)


def state_dict(llm: Path) -> dict[str, torch.Tensor]:
    """Random trained weights: LoRA keys as PEFT writes them, the other layers after them."""
    model = with_lora(llm)
    torch.manual_seed(21)
    state = {
        f"llama_model.{name}": torch.randn_like(value) * 0.2
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    for name, (rows, columns) in FUSION_SHAPES.items():
        state[f"{name}.weight"] = torch.randn(rows, columns) * 2.0 * columns**-0.5
        state[f"{name}.bias"] = torch.randn(rows) * 0.1
    return state


def with_lora(llm: Path):
    """The language model with PEFT's own LoRA layers, set up as the published training does."""
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM

    layers = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "down", "up")]
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=RANK,
        lora_alpha=32,
        lora_dropout=0.05,
        target_modules=[f"model.layers.{block}.{layer}" for block in range(BLOCKS) for layer in layers],
    )
    return get_peft_model(AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32), config).eval()


def _save_llm(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(_LINES, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    model = trained.model
    folder.mkdir(parents=True)
    model.save(str(folder))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    tokenizer = Qwen2Tokenizer(
        vocab=trained.get_vocab(),
        merges=[tuple(line.split(" ")) for line in merges],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        # No row to spare: the ids of the five added words lie beyond the table.
        vocab_size=len(tokenizer),
        hidden_size=H,
        intermediate_size=96,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        tie_word_embeddings=False,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def _vivid(model: torch.nn.Module) -> torch.nn.Module:
    """Weights wide enough that what comes out depends on what goes in; the usual ones nearly hide it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=2.0 * parameter[0].numel() ** -0.5)
    return model


def _save_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    shared = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "projection_dim": C}
    config = CLIPConfig(
        text_config={**shared, "hidden_size": 16, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={"hidden_size": 32, "image_size": 224, "patch_size": 56, **shared},
        projection_dim=C,
    )
    _vivid(CLIPModel(config)).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)


def _save_hubert(folder: Path) -> None:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    config = HubertConfig(
        hidden_size=A,
        num_hidden_layers=5,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
    )
    _vivid(HubertModel(config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(
        sampling_rate=16_000, do_normalize=True, return_attention_mask=True
    ).save_pretrained(folder)


def published_llm(files: Files) -> torch.nn.Module:
    """The language model with the LoRA of the checkpoint as the layers of PEFT."""
    model = with_lora(files.llm)
    state = {
        key.removeprefix("llama_model."): value
        for key, value in parts.read_state(files.checkpoint).items()
        if key.startswith("llama_model.")
    }
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    return model
