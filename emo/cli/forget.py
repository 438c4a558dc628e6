"""`emo forget`: clips leave an OUT, with all that was made of them."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.store.runs import newest_config

_DESCRIPTION = """Every row, frame, sound, caption and review of these clips goes, with their place in the
report, in prepared training data and in exports that emo export has noted. What emo cannot reach is listed,
such as adapters that were trained with them. The same command finishes a removal that was cut short."""


def add(commands: cli.Commands) -> None:
    forget = commands.on_out("forget", run, "remove clips with all that was made of them", _DESCRIPTION)
    forget.add_argument(
        "--list",
        required=True,
        type=cli.not_empty,
        metavar="FILE",
        help="which: a line each (the id of a clip, or of the file that it is a part of, the address of the "
        "file, or speaker:NAME), or a table with video_id, name or uri",
    )
    forget.add_argument("--plan", action="store_true", help="show which clips are meant, and stop")


def run(options: argparse.Namespace) -> int:
    from emo.forgetting import clips_meant, read_list
    from emo.jobs import forget as job
    from emo.run.session import session as session_on

    config = cli.config_of_out(options)
    storage = cli.existing(options.out, config)
    names = read_list(options.list, config.s3)
    if options.plan:
        meant = clips_meant(storage, names)
        tell_json(options, clips=sorted(meant.clips), unknown=meant.unknown)
        if not options.json:
            print("\n".join(meant.clips))
        cli.say(f"emo forget: {len(meant.clips)} clips are meant; nothing was removed")
        return cli.DONE
    # It makes no rows: with which settings those of OUT were made does not matter, and stays written down.
    shown = newest_config(storage)
    with session_on(config, options.out, options.command, None, shown=shown) as session:
        # Under the lease: no run adds a piece of a recording meanwhile.
        meant = clips_meant(session.storage, names)
        # What is no clip of OUT any more may still be in exports: of a removal that was cut short.
        clips = {**dict.fromkeys(meant.unknown), **meant.clips}
        done = job.run(session, clips, cli.say)
    tell_json(options, clips=len(meant.clips), rows=done.rows, unknown=meant.unknown, beyond=done.beyond)
    for line in job.lines(done, len(meant.clips), meant.unknown):
        cli.say(line)
    return cli.DONE
