"""`emo ingest`: the first step alone."""

import argparse

from emo.cli import command as cli


def add(commands: cli.Commands) -> None:
    ingest = commands.on_out("ingest", run, "decode videos into the clips table")
    cli.with_source(ingest)
    cli.with_redo(ingest, "all rows of SOURCE")


def run(options: argparse.Namespace) -> int:
    from emo.jobs import label
    from emo.jobs.ingest import IngestStep, note_said
    from emo.step import Mode

    config = cli.config_of(options)
    needs = cli.needs_of(config, [IngestStep(config.ingest, config.s3)])
    manifest = cli.manifest_of(options.source, config)
    if manifest.num_rows == 0:
        return cli.nothing(options)
    step = IngestStep(config.ingest, config.s3, manifest, split=config.split.by is not None)
    with cli.session_of(options, config, options.source, needs) as session:
        note_said(session.storage, session.run_id, manifest)
        records = label.run(session, [step], Mode(redo=options.redo))
    return cli.finish(options, config, records, step.did)
