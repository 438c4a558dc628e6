"""`emo config`: which keys the configuration has, and what they mean."""

import argparse
import json
import textwrap
from difflib import get_close_matches

from emo.cli.command import Commands
from emo.errors import InputError

SUMMARY = "tell what the keys of the configuration mean"

_DESCRIPTION = """Tell what the keys of the configuration mean.

KEY is a key or a section, such as ingest.frames or judge. The keys of an expert stand below experts.KIND,
those of an extractor below extract.KIND. Without KEY all keys are told.

--schema prints the JSON Schema of a configuration file. Editors complete and check a file with it."""


def add(commands: Commands) -> None:
    command = commands.bare("config", run, SUMMARY, _DESCRIPTION)
    command.add_argument("key", nargs="*", metavar="KEY", help="a key, or the beginning of several")
    command.add_argument("--schema", action="store_true", help="print the JSON Schema instead")


def run(options: argparse.Namespace) -> int:
    """Tell the keys; raises InputError for one that is not there."""
    from emo import keys
    from emo.cli.telling import tell_json

    if options.schema:
        if options.key:
            raise InputError("--schema tells all keys; leave KEY out")
        print(json.dumps(keys.schema(), indent=1, ensure_ascii=False))
        options.told = True
        return 0
    every = keys.every_key()
    found = every if not options.key else []
    for asked in options.key:
        of_it = [key for key in every if key.path == asked or key.path.startswith(f"{asked}.")]
        if not of_it:
            near = get_close_matches(asked, [key.path for key in every], n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; emo config lists all"
            raise InputError(f"there is no key {asked!r}{hint}")
        found += of_it
    tell_json(options, keys=[key._asdict() for key in found])
    if not options.json:
        for key in found:
            print(f"{key.path}: {key.allowed.replace('`', '')}; default {key.default.replace('`', '')}")
            print(textwrap.fill(key.meaning, 100, initial_indent="    ", subsequent_indent="    "))
    return 0
