"""`emo submit`: a command as a job of a Ray cluster."""

import argparse
import sys
from typing import Any

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import InputError


def add(commands: cli.Commands) -> None:
    submit = commands.bare(
        "submit",
        run,
        "run a command as a job of a Ray cluster and follow it",
        "Run a command of emo as a Ray job and follow its log. The exit code is that of the command. A "
        "connection that is lost is made again. Ctrl-C asks whether to stop the job or only to leave it. "
        "SIGTERM leaves it, and stops it with --stop-on-term. With --json the log goes to standard error.",
    )
    submit.add_argument(
        "--address",
        metavar="URL",
        help="of the cluster's dashboard; without it RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or this machine",
    )
    submit.add_argument("--detach", action="store_true", help="only send the job and print its id")
    submit.add_argument(
        "--install",
        action="store_true",
        help="install emo's packages for the job, on nodes that have only Ray (some minutes per node)",
    )
    submit.add_argument("--attach", metavar="ID", help="send nothing; follow the job with this id")
    submit.add_argument(
        "--stop-on-term",
        action="store_true",
        help="stop the job when this command gets SIGTERM, such as at the deadline of a scheduler",
    )
    submit.add_argument(
        "--patience",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="wait so long for a cluster that does not answer, then end with exit code 5 (default: 600)",
    )
    submit.add_argument("job", nargs="?", metavar="JOB", help="a command such as label or nightly")
    submit.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def run(options: argparse.Namespace) -> int:
    from emo.cli.program import build_parser
    from emo.run import submit as job

    if options.attach is not None:
        if options.job is not None or options.detach:
            raise InputError(
                "submit: --attach follows a job that was sent; it goes with no JOB and no --detach"
            )
        client = job.client_when_it_answers(options.address, options.attach, options.patience)
        return _follow(options, client, options.attach)
    if options.job is None:
        raise InputError("submit: name a command such as label, or a job with --attach ID")
    arguments = build_parser().parse_args([options.job, *options.arguments])
    if options.job == "submit":
        raise InputError("submit: a job cannot submit itself")
    config = cli.config_of(arguments)
    nightly = options.job == "nightly"
    places = [
        getattr(arguments, "source", None) or (config.nightly.source if nightly else None),
        arguments.out or (config.nightly.out if nightly else None),
    ]
    job.check(config, [place for place in places if place])
    words = job.without_config([options.job, *options.arguments])
    client, name = job.submit(options.address, words, arguments.config, options.install)
    if options.detach:
        tell_json(options, outcome="sent", job=name)
        if not options.json:
            print(name)
        cli.say(f"emo submit: job {name} was sent; emo submit --attach {name} follows it")
        return cli.DONE
    cli.say(f"emo submit: job {name}")
    return _follow(options, client, name)


def _follow(options: argparse.Namespace, client: Any, name: str) -> int:
    address = f" --address {options.address}" if options.address else ""
    again = f"emo submit{address} --attach {name}"
    log = sys.stderr if options.json else sys.stdout
    from emo.run.follow import Follower

    follower = Follower(client, name, again, options.patience, options.stop_on_term, log)
    code = int(follower.run())
    tell_json(options, code, "done" if code == cli.DONE else "failed", job=name)
    return code
