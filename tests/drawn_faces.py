"""Drawn faces whose expression decides the caption, and speech-like sounds whose pitch and pace do.

An identity is a colour of skin and ground, a place, a size and the shapes of the features; samples are split
by it, so that no face is on both sides.
"""

import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile
from PIL import Image

from emo.experts.protocol import Clip

# Expression -> (caption, curve of the mouth, tilt of the brows, openness of eyes and mouth).
EXPRESSIONS = {
    "happy": ("The person feels happy.", 1.0, 0.0, 0.5, 0.0),
    "angry": ("The person feels angry.", -0.6, 1.0, 0.6, 0.0),
    "surprised": ("The person feels surprised.", 0.0, -0.4, 1.0, 1.0),
    "sad": ("The person feels sad.", -1.0, -0.8, 0.3, 0.0),
    "calm": ("The person feels calm.", 0.3, 0.0, 0.0, 0.0),
    "afraid": ("The person feels afraid.", -0.3, -1.2, 1.2, 0.0),
}
HALF = ("happy", "angry", "surprised")
# Cue of the voice: pitch in Hz, syllables per second.
VOICES = {
    "happy": (320, 5.0),
    "sad": (130, 2.0),
    "angry": (200, 7.0),
    "surprised": (420, 3.0),
    "calm": (160, 1.0),
    "afraid": (360, 8.0),
}
QUESTION = "What does the person feel?"


def identity(number: int) -> dict[str, float]:
    """What one person looks and sounds like, from its number alone."""
    chosen = random.Random(number)
    return {
        "skin": chosen.uniform(140, 240),
        "warmth": chosen.uniform(10, 60),
        "ground": chosen.uniform(20, 110),
        "x": chosen.uniform(-0.07, 0.07),
        "y": chosen.uniform(-0.07, 0.07),
        "size": chosen.uniform(0.36, 0.44),
        "eyes": chosen.uniform(0.30, 0.42),
        "mouth": chosen.uniform(0.38, 0.5),
        "voice": chosen.uniform(0.9, 1.1),
    }


def face(person: dict[str, float], expression: str, seed: int, pixels: int = 112) -> bytes:
    """One JPEG of a person with an expression; seed: small movements."""
    _, curve, tilt, eyes, mouth = EXPRESSIONS[expression]
    moved = random.Random(seed)
    scale = 4
    side = pixels * scale
    picture = np.full((side, side, 3), person["ground"], np.uint8)
    centre = np.array([0.5 + person["x"], 0.5 + person["y"]]) + [moved.uniform(-0.02, 0.02) for _ in "xy"]
    radius = person["size"]
    skin = (person["skin"], person["skin"] - person["warmth"], person["skin"] - 2 * person["warmth"])

    def at(x: float, y: float) -> tuple[int, int]:
        return int(side * (centre[0] + radius * x)), int(side * (centre[1] + radius * y))

    def length(value: float) -> int:
        return max(1, int(side * radius * value))

    cv2.circle(picture, at(0, 0), length(1), skin, -1, cv2.LINE_AA)
    dark, thick = (20, 20, 20), length(0.1)
    for sign in (-1, 1):
        eye = sign * person["eyes"]
        cv2.ellipse(picture, at(eye, -0.2), (length(0.13), length(0.05 + 0.14 * eyes)), 0, 0, 360, dark, -1)
        inner, outer = -0.5 + 0.16 * tilt, -0.5 - 0.16 * tilt
        cv2.line(picture, at(eye - sign * 0.18, inner), at(eye + sign * 0.18, outer), dark, thick)
    if mouth:
        cv2.ellipse(picture, at(0, 0.48), (length(0.17), length(0.24)), 0, 0, 360, dark, -1)
    else:
        points = [at(x * person["mouth"], 0.5 + 0.24 * curve * (0.5 - x * x)) for x in np.linspace(-1, 1, 9)]
        cv2.polylines(picture, [np.array(points)], False, dark, thick)
    small = cv2.resize(picture, (pixels, pixels), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def voice(person: dict[str, float], expression: str, seed: int, seconds: float = 1.0) -> bytes:
    """FLAC of a voice-like sound (16 kHz mono): pitch and pace tell the expression."""
    pitch, pace = VOICES[expression]
    noise = np.random.default_rng(seed)
    times = np.arange(int(seconds * 16_000)) / 16_000
    tone = sum(np.sin(2 * np.pi * pitch * person["voice"] * n * times) / n for n in (1, 2, 3))
    wave = 0.2 * tone * (np.sin(2 * np.pi * pace * times) > -0.2)
    wave = wave + 0.01 * noise.standard_normal(len(times))
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), 16_000, format="FLAC")
    return buffer.getvalue()


def clip(number: int, expression: str, frames: int = 1, seconds: float = 1.0) -> Clip:
    """A clip of one identity with an expression."""
    person = identity(number)
    return Clip(
        f"{expression}-{number}",
        tuple(face(person, expression, number * 100 + place) for place in range(frames)),
        tuple(seconds * place / frames for place in range(frames)),
        voice(person, expression, number, seconds),
        None,
        "en",
        seconds,
    )


def write_messages(
    folder: Path, name: str, identities: Sequence[int], expressions: Sequence[str] = tuple(EXPRESSIONS)
) -> Path:
    """A `messages` file with a clip of one frame per sample, and the frames beside it."""
    return _write(folder, name, identities, expressions, ("video", "faces", "jpg"), face)


def write_voices(folder: Path, name: str, identities: Sequence[int]) -> Path:
    """The same with one sound per sample: pitch and pace alone tell the expression."""
    return _write(folder, name, identities, tuple(EXPRESSIONS), ("audio", "voices", "flac"), voice)


def _write(
    folder: Path,
    name: str,
    identities: Sequence[int],
    expressions: Sequence[str],
    medium: tuple[str, str, str],
    make: Callable[[dict[str, float], str, int], bytes],
) -> Path:
    """medium: what its tag is called, the folder of the files and their suffix."""
    tag, beside, suffix = medium
    (folder / beside).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in identities:
        for expression in expressions:
            path = folder / beside / f"{expression}-{number}.{suffix}"
            path.write_bytes(make(identity(number), expression, number))
            chat = [
                {"role": "user", "content": f"<{tag}>{QUESTION}"},
                {"role": "assistant", "content": EXPRESSIONS[expression][0]},
            ]
            file = f"{beside}/{path.name}"
            shown = [file] if tag == "video" else file  # a video is the list of its frames
            lines.append(json.dumps({"messages": chat, f"{tag}s": [shown]}))
    target = folder / name
    target.write_text("\n".join(lines) + "\n")
    return target


def make_voice_base(
    folder: Path, identities: Sequence[int] = (), expressions: Sequence[str] = HALF, **sizes: int
) -> Path:
    """The same as make_base for a tiny Qwen2-Audio, with enough bands to tell one pitch from another."""
    from transformers import Qwen2AudioForConditionalGeneration

    import checkpoints

    sizes = {"hidden_size": 128, "intermediate_size": 384, **sizes}
    checkpoints.make_qwen2_audio(folder, bands=64, width=64, **sizes)
    config = Qwen2AudioForConditionalGeneration.config_class.from_pretrained(folder)
    model = untrained(Qwen2AudioForConditionalGeneration, config)
    clips = [(clip(number, which, frames=0), which) for number in identities for which in expressions]
    return teach("qwen-audio", model, folder, clips)


def make_base(folder: Path, identities: Sequence[int] = (), expressions: Sequence[str] = HALF) -> Path:
    """A tiny InternVL, trained in a bare loop on some expressions; on none where there are no identities."""
    from transformers import InternVLForConditionalGeneration

    import checkpoints

    checkpoints.make_internvl(folder, hidden_size=128, intermediate_size=384)
    config = InternVLForConditionalGeneration.config_class.from_pretrained(folder)
    config.vision_config.hidden_size, config.vision_config.intermediate_size = 96, 192
    model = untrained(InternVLForConditionalGeneration, config)
    clips = [(clip(number, which), which) for number in identities for which in expressions]
    return teach("internvl", model, folder, clips)


def untrained(cls: Any, config: Any) -> Any:
    """A model with weights of a size from which it learns quickly."""
    import torch

    def wide(name: str, value: Any) -> float:
        # Positions are added to what is heard and must not drown it.
        rows = ("embed" in name and "positions" not in name) or "lm_head" in name
        return 0.5 if rows else value[0].numel() ** -0.5

    torch.manual_seed(0)
    model = cls(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape) * wide(name, value))
    return model


def teach(family: str, model: Any, folder: Path, clips: Sequence[tuple[Clip, str]]) -> Path:
    """Train a model in a bare loop to tell the expressions of these clips; saved beside its processor."""
    import torch

    from emo.captions.messages import Turn
    from emo.finetuning import batching, collate, masking, samples
    from emo.finetuning.loss import loss_sum, on_device
    from emo.finetuning.schedule import learning_rate

    encoder = masking.Encoder(family, folder, max_frames=1, max_tokens=500)
    rows = []
    for shown, expression in clips:
        chat = [Turn("user", QUESTION), Turn("assistant", EXPRESSIONS[expression][0])]
        rows.append(encoder.encode(samples.from_turns("s", chat, None, True), shown))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = batching.steps_in(len(rows), 32, 5, None) if rows else 0
    for plan in batching.steps(len(rows), 32, 5, 0, None, batching.Cursor()) if rows else ():
        batch = collate.collate(
            [rows[i] for i in plan.samples], encoder.preprocessor, encoder.pad_token, None
        )
        inputs, labels = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
        loss = loss_sum(model, model.get_output_embeddings(), inputs, labels) / batch.trained
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan.after.step, steps, 1e-3, 0.1)
        optimizer.step()
    model.generation_config.eos_token_id = encoder.end_token
    model.save_pretrained(folder)
    return folder
