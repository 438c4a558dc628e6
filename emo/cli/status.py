"""`emo status`: what is in OUT, and the newest run as it goes on."""

import argparse
import shutil
import sys
import time

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.store.storage import Storage
from emo.terminal.progress import LINE_EVERY_S
from emo.terminal.watch import Watches

# Seconds between two looks of `emo status --watch` on a terminal.
WATCH_EVERY_S = 2.0


def add(commands: cli.Commands) -> None:
    status = commands.on_out("status", run, "show what is in OUT: rows per table, last runs")
    status.add_argument(
        "--watch", action="store_true", help="show what goes on, runs and trainings, until it ends"
    )


def run(options: argparse.Namespace) -> int:
    from emo import status

    config = cli.config_of_out(options)
    storage = cli.existing(options.out, config)
    if options.watch and not _watch(storage):
        tell_json(options, outcome="no longer watching")
        cli.say("emo status: no longer watching; the run goes on")
        return cli.DONE
    state = status.state(storage)
    tell_json(options, **state)
    if not options.json:
        status.show(state, config.prices)
    total = next((table["rows"] for table in state["tables"] if table["table"] == "clips"), 0)
    cli.say(f"emo status: {total} clips in {storage.url}")
    return cli.DONE


def _watch(storage: Storage) -> bool:
    """Show the newest run until it ends; false where the person ended it before, with Ctrl-C.

    On a terminal the view is drawn over the last one, elsewhere a line comes every few seconds.
    """
    watches = Watches(storage)
    terminal = sys.stderr.isatty()
    drawn = 0
    try:
        while True:
            views = watches.look()
            if not views:
                print("no run yet", file=sys.stderr)
                return True
            if terminal:
                # A line that the terminal breaks would count as two.
                width = shutil.get_terminal_size().columns - 1
                lines = [line[:width] for view in views for line in view.lines()]
                up = f"\x1b[{drawn}A\x1b[J" if drawn else ""
                print(up + "\n".join(lines), file=sys.stderr, flush=True)
                drawn = len(lines)
            else:
                lines = [line for view in views for line in ([view.line()] if view.active else view.lines())]
                print("\n".join(lines), file=sys.stderr, flush=True)
            if not any(view.active for view in views):
                return True
            time.sleep(WATCH_EVERY_S if terminal else LINE_EVERY_S)
    except KeyboardInterrupt:
        return False
