"""`emo label`: all steps of a labelling run."""

import argparse

from emo.cli import command as cli
from emo.config import Config
from emo.store.runs import StepRecord

_BASELINE = frozenset(("voice", "face", "words"))


def add(commands: cli.Commands) -> None:
    label = commands.on_out(
        "label", run, "label the videos of a source: ingest, describe, extract, judge, report"
    )
    cli.with_source(label)
    cli.with_redo(label, "all rows of SOURCE")


def run(options: argparse.Namespace) -> int:
    from emo.jobs.label import label_source

    config = cli.config_of(options)
    done = label_source(config, options.source, options.out, options.redo, cli.say)
    if not done.steps:
        return cli.nothing(options)
    if done.long_clips and config.split.by is None:
        cli.say(
            f"emo label: {done.long_clips} clips last over a minute and have one set of labels each. "
            "--set split.by=auto cuts recordings into pieces and labels each."
        )
    return cli.finish(
        options, config, done.steps, "labelled", done.report, note=_baseline(config, done.steps[-1])
    )


def _baseline(config: Config, judged: StepRecord) -> str:
    """Where no expert is a model: what that is worth, how often it kept silent, and what to take next."""
    if not _BASELINE.issuperset(expert.kind for expert in config.experts):
        return ""
    silent = f", silent on {judged.empty / judged.ok:.0%} of the clips" if judged.ok else ""
    return f"; a baseline without models{silent}; next, try --preset light: small models, no GPU"
