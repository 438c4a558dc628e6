"""What the commands share: arguments, the configuration, the run, and how they say what became of it."""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from emo.cli.telling import tell_json
from emo.config import Config, load_config, presets
from emo.errors import InputError
from emo.store.runs import StepRecord, newest_config, too_many_failed
from emo.store.s3 import use_s3
from emo.store.storage import Storage
from emo.terminal.progress import duration, say

if TYPE_CHECKING:
    import pyarrow as pa

    from emo.needs import Need
    from emo.run.session import Session
    from emo.step import Step

DONE, TOO_MANY_FAILED, INTERRUPTED, OUTPUT_CLOSED = 0, 3, 130, 141

EPILOG = """exit codes: 0 done (failures are listed in the summary), 1 stopped by an error,
2 bad arguments or configuration (nothing was started), 3 more failures than max_failed_share,
4 another run holds OUT (nothing was started), 5 the cluster that runs the submitted job does not answer
(the job may go on), 130 interrupted (what was committed stays), 141 whoever read the output has left"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are emo's own: one line and exit code 2, as JSON too."""

    # Adds the arguments that are known only once much was loaded: when this command is the one that is run.
    later: Callable[[Sequence[str]], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.later is not None:
            add, self.later = self.later, None
            add(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> Any:
        raise InputError(f"{message}\nTry: {self.prog} --help")


class Commands:
    """Where each command adds itself to the parser of `emo`."""

    def __init__(self, parser: Parser) -> None:
        self._commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def bare(
        self, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str
    ) -> Parser:
        """A command with `--json` and nothing else yet."""
        command: Parser = self._commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        return command

    def configured(
        self, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str = ""
    ) -> argparse.ArgumentParser:
        """A command with the options of the configuration."""
        whole = f"{summary[0].upper()}{summary[1:]}. {description}".strip()
        command = self.bare(name, run, summary, whole)
        choice = command.add_mutually_exclusive_group()
        choice.add_argument("--preset", metavar="NAME", help=f"one of: {', '.join(presets())}")
        choice.add_argument("--config", metavar="FILE", help="a YAML file with the whole configuration")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="change one key, such as ingest.frames=16 or experts.NAME.samples=5; may be repeated",
        )
        return command

    def on_out(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int],
        summary: str,
        description: str = "",
        needs_out: bool = True,
    ) -> argparse.ArgumentParser:
        """A command that works on the tables of an OUT."""
        command = self.configured(name, run, summary, description)
        command.add_argument(
            "--out",
            type=not_empty,
            required=needs_out,
            metavar="OUT",
            help="folder or s3:// prefix of the tables",
        )
        return command


def not_empty(place: str) -> str:
    """A place as it was given; an empty one is an error."""
    # It would be the current folder; in a script it is a variable that was not set.
    if not place.strip():
        raise argparse.ArgumentTypeError("it is empty; . is the current folder")
    return place


def with_source(command: argparse.ArgumentParser) -> None:
    """Add SOURCE to the arguments."""
    command.add_argument(
        "source",
        type=not_empty,
        metavar="SOURCE",
        help="a folder, a glob, an s3:// prefix, or a manifest (.csv, .json, .jsonl, .parquet with uri "
        "and optionally video_id, subtitle, language, start_s, end_s, use); the layouts of CH-SIMS and MER "
        "are known. Links are followed, each folder is read once; a link that leads nowhere is a failed row",
    )


def with_redo(command: argparse.ArgumentParser, rows: str = "all rows") -> None:
    """Add `--redo` to the arguments."""
    command.add_argument("--redo", action="store_true", help=f"make {rows} anew; an interrupted redo goes on")


# The configuration of a command.


def config_of(options: argparse.Namespace) -> Config:
    """The configuration that the options name."""
    return _in_force(load_config(preset=options.preset, file=options.config, overrides=options.set))


def config_of_out(options: argparse.Namespace) -> Config:
    """For commands that go on with what is in OUT: without a preset or file, as the newest run was told."""
    if options.preset or options.config:
        config = config_of(options)
        existing(options.out, config)
        return config
    storage = existing(
        options.out, load_config(overrides=[one for one in options.set if one.startswith("s3")])
    )
    return _in_force(load_config(tree=newest_config(storage), overrides=options.set))


def _in_force(config: Config) -> Config:
    use_s3(config.s3)
    return config


def existing(out: str, config: Config) -> Storage:
    """OUT, which must hold a run of emo."""
    storage = Storage(out, config.s3)
    if not storage.entries("runs"):
        raise InputError(f"{storage.url} holds no run of emo; was it another --out?")
    return storage


def manifest_of(source: str, config: Config) -> "pa.Table":
    """The manifest of a source."""
    from emo.sources.source import read_source

    return read_source(source, config.s3, config.ingest.carry)


# A run.


def needs_of(config: Config, steps: "Sequence[Step]") -> "list[Need]":
    """The needs of these steps that the nodes of a cluster are asked for.

    Where no cluster is joined, this machine is asked now, before anything starts.
    """
    needs = [need for step in steps for need in step.needs()]
    return left_to_nodes(config, needs)


def left_to_nodes(config: Config, needs: "list[Need]") -> "list[Need]":
    """As `needs_of`, for needs."""
    from emo.run.asking import check_before

    return check_before(config.ray.address, needs, say)


def session_of(
    options: argparse.Namespace, config: Config, source: str | None = None, needs: "Sequence[Need]" = ()
) -> "AbstractContextManager[Session]":
    """A run of this command on OUT."""
    from emo.jobs.label import steps
    from emo.run.session import session

    redo = getattr(options, "redo", False)
    return session(config, options.out, options.command, source, steps=steps(config), redo=redo, needs=needs)


# What a run did.


def nothing(options: argparse.Namespace) -> int:
    """Say that a source is empty; the exit code."""
    tell_json(options, **result(DONE, [], None))
    say(f"emo {options.command}: nothing to do, no video was found at {options.source}")
    return DONE


def finish(
    options: argparse.Namespace,
    config: Config,
    records: Sequence[StepRecord],
    did: str,
    report: str | None = None,
    note: str = "",
) -> int:
    """Say what a run did; its exit code.

    did: what happened to the good rows of the last step; note: what else the last line says of them.
    """
    code = exit_code(config, records)
    say_failures(records)
    last = records[-1]
    tell_json(options, **result(code, records, report))
    words = [*outcome(last, did), f"{last.skipped} skipped as already done"]
    if last.name == "judge" and last.skipped:
        from emo.status import failed_judgments

        # Those that this run judged are told above.
        before = failed_judgments(Storage(options.out, config.s3)) - last.failed
        if before > 0:
            words[-1] += f" ({before} of them failed, see emo failures)"
    seconds = time.monotonic() - options.began
    where = f"; report: {report}" if report else ""
    say(f"emo {options.command}: {', '.join(words)}, in {duration(seconds)}{note}{where}")
    if fault := too_many_failed(records, config.max_failed_share):
        say(f"emo: {fault}")
    return code


def outcome(record: StepRecord, did: str) -> list[str]:
    """What became of the rows of a step, in words; did: what happened to the good ones."""
    without = [f"{record.empty} without a label"] if record.empty else []
    return [f"{record.ok - record.empty} {did}", *without, f"{record.failed} failed"]


def result(code: int, records: Sequence[StepRecord], report: str | None) -> dict[str, Any]:
    """What `--json` prints of a run."""
    return {
        "outcome": "done" if code == DONE else "too_many_failed",
        "exit_code": code,
        "steps": [vars(record) for record in records],
        "report": report,
    }


def exit_code(config: Config, records: Sequence[StepRecord]) -> int:
    """0, or 3 where more failed in a step than max_failed_share allows."""
    return TOO_MANY_FAILED if too_many_failed(records, config.max_failed_share) else DONE


def say_failures(records: Sequence[StepRecord]) -> None:
    """A line for every step with failures."""
    for one in records:
        if one.failed:
            codes = ", ".join(f"{count} {error}" for error, count in sorted(one.error_codes.items()))
            say(f"{one.name}: {one.failed} of {one.rows} failed ({codes})")
