"""`emo adapters`: list, promote and merge what was finetuned."""

import argparse
from typing import Any

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import InputError


def add(commands: cli.Commands) -> None:
    adapters = commands.on_out(
        "adapters",
        run,
        "list the finetuned adapters, promote one for use, or merge one into its base",
        "promote copies it to OUT/adapters/NAME if its figures pass finetune.gate.",
    )
    adapters.add_argument("action", choices=["list", "promote", "merge"], help="what to do")
    adapters.add_argument("name", nargs="?", metavar="NAME", help="of the run")
    adapters.add_argument("--to", metavar="FOLDER", help="of merge: a folder that is not there yet")


def run(options: argparse.Namespace) -> int:
    from emo.finetuning import adapters as job

    config = cli.config_of(options)
    out = job.storage_of(config, options.out)
    if options.action == "list":
        states = job.states(out)
        tell_json(options, adapters=states)
        if not options.json:
            for state in states:
                f1 = state["metrics"].get("f1")
                figures = "-" if f1 is None else f"{f1:.4f}"
                where = state["adapter"] or "not promoted"
                print(f"{state['name']}\t{state['outcome']}\tf1 {figures}\t{where}")
        cli.say(f"emo adapters: {len(states)} runs in {out.url}")
        return cli.DONE
    if options.name is None:
        raise InputError(f"emo adapters {options.action}: name the run")
    if options.action == "promote":
        where = job.promote(out, options.name, config.finetune.gate)
        result: dict[str, Any] = {"adapter": where}
        said = f"{options.name} is promoted: {where}"
    else:
        if options.to is None:
            raise InputError("emo adapters merge: say with --to where the merged model goes")
        difference = job.merge(out, options.name, options.to)
        result = {"model": options.to, "difference": difference}
        said = f"{options.name} is merged: {options.to}; scores differ by {difference:.1e} of their spread"
    tell_json(options, **result)
    cli.say(f"emo adapters: {said}")
    return cli.DONE
