"""`emo extract`: the labels of all descriptions."""

import argparse

from emo.cli import command as cli


def add(commands: cli.Commands) -> None:
    cli.with_redo(commands.on_out("extract", run, "extract emotion words from the descriptions"))


def run(options: argparse.Namespace) -> int:
    from emo.jobs import label
    from emo.jobs.extract import ExtractStep
    from emo.step import Mode

    config = cli.config_of_out(options)
    step = ExtractStep(config.extract, config.experts)
    with cli.session_of(options, config, needs=cli.needs_of(config, [step])) as session:
        records = label.run(session, [step], Mode(redo=options.redo))
    return cli.finish(options, config, records, step.did)
