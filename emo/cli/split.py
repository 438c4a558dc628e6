"""`emo split`: the pieces of recordings, alone; `--dry` shows those of one recording."""

import argparse
from typing import Any

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.config import Config
from emo.errors import InputError

# What `--dry` tells of a piece.
_TOLD = ("video_id", "start_s", "end_s", "by", "text", "speaker", "kept", "reason", "error", "error_message")


def add(commands: cli.Commands) -> None:
    split = commands.on_out(
        "split",
        run,
        "find the pieces of recordings that become clips",
        "Without split.by in the configuration it is auto.",
        needs_out=False,
    )
    cli.with_source(split)
    cli.with_redo(split, "all rows of SOURCE")
    split.add_argument("--dry", action="store_true", help="print the pieces of one recording, write nothing")


def run(options: argparse.Namespace) -> int:
    from emo.jobs import label
    from emo.jobs.split import SplitStep, recordings_of
    from emo.step import Mode

    config = _splitting(cli.config_of(options))
    if not options.out and not options.dry:
        raise InputError("split: no --out is given; --dry shows the pieces of one recording without one")
    manifest = cli.manifest_of(options.source, config)
    if options.dry:
        return _dry(options, config, recordings_of(manifest).to_pylist())
    if manifest.num_rows == 0:
        return cli.nothing(options)
    step = SplitStep(config.split, config.s3, manifest)
    with cli.session_of(options, config, options.source) as session:
        records = label.run(session, [step], Mode(redo=options.redo))
    return cli.finish(options, config, records, step.did)


def _splitting(config: Config) -> Config:
    if config.split.by is not None:
        return config
    return config.model_copy(update={"split": config.split.model_copy(update={"by": "auto"})})


def _dry(options: argparse.Namespace, config: Config, recordings: list[dict[str, Any]]) -> int:
    import pyarrow as pa

    from emo.jobs.split import SplitWorker
    from emo.sources.lookup import MANIFEST

    if len(recordings) != 1:
        raise InputError(f"split --dry shows one recording; SOURCE has {len(recordings)}")
    worker = SplitWorker(config.split, config.s3, "dry")
    rows = worker(pa.Table.from_pylist(recordings, schema=MANIFEST)).to_pylist()
    tell_json(options, pieces=[{name: row[name] for name in _TOLD} for row in rows])
    if not options.json:
        width = 2 + max((len(row["speaker"]) for row in rows if row["speaker"]), default=-2)
        width = max(width, len("speaker  ")) if width else 0
        head = f"{'speaker':<{width}}" if width else ""
        print(f"{'start_s':>10}{'end_s':>11}  {'by':<11}{'becomes':<26}{head}text")
        for row in rows:
            times = ("", "") if row["start_s"] is None else (f"{row['start_s']:.3f}", f"{row['end_s']:.3f}")
            becomes = row["error_message"] or row["reason"] or "a clip"
            line = f"{times[0]:>10}{times[1]:>11}  {row['by'] or '':<11}{becomes:<26}"
            line += f"{row['speaker'] or '':<{width}}{row['text'] or ''}"
            print(line.rstrip())
    kept = sum(bool(row["kept"]) for row in rows)
    failed = sum(row["status"] == "failed" for row in rows)
    left_out = len(rows) - kept - failed
    cli.say(f"emo split: {kept} pieces, {left_out} left out, {failed} failed; nothing was written")
    return cli.DONE
