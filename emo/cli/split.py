"""`emo split`: the pieces of recordings, alone; `--dry` shows those of one file."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.config import Config
from emo.errors import InputError


def add(commands: cli.Commands) -> None:
    split = commands.on_out("split", run, "find the pieces of recordings that become clips", needs_out=False)
    cli.with_source(split)
    cli.with_redo(split, "all rows of SOURCE")
    split.add_argument("--dry", action="store_true", help="print the pieces of one recording, write nothing")


def run(options: argparse.Namespace) -> int:
    from emo.jobs import label
    from emo.jobs.split import SplitStep, recordings_of
    from emo.step import Mode

    if not any(one.startswith("split.by=") for one in options.set) and not options.config:
        options.set = [*options.set, "split.by=auto"]
    config = cli.config_of(options)
    if config.split.by is None:
        raise InputError("split: the configuration has no split.by; expected auto or another one")
    manifest = cli.manifest_of(options.source, config)
    if options.dry:
        return _dry(options, config, recordings_of(manifest).to_pylist())
    if not options.out:
        raise InputError("split: no --out is given; --dry shows the pieces of one recording without one")
    if manifest.num_rows == 0:
        return cli.nothing(options)
    step = SplitStep(config.split, config.s3, manifest)
    with cli.session_of(options, config, options.source) as session:
        records = label.run(session, [step], Mode(redo=options.redo))
    return cli.finish(options, config, records, step.did)


def _dry(options: argparse.Namespace, config: Config, recordings: list[dict[str, object]]) -> int:
    from emo.jobs.split import SplitWorker
    from emo.sources.source import MANIFEST

    if len(recordings) != 1:
        raise InputError(f"split --dry: shows one recording, and SOURCE has {len(recordings)}")
    import pyarrow as pa

    worker = SplitWorker(config.split, config.s3, "dry")
    rows = worker(pa.Table.from_pylist(recordings, schema=MANIFEST)).to_pylist()
    tell_json(options, rows=[{name: row[name] for name in _SHOWN} for row in rows])
    if not options.json:
        for row in rows:
            times = "" if row["start_s"] is None else f"{row['start_s']:>10.3f}{row['end_s']:>10.3f}"
            said = row["error_message"] or row["reason"] or "kept"
            print(f"{times}  {row['by'] or '':<10}{said:<24}{row['text'] or ''}".rstrip())
    kept = sum(bool(row["kept"]) for row in rows)
    failed = sum(row["status"] == "failed" for row in rows)
    cli.say(f"emo split: {len(rows)} pieces, {kept} kept, {failed} failed; nothing was written")
    return cli.DONE


_SHOWN = ("video_id", "start_s", "end_s", "by", "text", "speaker", "kept", "reason", "error", "error_message")
