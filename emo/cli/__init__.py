"""The command line: one file per command, each with `add` (its arguments) and `run`.

A command imports what it needs when it runs, so that `emo --help` loads no heavy library.
"""

from emo.cli.program import build_parser, main

__all__ = ["build_parser", "main"]
