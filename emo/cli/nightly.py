"""`emo nightly`: the run of every night, and telling how it went."""

import argparse
from typing import TYPE_CHECKING, Any

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import EmoError, InputError

if TYPE_CHECKING:
    from emo.run.session import Session


def add(commands: cli.Commands) -> None:
    night = commands.on_out(
        "nightly",
        run,
        "label what is new or changed, try passing failures again, tidy up, write a summary",
        "A night that a bound on hours ends is done (0); the next one goes on.",
        needs_out=False,
    )
    night.add_argument(
        "source",
        type=cli.not_empty,
        nargs="?",
        metavar="SOURCE",
        help="as of emo label; without it nightly.source",
    )


def run(options: argparse.Namespace) -> int:
    from emo.jobs import nightly as night
    from emo.jobs.label import steps

    config = cli.config_of(options)
    source = options.source or config.nightly.source
    options.out = options.out or config.nightly.out
    if not source or not options.out:
        name, key = ("--out", "out") if source else ("SOURCE", "source")
        raise InputError(f"nightly: no {name} is given, and the configuration has no nightly.{key}")
    needs = cli.needs_of(config, steps(config))
    manifest = cli.manifest_of(source, config)
    ended: dict[str, Any] = {}
    session = None
    try:
        with cli.session_of(options, config, source, needs) as session:
            ended = night.run(session, manifest)
    except (EmoError, KeyboardInterrupt) as error:
        if session is not None:
            code = error.exit_code if isinstance(error, EmoError) else cli.INTERRUPTED
            _summary(session, ended, "failed", code)
        raise
    code = cli.exit_code(config, session.run.steps)
    outcome = "too_many_failed" if code else "stopped_at_bound" if ended["bound"] else "done"
    summary, page = _summary(session, ended, outcome, code)
    for note in summary["notes"]:
        cli.say(f"emo nightly: {note}")
    cli.say_failures(session.run.steps)
    tell_json(options, **summary)
    judged = session.run.steps[-1]
    left = sum(step.left for step in session.run.steps)
    words = [*cli.outcome(judged, "labelled"), f"{summary['retried']} tried again"]
    if ended["bound"]:
        words.append(f"{ended['bound']} with {left} rows left for the next night")
    cli.say(f"emo nightly: {outcome}: {', '.join(words)}; summary: {page}")
    return code


def _summary(
    session: "Session", ended: dict[str, Any], outcome: str, code: int
) -> tuple[dict[str, Any], str | None]:
    """Make the summary of a night, write it, and send it where the configuration says: the summary, and where
    its page is. Neither may change how the night ended.
    """
    from emo.jobs import nightly as night
    from emo.nightly import summary as summaries

    config, page = session.config, None
    summary = night.summary(session, ended, outcome, code)
    try:
        page = summaries.write(session.storage, summary)
    except EmoError as error:
        cli.say(f"emo nightly: the summary could not be written: {error}")
    webhook = config.nightly.webhook
    address = webhook.get_secret_value() if webhook else None
    command = [word.get_secret_value() for word in config.nightly.command]
    for fault in summaries.tell(summary, address, command):
        cli.say(f"emo nightly: the summary was not delivered: {fault}")
    return summary, page
