"""`emo describe`: the pass of one expert."""

import argparse

from emo.cli import command as cli


def add(commands: cli.Commands) -> None:
    describe = commands.on_out("describe", run, "let one expert describe the clips")
    describe.add_argument("--expert", required=True, metavar="NAME", help="its name in the configuration")
    cli.with_redo(describe)


def run(options: argparse.Namespace) -> int:
    from emo.jobs import label
    from emo.jobs.describe import DescribeStep
    from emo.step import Mode

    config = cli.config_of_out(options)
    expert = config.expert(options.expert)
    of_all = (step for step in label.steps(config) if isinstance(step, DescribeStep))
    # In rounds there are several.
    steps = [step for step in of_all if step.expert == expert]
    with cli.session_of(options, config, needs=cli.needs_of(config, steps)) as session:
        records = label.run(session, steps, Mode(redo=options.redo))
    return cli.finish(options, config, records, DescribeStep.did)
