"""`emo adapters`: list, promote and merge what was finetuned, and bring in what was finetuned elsewhere."""

import argparse
from dataclasses import asdict
from typing import Any

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.config import Config
from emo.errors import InputError
from emo.store.storage import Storage


def add(commands: cli.Commands) -> None:
    adapters = commands.on_out(
        "adapters",
        run,
        "list the finetuned adapters, promote one for use, merge one into its base, or import one",
        "promote copies it to OUT/adapters/NAME if its figures pass finetune.gate. import brings an adapter "
        "that PEFT, ms-swift or another trainer wrote to OUT/adapters/NAME, under the names that the layers "
        "of finetune.model have here.",
    )
    adapters.add_argument("action", choices=["list", "promote", "merge", "import"], help="what to do")
    adapters.add_argument("name", nargs="?", metavar="NAME", help="of the run")
    adapters.add_argument("--from", dest="source", metavar="FOLDER", help="of import: the adapter's folder")
    adapters.add_argument("--to", metavar="FOLDER", help="of merge: a folder that is not there yet")


def run(options: argparse.Namespace) -> int:
    from emo.finetuning import adapters as job

    config = cli.config_of(options)
    if options.action == "import":
        return _import(options, config)
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


def _import(options: argparse.Namespace, config: Config) -> int:
    from emo.finetuning import adapters as job

    if options.name is None or options.source is None:
        raise InputError("emo adapters import: name the adapter, and say with --from where it lies")
    out = Storage(options.out, config.s3)
    out.check()
    found, where = job.bring(out, options.name, options.source, config.finetune)
    tell_json(options, adapter=where, **asdict(found))
    for whose, count in found.renamed.items():
        cli.say(f"emo adapters: {count} of {found.weights} weights had the names of {whose}")
    if found.made_for:
        cli.say(
            f"emo adapters: it names {found.made_for} as its base; that it is this one is for you to know"
        )
    cli.say(f"emo adapters: {options.name} is imported: {where}")
    return cli.DONE
