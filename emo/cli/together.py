"""`emo together`: how well what is seen, heard and said of the clips go together."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json


def add(commands: cli.Commands) -> None:
    together = commands.on_out(
        "together",
        run,
        "score how well what is seen, heard and said go together, for `emo review --by mismatch`",
        "Needs experts of the kind classifier with keep_vectors: true, of at least two senses. Learns "
        "without labels which vectors belong to one clip, and writes the table together. Dubbed clips, wrong "
        "subtitles, people off screen and sarcasm score low: a flag for people, never a label.",
    )
    together.add_argument(
        "--loss",
        choices=("symmetric", "published"),
        default="symmetric",
        help="what the projectors are trained with: InfoNCE between the senses (the default), or the loss of "
        "MPUC between two halves of each clip",
    )


def run(options: argparse.Namespace) -> int:
    from emo.jobs import together
    from emo.run.session import session as session_on

    config = cli.config_of_out(options)
    storage = cli.existing(options.out, config)
    # It runs no step: with which settings the rows of OUT were made stays written down.
    with session_on(config, storage.url, options.command, None) as session:
        done = together.run(session, options.loss)
    scored = done.scored
    tell_json(options, clips=done.clips, experts=done.experts, nearer=scored.nearer, error=scored.error)
    cli.say(
        f"emo together: {done.clips} clips scored by {', '.join(done.experts)}; own vectors are nearer than "
        f"those of a random pair in {scored.nearer:.1%} (standard error {scored.error:.1%}, chance 50 %)"
    )
    return cli.DONE
