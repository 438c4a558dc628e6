"""What `--json` prints: one object per command, on success and on every error."""

import argparse
import json
from typing import Any


def tell_json(
    options: argparse.Namespace, /, exit_code: int = 0, outcome: str = "done", **result: Any
) -> None:
    """Print the one object of a command, if it was asked for and has not been printed."""
    if options.json and not options.told:
        options.told = True
        # A program that started the command waits for this line, and `emo review` goes on after it.
        print(json.dumps({"outcome": outcome, "exit_code": exit_code, **result}), flush=True)
