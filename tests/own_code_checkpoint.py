"""A tiny model of pictures that brings its own code, as Emotion-Qwen does."""

import json
from pathlib import Path

from safetensors.torch import save_file
from transformers import Qwen2_5_VLForConditionalGeneration

import checkpoints

CODE = """
from transformers import Qwen2_5_VLForConditionalGeneration

from .configuration_own import OwnConfig


class Own(Qwen2_5_VLForConditionalGeneration):
    config_class = OwnConfig
"""
CONFIGURATION = """
from transformers import Qwen2_5_VLConfig


class OwnConfig(Qwen2_5_VLConfig):
    model_type = "emotion_own"
"""


def make(folder: Path) -> Path:
    """A tiny model of pictures whose classes are in files beside its weights."""
    checkpoints.make_qwen2_5_vl(folder)
    # Under the names of its modules: those of published files are told apart by the name of the family.
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    state = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "modeling_own.py").write_text(CODE)
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    change(folder, model_type="emotion_own", architectures=["Own"])
    change(folder, auto_map={"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.Own"})
    return folder


def change(folder: Path, **values: object) -> None:
    """Set keys of its config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
