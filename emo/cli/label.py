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
    from emo.jobs import label
    from emo.report import write as report

    config = cli.config_of(options)
    needs = cli.needs_of(config, label.steps(config))
    cli.tell_downloads(config)
    # Before the lease and the run file: a source that cannot be read must leave no trace in OUT.
    manifest = cli.manifest_of(options.source, config)
    if manifest.num_rows == 0:
        return cli.nothing(options)
    with cli.session_of(options, config, options.source, needs) as session:
        records = label.label(session, manifest, options.redo)
        page = report.write(session.storage, config.report.gallery, session.run, only_if_changed=True)
    _say_baseline(config, records[-1])
    return cli.finish(options, config, records, "labelled", page)


def _say_baseline(config: Config, judged: StepRecord) -> None:
    """Where no expert is a model: what that is worth, how often it kept silent, and what to take next."""
    if not _BASELINE.issuperset(expert["kind"] for expert in config.experts):
        return
    silent = f" It kept silent on {judged.empty / judged.ok:.0%} of the clips." if judged.ok else ""
    cli.say(
        f"emo label: these experts are a baseline without models.{silent} "
        "Next, try --preset light: small models, no GPU."
    )
