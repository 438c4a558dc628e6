"""The command line: one file per command, each with `add` (its arguments) and `run`.

A command imports what it needs when it runs, so that `emo --help` loads no heavy library.
"""

import gc
from collections.abc import Sequence

_COLLECT_FROM = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Without arguments: those of this process, which ends with it."""
    if arguments is None:
        # What modules define stays, and so do the rows of a source, which are millions of objects. Looking
        # through them again and again for such as hold each other costs a tenth of the time.
        gc.set_threshold(_COLLECT_FROM, 50, 50)
    from emo.cli import program

    return program.main(arguments)
