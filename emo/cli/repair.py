"""`emo repair`: files that are none of their table, out of the way."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.store.runs import newest_config


def add(commands: cli.Commands) -> None:
    commands.on_out(
        "repair",
        run,
        "move files that are not of their table out of the way",
        "They go to OUT/set-aside; the rows that they held are done again by the next run.",
    )


def run(options: argparse.Namespace) -> int:
    from emo import status
    from emo.run.session import session as session_on

    config = cli.config_of(options)
    storage = cli.existing(options.out, config)
    moved = status.set_aside_runs(storage)
    # It makes no rows: with which settings those of OUT were made does not matter, and stays written down.
    shown = newest_config(storage)
    with session_on(config, options.out, options.command, None, shown=shown) as session:
        moved += status.set_aside(session.storage)
    for path, reason in moved:
        cli.say(f"{path}: {reason}")
    tell_json(options, moved=[path for path, _ in moved])
    cli.say(f"emo repair: {len(moved)} files were set aside")
    return cli.DONE
