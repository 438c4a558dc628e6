"""How a finetuning run begins with very many samples: what is computed, and what its processes hold of them.

    python benchmarks/finetune_rows.py                  a million captions; three minutes of one core
    python benchmarks/finetune_rows.py --rows 50000     a first look

The captions are generated, without media. Each stage is a process of its own, so that its memory is its own:

- list: the command reads the captions table, checks each row and writes the shards of the preparation
- lines: the same where the captions are lines of a file, with the frames of each clip as ms-swift reads them
- write: the command writes the list of what the workers of the preparation gave (and lists the samples first)
- go_on: the command looks at what is prepared already
- worker: a training worker, or a process that reads for it, opens the list and makes its first step
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import add_json_option, compare, show, write

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

SHARD = 50_000
ANSWER = (
    "The woman lowers her brows and presses her lips together while she looks past the camera. Her shoulders "
    "rise, and her hands hold each other. At {number} per cent of the clip she nods once. She is probably "
    "tense and a little sad; the lips speak for it, and the brows do so more weakly."
)


def generate(folder: str, count: int) -> None:
    """A captions table with so many rows, five of each clip, and a file with the same.

    In a process of its own: what this one held at most would be a figure of those that it starts.
    """
    import pyarrow as pa

    from emo.captions.messages import write_messages
    from emo.captions.prompts import load_caption_prompt
    from emo.store import committed
    from emo.store.storage import Storage
    from emo.store.tables import CAPTIONS

    out = Storage(f"{folder}/out")
    question = load_caption_prompt("person").question
    names = CAPTIONS.schema.field("source").type.names
    source = {**dict.fromkeys(names), "expert": "a", "prompt": "person", "window": "0-100"}
    empty = {field.name: None for field in CAPTIONS.schema}
    for start in range(0, count, SHARD):
        rows = []
        for number in range(start, min(start + SHARD, count)):
            chat = [
                {"role": "user", "content": f"<image><image>\n{question}"},
                {"role": "assistant", "content": ANSWER.format(number=number)},
            ]
            rows.append(
                {
                    **empty,
                    "caption_id": f"clip-{number // 5:07d}:a:person:0-100:{number % 5}",
                    "video_id": f"clip-{number // 5:07d}",
                    "split": "validation" if number % 100 < 5 else "train",
                    "frames": [0, 1],
                    "audio": False,
                    "messages": json.dumps(chat),
                    "labels": ["sad"],
                    "source": source,
                    "filters": [],
                    "status": "ok",
                    "run_id": "20260101T000000Z",
                }
            )
        table = pa.Table.from_pylist(rows, schema=CAPTIONS.schema)
        committed.commit(out, "captions", CAPTIONS, f"{start:08d}", table)
        with Path(folder, "train.jsonl").open("ab") as file:
            file.write(write_messages(map(in_a_file, rows)))


def in_a_file(row: dict[str, Any]) -> Any:
    """A caption as `emo caption --export` writes it: its frames are a video."""
    from emo.captions.messages import Sample, Turn, turns_of

    asked, answer = turns_of(row["messages"])
    shown = Turn("user", asked.content.replace("<image><image>", "<video>"))
    frames = tuple(f"images/{row['video_id']}/{place}.jpg" for place in row["frames"])
    return Sample((shown, answer), videos=(frames,), frame_times=((0.5, 1.5),))


def list_stage(folder: str) -> dict[str, Any]:
    """The list of samples, and its shards as the preparation hands them out."""
    from emo.finetuning import listing
    from emo.finetuning.settings import Finetune
    from emo.run import training_data
    from emo.store.storage import Storage

    out, run = Storage(f"{folder}/out"), Storage(f"{folder}/run")
    listed, _ = listing.list_samples(out, Finetune(model="m", device="cpu"))
    listed_cpu_s = time.process_time()
    shards = training_data._write_shards(run, out, listed)
    return {**figures(len(listed)), "shards": len(shards), "listed_cpu_s": listed_cpu_s}


def lines_stage(folder: str) -> dict[str, Any]:
    """The list of samples of a file of lines."""
    from emo.finetuning import listing
    from emo.finetuning.settings import Finetune
    from emo.store.storage import Storage

    settings = Finetune(model="m", device="cpu", data=f"{folder}/train.jsonl")
    listed, _ = listing.list_samples(Storage(f"{folder}/out"), settings)
    return figures(len(listed))


def write_stage(folder: str) -> dict[str, Any]:
    """The list of prepared samples, of what the workers of a preparation give, without media."""
    import pyarrow as pa

    from emo.finetuning import listing, prepared
    from emo.finetuning.settings import Finetune
    from emo.run import training_data
    from emo.store.storage import Storage

    listed, _ = listing.list_samples(Storage(f"{folder}/out"), Finetune(model="m", device="cpu"))
    before = time.process_time()

    def done() -> Iterator[pa.Table]:
        shown = {"file": "data/clips-00000.parquet", "place": 0, "tokens": 2000, "trained": 90}
        for shard in listed.shards():
            for name, value in shown.items():
                column = pa.repeat(pa.scalar(value, prepared.SCHEMA.field(name).type), shard.num_rows)
                shard = shard.append_column(name, column)
            yield shard.select(prepared.SCHEMA.names)

    count = len(training_data._write_list(Storage(f"{folder}/run"), listed, done()))
    return {**figures(count), "own_cpu_s": time.process_time() - before}


def go_on_stage(folder: str) -> dict[str, Any]:
    """What the command reads of samples that are prepared."""
    from emo.finetuning import prepared
    from emo.store.storage import Storage

    begun = time.process_time()
    entries = prepared.read_outlines(Storage(f"{folder}/run"))
    prepared.check_refused(entries, 0.5)
    count = prepared.about(entries, "f")["train"]
    return {**figures(count), "own_cpu_s": time.process_time() - begun}


def worker_stage(folder: str) -> dict[str, Any]:
    """What a process of a training reads until its first batch could be made."""
    from emo.finetuning import batching, prepared
    from emo.store.storage import Storage

    place = Storage(f"{folder}/run")
    before, begun = peak_gib(), time.process_time()
    train, held_out = prepared.Stored(place, prepared.TRAIN), prepared.Stored(place, prepared.HELD_OUT)
    opened = time.process_time() - begun
    plans = batching.steps(len(train), 16, 1, 0, None, batching.Cursor(), train.weights)
    first = next(plans)
    shared = batching.micro_batches(first.samples, train.tokens, 8, 8192)
    texts = [train[place].turns for part in shared for batch in part for place in batch]
    own = time.process_time() - begun
    assert len(texts) == 16
    assert len(held_out)
    more = {"open_cpu_s": opened, "first_step_cpu_s": own, "held_gib": peak_gib() - before}
    return {**figures(len(train)), **more}


def peak_gib() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def figures(rows: int) -> dict[str, Any]:
    """CPU seconds and memory of this process so far, and its rows."""
    return {"rows": rows, "cpu_s": time.process_time(), "peak_gib": peak_gib()}


STAGES = {
    "list": list_stage,
    "lines": lines_stage,
    "write": write_stage,
    "go_on": go_on_stage,
    "worker": worker_stage,
}


def measured(stage: str, folder: str) -> dict[str, Any]:
    """The figures of a stage, from a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, "--folder", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    add_json_option(parser)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(STAGES[options.stage](options.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="emo-rows-") as folder:
        making = multiprocessing.Process(target=generate, args=(folder, options.rows))
        making.start()
        making.join()
        if making.exitcode:
            sys.exit(making.exitcode)
        found = {stage: measured(stage, folder) for stage in STAGES}
    show(found)
    compare(options.json, found, ())
    write(options.json, found)


if __name__ == "__main__":
    main()
