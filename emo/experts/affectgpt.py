"""AffectGPT (Lian et al. 2025, arXiv 2501.16566): sound, faces or frames, and subtitle.

The published checkpoint holds trained weights only; this file loads it over its three base models and asks
the way it was trained to be asked. Faces are found by us: the published ones were aligned by OpenFace, which
is not reproduced here. They reach the encoder as BGR, as in training; frames as RGB.
"""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from emo.engines.models import NamedModel, named_models
from emo.engines.pickled import pth_file
from emo.engines.preprocessing import ModelInput, Preprocessor
from emo.engines.settings import ModelSettings, weights_dtype
from emo.errors import InputError, RowError, StorageError
from emo.experts import protocol
from emo.experts.in_process import EngineExpert
from emo.experts.media import audio_wave, frames_tensor
from emo.experts.prompts import load_prompt, prompt_sha
from emo.experts.prompts.plain import as_text
from emo.experts.protocol import AUDIO, FACES, FRAMES, TRANSCRIPT, Card, Clip
from emo.experts.trained_on import trained_on

if TYPE_CHECKING:
    import torch

    from emo.experts.affectgpt_model import Checkpoint

_TURN = "###"
_LICENCE = (
    "checkpoint MIT, as tagged where it is published; the published code's README: non-commercial research"
)


class AffectGPTSettings(protocol.Settings, ModelSettings):
    """A published checkpoint of AffectGPT. Its parts are named one by one.

    Sampling is as published but for the 20 likeliest tokens that the base model's own settings keep it to.
    Type `auto` is float16 on CUDA, beside which the weights were trained.
    """

    model: str = "Qwen/Qwen2.5-7B-Instruct"
    """The language model: a local folder, an `s3://` folder, or a hub id."""
    vision: str = "openai/clip-vit-large-patch14"
    """The encoder of frames: a local folder, an `s3://` folder, or a hub id."""
    audio: str = "TencentGameMate/chinese-hubert-large"
    """The encoder of sound: a local folder, an `s3://` folder, or a hub id."""
    checkpoint: str
    """The published `.pth`, or a folder that holds one and no other."""
    sees: Literal["face", "frame"] = "face"
    """What the checkpoint was trained on. `face` and `frame` checkpoints are different files."""
    prompt: str = "description"
    """What the expert is asked: `description` or `open-vocabulary`, the two questions that the weights know,
    or a text file.
    """
    context: int = Field(2000, ge=64)
    """The most tokens of prompt and answer together, as published. A clip that does not fit fails. The
    published code cuts the prompt's beginning instead, and with it the modality words.
    """
    ignore_unknown_keys: bool = False
    """Whether the expert goes on although the file holds weights that this code has no place for."""
    max_new_tokens: int = Field(1200, ge=1)
    """The most tokens of one answer. A longer answer is cut off."""
    temperature: float | None = Field(1.0, ge=0)
    """How freely the model chooses its words. 0 always takes the likeliest token."""
    repetition_penalty: float | None = Field(1.0, gt=0)
    """A number above 1 makes words that were said before less likely."""

    @model_validator(mode="after")
    def _has_its_own_adapter(self) -> "AffectGPTSettings":
        if self.adapter is not None or self.merge_adapter:
            raise ValueError("affectgpt has its LoRA in `checkpoint`; adapter and merge_adapter do not apply")
        if self.context <= self.max_new_tokens:
            raise ValueError(
                f"context ({self.context}) has to hold the answer (max_new_tokens {self.max_new_tokens}) "
                "and the prompt"
            )
        return self


class AffectGPTExpert(EngineExpert):
    """One published checkpoint in face mode or frame mode; every row is worked off by the engine's rules."""

    Settings = AffectGPTSettings

    def __init__(self, settings: AffectGPTSettings) -> None:
        import torch

        from emo.engines.models import memory_gib
        from emo.engines.transformers_engine import TransformersEngine
        from emo.experts import affectgpt_model as parts

        self.settings = settings
        folders = _Folders.found(settings)
        checkpoint = _matched(folders, settings.ignore_unknown_keys)
        dtype = weights_dtype(settings.dtype, settings.device, "float16")
        prompts = Prompts(settings)
        self.engine = TransformersEngine(
            settings.model_copy(update={"dtype": dtype}),
            lambda folder: AffectGPTPreprocessor(folder, settings, prompts),
            {"Qwen2ForCausalLM": "Qwen2ForCausalLM"},
        )
        preprocessor = self.engine.preprocessor
        assert isinstance(preprocessor, AffectGPTPreprocessor)
        parts.merge_lora(self.engine.model, checkpoint)
        hidden = self.engine.model.config.hidden_size
        encoders = parts.load_encoders(folders.vision, folders.audio, checkpoint, hidden)
        device = self.engine.model.get_input_embeddings().weight.device
        self.engine.model = parts.AffectGPT(
            self.engine.model, encoders.to(device, torch.float32).eval(), preprocessor.placeholders
        ).requires_grad_(False)
        self.engine.end_tokens |= preprocessor.turn_tokens
        ignored = f", without {', '.join(checkpoint.ignored)}" if checkpoint.ignored else ""
        with folders.checkpoint.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        self.card = Card(
            name=settings.name,
            modalities=(FACES if settings.sees == "face" else FRAMES, AUDIO, TRANSCRIPT),
            model=f"{settings.model} + {settings.vision} + {settings.audio}"
            + (", faces not aligned as OpenFace does" if settings.sees == "face" else ""),
            revision=" + ".join(
                [self.engine.revision, *map(_encoder_revision, (folders.vision, folders.audio))]
            ),
            adapter=f"{folders.checkpoint.name}@{sha[:16]} (merged{ignored})",
            prompt_sha=prompts.sha,
            licence=_LICENCE,
            # The published folders are named after the training data.
            trained_on=trained_on(str(folders.checkpoint)),
            memory_gib=round(memory_gib(folders.llm) + _size_gib([folders.vision, folders.audio]), 3),
            engine=self.engine.name,
        )

    @classmethod
    def reads_transcript(cls, settings: AffectGPTSettings) -> bool:
        return True

    @classmethod
    def models(cls, settings: AffectGPTSettings) -> list[NamedModel]:
        """Its base models; the published checkpoint is a file that has to be there already."""
        encoders = (("vision", settings.vision), ("audio", settings.audio))
        # One of the encoders is published as pytorch_model.bin only.
        return [*named_models(settings), *(NamedModel(key, model, pickled=True) for key, model in encoders)]

    @classmethod
    def missing(cls, settings: AffectGPTSettings) -> list[str]:
        from emo.engines.models import missing_model

        lines = missing_model(settings, ["Qwen2ForCausalLM"])
        for model, kind in ((settings.vision, "clip"), (settings.audio, "hubert")):
            lines += _missing_encoder(model, kind)
        if settings.checkpoint.startswith("s3://") and not settings.checkpoint.endswith(".pth"):
            remote = {"model": settings.checkpoint, "device": "cpu"}
            return lines + missing_model(ModelSettings.model_validate(remote), None)
        try:
            pth_file(settings.checkpoint, expected="AffectGPT's .pth")
            # The keys need the sizes of the base models, so these have to be here.
            if not lines and all(Path(m).is_dir() for m in (settings.model, settings.vision, settings.audio)):
                _matched(_Folders.found(settings), settings.ignore_unknown_keys)
            Prompts(settings)
        except InputError as error:
            lines.append(str(error))
        return lines


class AffectGPTPreprocessor(Preprocessor[Clip]):
    """Writes the prompt that the weights were trained on, and prepares pictures and sound.

    placeholders: ids of the five added words; turn_tokens: tokens that are nothing but `###`, with which the
    model ends its turn.
    """

    def __init__(self, folder: Path, settings: AffectGPTSettings, prompts: "Prompts") -> None:
        from transformers import AddedToken, AutoTokenizer

        from emo.experts.affectgpt_model import PLACEHOLDERS

        self._settings = settings
        self._prompts = prompts
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.add_tokens(
            [AddedToken(word, special=True) for word in PLACEHOLDERS], special_tokens=True
        )
        self.placeholders = {word: self.tokenizer.convert_tokens_to_ids(word) for word in PLACEHOLDERS}
        self.turn_tokens = frozenset(
            number
            for token, number in self.tokenizer.get_vocab().items()
            if _TURN in token and not self.tokenizer.decode([number]).strip().strip("#")
        )
        self._own = threading.local()  # a cascade serves one thread at a time

    def size(self, item: Clip) -> int:
        return 120 + len(item.transcript or "") // 3

    def prepare(self, item: Clip) -> ModelInput:
        import torch

        from emo.experts.affectgpt_model import windows_of_sound

        degraded: list[str] = []
        features: dict[str, torch.Tensor] = {}
        pictures = self._pictures(item)
        if pictures is None:
            degraded.append(FACES if item.frames else FRAMES)
        else:
            features["images"] = pictures[None]
        if item.audio is None:
            degraded.append(AUDIO)
        else:
            features["windows"] = torch.from_numpy(windows_of_sound(audio_wave(item)))[None]
        if not features:
            raise RowError("modality_missing", f"the clip has no {' and no '.join(degraded)}")
        transcript = as_text((item.transcript or "").strip())
        if not transcript:
            degraded.append(TRANSCRIPT)
        prompt = self._prompts.written(features, transcript)
        ids = self.tokenizer.backend_tokenizer.encode(prompt, add_special_tokens=False).ids
        room = self._settings.context - self._settings.max_new_tokens
        if len(ids) > room:
            raise RowError(
                "too_long",
                f"the prompt has {len(ids)} tokens, of which {room} fit beside the answer; "
                "raise context or lower max_new_tokens",
            )
        return ModelInput(torch.tensor(ids), torch.arange(len(ids))[None], features, tuple(degraded))

    def text(self, token_ids: Sequence[int]) -> str:
        answer = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return answer.split("Assistant:")[-1].split(_TURN)[0].strip()

    def _pictures(self, clip: Clip) -> "torch.Tensor | None":
        """uint8 [8, 3, 224, 224], None where there is nothing to see; the aspect is lost, as in training."""
        import cv2
        import torch
        from torchvision.transforms.v2.functional import InterpolationMode, resize

        from emo.experts.affectgpt_model import SIDE, uniform_indices

        if not clip.frames:
            return None
        if self._settings.sees == "frame":
            frames = frames_tensor(clip, uniform_indices(len(clip.frames)))
            return resize(frames, [SIDE, SIDE], InterpolationMode.BICUBIC)
        crops = self._face_crops(clip)
        if not crops:
            return None
        chosen = [cv2.resize(crops[index], (SIDE, SIDE)) for index in uniform_indices(len(crops))]
        return torch.from_numpy(np.stack(chosen).transpose(0, 3, 1, 2))

    def _face_crops(self, clip: Clip) -> list[np.ndarray]:
        """The largest face of each frame that has one, BGR: so were the crops in training."""
        import cv2

        from emo.media.faces import FaceFinder

        if not hasattr(self._own, "finder"):
            self._own.finder = FaceFinder()
        crops = []
        for jpeg in clip.frames:
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_BGR)
            if image is None:
                raise RowError("bad_frames", "the frames cannot be used: one is no readable JPEG")
            face = self._own.finder.largest(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
            if face is not None:
                top, left = max(0, face.y), max(0, face.x)
                crops.append(image[top : face.y + face.side, left : face.x + face.side])
        return crops


class Prompts:
    """What the weights were trained to be asked, for each set of modalities that a clip may have."""

    def __init__(self, settings: AffectGPTSettings) -> None:
        name, sees = settings.prompt, settings.sees
        self._question = load_prompt(name if name.endswith(".txt") else f"affectgpt-{name}").text
        self._templates = {
            ("images", "windows"): load_prompt(f"affectgpt-{sees}").text,
            ("images",): load_prompt(f"affectgpt-{sees}-without-audio").text,
            ("windows",): load_prompt("affectgpt-audio").text,
        }
        self.sha = prompt_sha(self._question, *self._templates.values())

    def written(self, features: Iterable[str], subtitle: str) -> str:
        """The prompt for these features; an empty subtitle is an empty text between its marks."""
        template = self._templates[tuple(sorted(features))]
        # The space after "Assistant:" belongs to the trained form; a text file would not keep it.
        return template.replace("{question}", self._question).replace("{subtitle}", subtitle) + " "


@dataclass(frozen=True)
class _Folders:
    """The parts on this machine."""

    llm: Path
    vision: Path
    audio: Path
    checkpoint: Path

    @classmethod
    def found(cls, settings: AffectGPTSettings) -> "_Folders":
        """Fetched where they are not local; raises InputError for a part that is not there."""
        from emo.engines.models import resolve_model

        return cls(
            checkpoint=pth_file(settings.checkpoint, expected="AffectGPT's .pth"),
            llm=resolve_model(settings.model, settings.revision),
            vision=_encoder_folder(settings.vision),
            audio=_encoder_folder(settings.audio),
        )


def _encoder_folder(model: str) -> Path:
    """As any model; chinese-hubert-large is published as `pytorch_model.bin` only, so that is fetched too."""
    from emo.engines.models import resolve_model

    folder = resolve_model(model)
    if (
        not _encoder_weights(folder)
        and not Path(model).expanduser().is_dir()
        and not model.startswith("s3://")
    ):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(model, allow_patterns=["*.json", "pytorch_model.bin"]))
        except OSError as error:
            raise StorageError(f"model {model!r}: its weights cannot be fetched: {error}") from error
    return folder


def _encoder_weights(folder: Path) -> list[Path]:
    names = ("model.safetensors", "pytorch_model.bin")
    return [folder / name for name in names if (folder / name).exists()][:1]


def _size_gib(folders: Iterable[Path]) -> float:
    return sum(path.stat().st_size for folder in folders for path in _encoder_weights(folder)) / 1024**3


def _encoder_revision(folder: Path) -> str:
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for path in (folder / "config.json", *_encoder_weights(folder)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"local-{digest.hexdigest()[:12]}"


def _missing_encoder(model: str, kind: str) -> list[str]:
    from emo.engines.models import missing_model, read_config

    folder = Path(model).expanduser()
    if not folder.is_dir():
        return missing_model(ModelSettings.model_validate({"model": model, "device": "cpu"}), None)
    try:
        named = read_config(folder).get("model_type")
    except InputError as error:
        return [str(error)]
    if named != kind:
        return [f"{folder}: config.json says model_type {named!r}; expected {kind!r}"]
    lines = [] if _encoder_weights(folder) else [f"{folder}: no model.safetensors and no pytorch_model.bin"]
    if not (folder / "preprocessor_config.json").exists():
        lines.append(f"{folder}: no preprocessor_config.json")
    return lines


def _matched(folders: _Folders, ignore_unknown: bool) -> "Checkpoint":
    """The checkpoint fitted to the configurations of its base models; none of them is loaded for this."""
    from transformers import AutoConfig

    from emo.experts.affectgpt_model import match, read_state

    vision, audio, llm = (
        AutoConfig.from_pretrained(folder) for folder in (folders.vision, folders.audio, folders.llm)
    )
    return match(
        read_state(folders.checkpoint), vision.projection_dim, audio.hidden_size, llm, ignore_unknown
    )
