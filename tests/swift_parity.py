"""What emo and ms-swift make of the same rows: how many tokens, how many of them of media, what is trained.

    python tests/swift_parity.py PYTHON --json benchmarks/results/ms_swift.json

PYTHON is that of an environment with ms-swift (`tests/swift_environment.py` makes one). The checkpoints are
tiny and random, with pixel bounds that leave pictures at their size.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import synthetic_clips
from emo.captions.messages import Sample, Turn, write_messages
from emo.errors import RowError
from emo.experts.in_process import finetunable
from emo.experts.protocol import AUDIO, FRAMES, Clip
from emo.finetuning.masking import IGNORED, Encoder
from emo.finetuning.samples import from_turns

PROGRAM = Path(__file__).with_name("swift_encode.py")
# Family -> the names that ms-swift has for the model and its template.
FAMILIES = {
    "internvl": ("internvl", "internvl_hf"),
    "qwen2.5-vl": ("qwen2_5_vl", "qwen2_5_vl"),
    "qwen3-vl": ("qwen3_vl", "qwen3_vl"),
    "qwen2.5-omni": ("qwen2_5_omni", "qwen2_5_omni"),
    "qwen2-audio": ("qwen2_audio", "qwen2_audio"),
}
# Smallest and largest area of a picture or of all frames of a video, as the published processors have them:
# frames of clips stay as they are.
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 16384 * 28 * 28}
# The published templates of these say this where a chat has no system turn of its own.
WITH_SYSTEM = ("qwen2.5-vl", "qwen2.5-omni", "qwen2-audio")
SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
)
SIZE, SECONDS = (448, 336), 4.0
ASKED, ANSWER = "What is felt?", "She frowns and looks away."


def base(family: str, folder: Path) -> Path:
    """A tiny checkpoint whose processor leaves pictures at their size, with the published system turn."""
    checkpoints.FAMILIES[family][1](folder)
    if family in WITH_SYSTEM:
        template = folder / "chat_template.jinja"
        template.write_text(SYSTEM + template.read_text())
    path = folder / "processor_config.json"
    about = json.loads(path.read_text())
    if family.startswith("qwen") and FRAMES in senses(family):
        for part in ("image_processor", "video_processor"):
            about[part]["size"] = PIXELS
        path.write_text(json.dumps(about))
    return folder


def senses(family: str) -> tuple[str, ...]:
    """What the family perceives."""
    return tuple(finetunable(checkpoints.FAMILIES[family][0]).family.senses)


def rows(family: str, folder: Path) -> Iterator[tuple[str, Sample, Clip | None]]:
    """Name of a row, the row as ms-swift reads it, and the clip that emo makes of it."""
    yield "text", _row(""), None
    if FRAMES in senses(family):
        for count in (8, 4):
            clip, paths = _frames(folder, count)
            yield (
                f"clip, {count} frames",
                _row("<video>", videos=(paths,), frame_times=(clip.frame_times,)),
                clip,
            )
        for count in (1, 4):
            clip, paths = _frames(folder, count)
            yield f"pictures, {count}", _row("<image>" * count, images=paths), clip
    if AUDIO in senses(family):
        clip = replace(synthetic_clips.clip(9, seconds=SECONDS), frames=(), frame_times=())
        path = folder / "sound.flac"
        assert clip.audio is not None
        path.write_bytes(clip.audio)
        yield "sound", _row("<audio>", audios=(str(path),)), clip
    earlier = (Turn("user", "First?"), Turn("assistant", "This is not trained.", False))
    last = (Turn("user", ASKED), Turn("assistant", ANSWER))
    yield "system, two turns", Sample((Turn("system", "Be exact."), *earlier, *last)), None


def _row(tags: str, **media: Any) -> Sample:
    asked = f"{tags}\n{ASKED}" if tags else ASKED
    return Sample((Turn("user", asked), Turn("assistant", ANSWER)), **media)


def _frames(folder: Path, count: int) -> tuple[Clip, tuple[str, ...]]:
    clip = replace(synthetic_clips.clip(count, frames=count, size=SIZE, seconds=SECONDS), audio=None)
    paths = tuple(str(folder / f"{count}-{place}.jpg") for place in range(count))
    for path, data in zip(paths, clip.frames, strict=True):
        Path(path).write_bytes(data)
    return clip, paths


def here(encoder: Encoder, sample: Sample, clip: Clip | None) -> dict[str, Any]:
    """What emo makes of a row: tokens, those of media, the text that is trained; or why it is refused."""
    try:
        pictures = bool(sample.images)
        made = encoder.encode(from_turns("s", sample.turns, None, clip is not None, pictures), clip)
    except RowError as error:
        return {"refused": f"{error.code}: {error.message}"}
    ids, labels = made.input_ids.tolist(), made.labels.tolist()
    trained = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    return {
        "tokens": len(ids),
        "media": sum(token in encoder.media_tokens for token in ids),
        "trained": encoder.tokenizer.decode(trained),
    }


def there(python: Path, family: str, folder: Path, file: Path, media: set[int]) -> list[dict[str, Any]]:
    """The same of every row from ms-swift."""
    command = [python, PROGRAM, folder, *FAMILIES[family], file, json.dumps(sorted(media))]
    # It must not import what is installed beside these tests.
    quiet = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def parity(family: str, python: Path, folder: Path) -> dict[str, Any]:
    """Name of a row -> what is made of it `here` and `there`."""
    made = base(family, folder / "base")
    encoder = Encoder(checkpoints.FAMILIES[family][0], made, max_frames=8, max_tokens=1 << 20)
    given = list(rows(family, folder))
    file = folder / "rows.jsonl"
    file.write_bytes(write_messages([sample for _, sample, _ in given]))
    theirs = there(python, family, made, file, encoder.media_tokens)
    return {
        name: {"here": here(encoder, sample, clip), "there": found}
        for (name, sample, clip), found in zip(given, theirs, strict=True)
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """A line for each row of each family."""
    lines = ["| family | row | tokens here | there | of media here | there | same answers trained |"]
    lines.append("|---|---|---|---|---|---|---|")
    for family, by_row in found.items():
        for name, both in by_row.items():
            one, other = both["here"], both["there"]
            cells = [str(side.get(key, "refused")) for key in ("tokens", "media") for side in (one, other)]
            same = "yes" if trains_the_same(both) else "no"
            lines.append(f"| {family} | {name} | {' | '.join(cells)} | {same} |")
    return "\n".join(lines)


def trains_the_same(both: dict[str, Any]) -> bool:
    """Whether the same text counts; ms-swift trains on the line break behind the end of an answer too."""
    texts = [both[side].get("trained") for side in ("here", "there")]
    return None not in texts and texts[0] == texts[1].rstrip("\n")


def main() -> None:
    """Print the table, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            found[family] = parity(family, options.python, Path(folder))
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
