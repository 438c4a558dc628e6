"""What a clip costs the preset `light` on this machine, and how near that is to what its models cost bare.

    python benchmarks/light.py [--clips 16] [--dtype bfloat16] [--json light.json]

The three classifiers have random weights in the sizes of the preset's models (ViT-base, wav2vec 2.0 base,
RoBERTa-base), so the figures say how long an answer takes and nothing about whether it is right. The clips
are of 5 seconds: eight frames with a real face, sound, one sentence. As in a run there is a process per core,
each with one thread. The experts answer one after another. Loading is not counted.

A clip takes a core about three seconds in each of three repeats, half of them for the bare models: 16 clips
are done in two minutes on two cores. A worker that dies ends the measurement.

`clips_per_second` holds for an idle machine only. `clips_per_second_of_cores` is what the same cores give
without other work, by the CPU time that was taken. Other work lengthens that a little, through the caches.
`over_bare` is that time over the time in which the same models take the same batches, prepared ahead, with
nothing around them.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import add_json_option, show, write

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS = 5.0
REPEATS = 3
# No worker waits longer than this for the others: the slowest loads a model or takes all clips of a repeat.
LONGEST_WAIT_S = 240
FACES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SIZES: dict[str, dict[str, Any]] = {
    "face": {**FACES, "side": 224, "patch_size": 16},
    "audio": {
        **FACES,
        "conv_dim": (512,) * 7,
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
        "conv_stride": (5, 2, 2, 2, 2, 2, 2),
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "classifier_proj_size": 256,
    },
    "transcript": {**FACES, "vocab_size": 50265, "max_position_embeddings": 514},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--dtype", default="auto")
    add_json_option(parser)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        folders = {sees: str(_checkpoint(sees, Path(folder))) for sees in SIZES}
        taken = _measure(folders, arguments.clips, cores, arguments.dtype)
    per_clip = {
        name: {sees: statistics.median(one[name]) / arguments.clips for sees, one in taken.items()}
        for name in ("seconds", "cpu_seconds", "bare_cpu_seconds")
    }
    figures = {
        "clips": arguments.clips,
        "cores": cores,
        "dtype": arguments.dtype,
        **{f"{name}_per_clip": {**one, "all": sum(one.values())} for name, one in per_clip.items()},
        "clips_per_second": 1 / sum(per_clip["seconds"].values()),
        "clips_per_second_of_cores": cores / sum(per_clip["cpu_seconds"].values()),
        "over_bare": sum(per_clip["cpu_seconds"].values()) / sum(per_clip["bare_cpu_seconds"].values()),
    }
    show(figures)
    write(arguments.json, figures)


def _checkpoint(sees: str, folder: Path) -> Path:
    import sys

    sys.path.insert(0, str(REPOSITORY / "tests"))
    import classifier_checkpoints

    return classifier_checkpoints.MAKERS[sees](folder / sees, **SIZES[sees])


def _measure(
    folders: dict[str, str], clips: int, cores: int, dtype: str
) -> dict[str, dict[str, list[float]]]:
    """For each expert and repeat: the seconds that all clips took, their CPU time, and the bare model's."""
    context = multiprocessing.get_context("spawn")
    ready, done = (context.Barrier(cores + 1, timeout=LONGEST_WAIT_S) for _ in range(2))
    results = context.Queue()
    share = [clips // cores + (number < clips % cores) for number in range(cores)]
    workers = [
        context.Process(target=_describe, args=(folders, count, dtype, ready, done, results), daemon=True)
        for count in share
    ]
    for worker in workers:
        worker.start()
    taken: dict[str, dict[str, list[float]]] = {}
    for sees in folders:
        one = taken[sees] = {"seconds": [], "cpu_seconds": [], "bare_cpu_seconds": []}
        for _ in range(REPEATS):
            ready.wait()
            began = time.perf_counter()
            done.wait()
            one["seconds"].append(time.perf_counter() - began)
            found = [results.get(timeout=LONGEST_WAIT_S) for _ in workers]
            described, bare = zip(*found, strict=True)
            one["cpu_seconds"].append(sum(described))
            one["bare_cpu_seconds"].append(sum(bare))
    for worker in workers:
        worker.join()
    return taken


def _describe(folders: dict[str, str], count: int, dtype: str, ready: Any, done: Any, results: Any) -> None:
    """What one process does: all experts, one after another, on its share of the clips."""
    import torch

    from emo import experts
    from emo.config import load_config

    torch.set_num_threads(1)
    clips = [_clip(number) for number in range(count)]
    for sees, folder in folders.items():
        [settings] = [one for one in load_config(preset="light").experts if one.sees == sees]
        expert = experts.load(settings.model_copy(update={"model": folder, "labels": {}, "dtype": dtype}))
        expert.describe(clips[:1])
        bare = _bare(expert, clips)
        for _ in range(REPEATS):
            ready.wait()
            began = time.process_time()
            answers = expert.describe(clips)
            described = time.process_time() - began
            done.wait()
            results.put((described, bare()))
            assert all(answer[0].labels or "as" in answer[0].text for answer in answers)
        expert.close()


def _bare(expert: Any, clips: list[Any]) -> Any:
    """What takes the same batches through the same model and returns the seconds of CPU time of it."""
    import torch

    classifier = expert._classifier
    model, inputs = classifier._model, [one for clip in clips for one in expert._ask(clip).inputs]
    batches = [
        {
            name: value.to(model.dtype) if value.is_floating_point() else value
            for name, value in classifier._prepare([inputs[place] for place in places]).items()
        }
        for places in classifier._batches(inputs)
    ]

    def run() -> float:
        began = time.process_time()
        with torch.inference_mode():
            for batch in batches:
                model(**batch)
        return time.process_time() - began

    return run


def _clip(number: int) -> Any:
    import io

    import av
    import numpy as np
    import soundfile

    from emo.experts.protocol import Clip

    with av.open(str(REPOSITORY / "samples" / "clips" / "portrait_welcome.mp4")) as video:
        pictures = [frame.to_image() for frame in video.decode(video=0)]
    frames = []
    for picture in pictures[:: len(pictures) // 8][:8]:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92)
        frames.append(buffer.getvalue())
    numbers = np.random.default_rng(number)
    sound = io.BytesIO()
    soundfile.write(sound, 0.1 * numbers.standard_normal(round(SECONDS * 16000)), 16000, format="FLAC")
    return Clip(
        video_id=str(number),
        frames=tuple(frames),
        frame_times=tuple(np.linspace(0, SECONDS, 8)),
        audio=sound.getvalue(),
        transcript="I did not think that you would come back so soon, and I am glad that you did.",
        language="en",
        duration_s=SECONDS,
    )


if __name__ == "__main__":
    main()
