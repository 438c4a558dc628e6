"""The program `emo`: reads the arguments, runs one command, turns what goes wrong into a line and a code."""

import argparse
import atexit
import io
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from emo import __version__
from emo.cli import (
    adapters,
    caption,
    config,
    describe,
    evaluate,
    export,
    extract,
    failures,
    finetune,
    forget,
    ingest,
    judge,
    label,
    models,
    nightly,
    plan,
    repair,
    report,
    review,
    split,
    status,
    submit,
    together,
)
from emo.cli.command import EPILOG, INTERRUPTED, OUTPUT_CLOSED, Commands, Parser
from emo.cli.telling import tell_json
from emo.errors import EmoError
from emo.machine import machine_fault
from emo.paths import readable
from emo.terminal.signals import ended_by_signals

# As `emo --help` lists them.
COMMANDS = (
    label,
    plan,
    split,
    ingest,
    describe,
    extract,
    judge,
    together,
    report,
    review,
    export,
    forget,
    status,
    failures,
    nightly,
    evaluate,
    models,
    config,
    submit,
    repair,
    caption,
    finetune,
    adapters,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="emo",
        description="Open-vocabulary emotion labelling of video at dataset scale.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"emo {__version__}")
    commands = Commands(parser)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Without arguments: those of this process, which ends with it."""
    if arguments is None:
        _leave(_run(_typed()))
    return _run(arguments)


def _leave(code: int) -> NoReturn:
    """End the process, but for what the interpreter does last of all.

    A thread of Arrow that still holds a Python file when the interpreter is gone aborts the process (exit
    code 134), and schedulers go by exit codes. All that was to be done at the end has been done by then.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _run(given: Sequence[str]) -> int:
    # Known before the arguments are understood, which may be what fails.
    options = argparse.Namespace(json="--json" in given, told=False)
    try:
        options = build_parser().parse_args(given)
        options.began, options.told = time.monotonic(), False
        with ended_by_signals():
            return int(options.run(options))
    except EmoError as error:
        return _stopped(options, error)
    except KeyboardInterrupt as error:
        what = str(error) or "interrupted"
        tell_json(options, INTERRUPTED, "interrupted", error=what)
        print(f"\nemo: {what}; what was committed stays, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # What `head` does once it has its lines; the code is the one of programs that a signal ends there.
        print("emo: whoever read the output has left", file=sys.stderr)
        return OUTPUT_CLOSED
    except Exception as error:
        fault = machine_fault(error) if isinstance(error, OSError | MemoryError) else None
        if fault is not None:
            return _stopped(options, fault)
        # A fault of emo's own: whoever reads the object must know, whoever mends it wants the whole trace.
        tell_json(options, 1, "failed", error=f"{type(error).__name__}: {error}")
        raise


def _typed() -> list[str]:
    """The arguments of this process as text, whatever its locale; what it prints is fit for that locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return [readable(argument) for argument in sys.argv[1:]]


def _stopped(options: argparse.Namespace, error: EmoError) -> int:
    tell_json(options, error.exit_code, "failed", error=str(error))
    print(f"emo: {error}", file=sys.stderr)
    return error.exit_code
