"""`emo models`: which checkpoints a configuration names, where they are, and fetching them ahead."""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from emo.cli.command import Commands
from emo.cli.telling import tell_json
from emo.config import load_config
from emo.downloads import Where, places
from emo.errors import InputError

SUMMARY = "list the models that a configuration names, or fetch them ahead"

_DESCRIPTION = """

list says where each model is: in a folder, in the local cache, or to be downloaded, and how much that is.
fetch downloads what is not here yet into the cache of the Hugging Face hub (HF_HOME). The next run finds it.
fetch --to FOLDER also copies each model into a folder of its own, for a machine without internet. The command
prints the options that name the copies."""


def add(commands: Commands) -> None:
    command = commands.configured("models", run, SUMMARY, _DESCRIPTION)
    command.add_argument("action", choices=["list", "fetch"], help="what to do")
    command.add_argument("--to", metavar="FOLDER", help="of fetch: also copy each model into a folder here")


def run(options: argparse.Namespace) -> int:
    """List or fetch."""
    if options.to and options.action != "fetch":
        raise InputError("--to FOLDER goes with emo models fetch")
    config = load_config(preset=options.preset, file=options.config, overrides=options.set)
    found = places(config)
    for where in found:
        print(where.line(), file=sys.stderr)
    settings: list[str] = []
    if options.action == "fetch":
        found = [_fetched(where) for where in found]
        if options.to:
            settings = [_copy(where, Path(options.to)) for where in found]
    tell_json(options, models=[_as_row(where) for where in found], set=settings)
    if settings and not options.json:
        print(" \\\n".join(f"--set {setting}" for setting in settings))
    if not found:
        print("emo models: this configuration names no model", file=sys.stderr)
        return 0
    here = sum(where.folder is not None for where in found)
    copied = f"; copied to {options.to}, the options above name the copies" if settings else ""
    print(f"emo models: {here} of {len(found)} models are on this machine{copied}", file=sys.stderr)
    return 0


def _fetched(where: Where) -> Where:
    if where.folder is not None:
        return where
    print(f"fetching {where.model.model}", file=sys.stderr)
    folder = where.model.fetch()
    where.model.check(folder)
    return replace(where, folder=folder)


def _copy(where: Where, to: Path) -> str:
    """Copy a model, and say which setting names the copy."""
    assert where.folder is not None
    target = to / where.model.model.strip("/").replace("/", "--").replace(":", "")
    if not target.exists():
        part = target.with_name(target.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        # The cache of the hub is links to files that are shared between revisions.
        shutil.copytree(where.folder, part, symlinks=False)
        part.rename(target)
    return f"{where.model.key}={target}"


def _as_row(where: Where) -> dict[str, Any]:
    return {
        "key": where.model.key,
        "model": where.model.model,
        "revision": where.model.revision,
        "folder": str(where.folder) if where.folder else None,
        "bytes_to_download": where.size,
    }
