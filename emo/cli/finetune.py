"""`emo finetune`: an adapter from captions."""

import argparse
import re

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import InputError
from emo.terminal.progress import duration


def add(commands: cli.Commands) -> None:
    tune = commands.on_out(
        "finetune",
        run,
        "finetune a model on captions, or go on with the run of that name",
        "The section finetune of the configuration says what and how, such as --set finetune.model=FOLDER.",
    )
    tune.add_argument("--name", required=True, metavar="NAME", help="of the run and of its adapter")


def run(options: argparse.Namespace) -> int:
    from emo.jobs import finetune

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.name):
        raise InputError(f"--name {options.name!r}: expected letters, digits, '.', '_' and '-'")
    outcome = finetune.run(cli.config_of(options), options.out, options.name)
    tell_json(options, **vars(outcome))
    figures = {key: f"{value:.4f}" for key, value in outcome.metrics.items() if isinstance(value, float)}
    shown = ", ".join(f"{key} {figures[key]}" for key in ("f1", "held_out_loss", "loss") if key in figures)
    what = "was done already" if outcome.already else f"done in {duration(outcome.seconds)}"
    cli.say(
        f"emo finetune: {outcome.name} {what}: {outcome.steps} steps, best {shown}; "
        f"adapter: {outcome.best}; page: {outcome.page}"
    )
    return cli.DONE
