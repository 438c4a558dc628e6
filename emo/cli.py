"""The command line: reads arguments, validates everything, calls a job, says what happened.

The one module of the library that reaches for the jobs, and only once a command runs.
"""

import argparse
import atexit
import io
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from emo import __version__
from emo.commands import evaluate, models
from emo.commands.telling import tell_json
from emo.config import Config, load_config, presets
from emo.errors import EmoError, InputError
from emo.estimates import as_rows, total
from emo.machine import machine_fault
from emo.paths import readable
from emo.progress import LINE_EVERY_S, duration
from emo.runs import Step, load_runs
from emo.signals import ended_by_signals
from emo.storage import Storage, use_s3
from emo.watch import Watch

DONE, BAD_INPUT, TOO_MANY_FAILED, INTERRUPTED = 0, 2, 3, 130

# Seconds between two looks of `emo status --watch` on a terminal.
WATCH_EVERY_S = 2.0

_EPILOG = """exit codes: 0 done (failures are listed in the summary), 1 stopped by an error,
2 bad arguments or configuration (nothing was started), 3 more failures than max_failed_share,
4 another run holds OUT (nothing was started), 5 the cluster that runs the submitted job does not answer
(the job may go on), 130 interrupted (what was committed stays)"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(f"{message}\nTry: {self.prog} --help")


def _not_empty(place: str) -> str:
    # An empty place would be the current folder; in a script it is a variable that was not set.
    if not place.strip():
        raise argparse.ArgumentTypeError("it is empty; . is the current folder")
    return place


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="emo",
        description="Open-vocabulary emotion labelling of video at dataset scale.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"emo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        summary: str,
        more: str = "",
        needs_out: bool = True,
    ) -> Any:
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        command.add_argument(
            "--out",
            type=_not_empty,
            required=needs_out,
            metavar="OUT",
            help="folder or s3:// prefix of the tables",
        )
        command.add_argument(
            "--json", action="store_true", help="print one JSON object on standard output at the end"
        )
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

    def with_source(command: Any) -> None:
        command.add_argument(
            "source",
            type=_not_empty,
            metavar="SOURCE",
            help="a folder, a glob, an s3:// prefix, or a manifest (.csv, .json, .jsonl, .parquet with uri "
            "and optionally video_id, subtitle, language); the layouts of CH-SIMS and MER are known. Links "
            "are followed, each folder is read once; a link that leads nowhere is a failed row",
        )

    def with_redo(command: Any, rows: str = "all rows") -> None:
        command.add_argument(
            "--redo", action="store_true", help=f"make {rows} anew; an interrupted redo goes on"
        )

    label = add("label", _label, "label the videos of a source: ingest, describe, extract, judge, report")
    with_source(label)
    with_redo(label, "all rows of SOURCE")
    plan = add("plan", _plan, "show what a run would do, without doing it")
    with_source(plan)
    one = add("ingest", _ingest, "decode videos into the clips table")
    with_source(one)
    with_redo(one, "all rows of SOURCE")
    describe = add("describe", _describe, "let one expert describe the clips")
    describe.add_argument("--expert", required=True, metavar="NAME", help="its name in the configuration")
    with_redo(describe)
    with_redo(add("extract", _extract, "extract emotion words from the descriptions"))
    judge = add("judge", _judge, "fuse the votes into one label set per clip")
    judge.add_argument("--votes", metavar="PATH", help="judge these votes (Parquet) instead of those of OUT")
    learning = judge.add_mutually_exclusive_group()
    learning.add_argument("--calibrate", metavar="GOLD", help="learn weights and bars on gold labels first")
    learning.add_argument("--estimate", action="store_true", help="learn weights from agreement first")
    judge.add_argument(
        "--save", metavar="FILE", help="where to keep what was learned (judge.learned names it)"
    )
    with_redo(judge)
    add("report", _report, "write OUT/report/index.html from the tables")
    status = add("status", _status, "show what is in OUT: rows per table, last runs")
    status.add_argument(
        "--watch", action="store_true", help="show the newest run as it goes on, until it ends"
    )
    night = add(
        "nightly",
        _nightly,
        "label what is new or changed, try passing failures again, tidy up, write a summary",
        "A night that a bound on hours ends is done (0); the next one goes on.",
        needs_out=False,
    )
    night.add_argument(
        "source",
        type=_not_empty,
        nargs="?",
        metavar="SOURCE",
        help="as of emo label; without it nightly.source",
    )
    evaluate.add(commands, _EPILOG)
    models.add(commands, _EPILOG)
    submit = commands.add_parser(
        "submit",
        help="run a command as a job of a Ray cluster and follow it",
        description="Run a command of emo as a Ray job and follow its log. The exit code is that of the "
        "command. A connection that is lost is made again. Ctrl-C asks whether to stop the job or only to "
        "leave it. SIGTERM leaves it, and stops it with --stop-on-term.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    submit.set_defaults(run=_submit)
    submit.add_argument(
        "--json", action="store_true", help="print one JSON object at the end; the log goes to standard error"
    )
    submit.add_argument(
        "--address",
        metavar="URL",
        help="of the cluster's dashboard; without it RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or this machine",
    )
    submit.add_argument("--detach", action="store_true", help="only send the job and print its id")
    submit.add_argument(
        "--install",
        action="store_true",
        help="install emo's packages for the job, on nodes that have only Ray (some minutes per node)",
    )
    submit.add_argument("--attach", metavar="ID", help="send nothing; follow the job with this id")
    submit.add_argument(
        "--stop-on-term",
        action="store_true",
        help="stop the job when this command gets SIGTERM, such as at the deadline of a scheduler",
    )
    submit.add_argument(
        "--patience",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="wait so long for a cluster that does not answer, then end with exit code 5 (default: 600)",
    )
    submit.add_argument("job", nargs="?", metavar="JOB", help="a command such as label or nightly")
    submit.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    add(
        "repair",
        _repair,
        "move files that are not of their table out of the way",
        "They go to OUT/set-aside; the rows that they held are done again by the next run.",
    )
    caption = add(
        "caption",
        _caption,
        "caption the clips of OUT for finetuning: draft, filter, split, and pass on as messages JSONL",
        "The section caption of the configuration says who is asked what (--set caption.target=26000).",
    )
    caption.add_argument(
        "--gold",
        metavar="FILE",
        help="polarity per clip for the filter contradiction: label.csv of CH-SIMS, or video_id and label",
    )
    caption.add_argument("--plan", action="store_true", help="show how many captions this makes, and stop")
    caption.add_argument(
        "--export", metavar="FOLDER", help="also write what is kept, with its media, for ms-swift (or s3://)"
    )
    caption.add_argument("--retry", action="store_true", help="do the captions that failed again too")
    with_redo(caption)
    tune = add(
        "finetune",
        _finetune,
        "finetune a model on captions, or go on with the run of that name",
        "The section finetune of the configuration says what and how, such as --set finetune.model=FOLDER.",
    )
    tune.add_argument("--name", required=True, metavar="NAME", help="of the run and of its adapter")
    adapters = add(
        "adapters",
        _adapters,
        "list the finetuned adapters, promote one for use, or merge one into its base",
        "promote copies it to OUT/adapters/NAME if its figures pass finetune.gate.",
    )
    adapters.add_argument("action", choices=["list", "promote", "merge"], help="what to do")
    adapters.add_argument("name", nargs="?", metavar="NAME", help="of the run")
    adapters.add_argument("--to", metavar="FOLDER", help="of merge: a folder that is not there yet")
    failures = add("failures", _failures, "list the rows that failed, by step")
    failures.add_argument("--retry", action="store_true", help="do just the failed rows again")
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


def _job(name: str) -> Any:
    # By name and only here, so that `import emo` never starts to import Ray.
    return import_module(f"jobs.{name}")


def _config(options: argparse.Namespace) -> Config:
    return _in_force(load_config(preset=options.preset, file=options.config, overrides=options.set))


def _config_of_out(options: argparse.Namespace) -> Config:
    """For commands that go on with what is in OUT: without a preset or file, as the newest run was told."""
    if options.preset or options.config:
        config = _config(options)
        _existing(options.out, config)
        return config
    storage = _existing(
        options.out, load_config(overrides=[one for one in options.set if one.startswith("s3")])
    )
    return _in_force(load_config(tree=load_runs(storage, last=1)[0]["config"], overrides=options.set))


def _in_force(config: Config) -> Config:
    use_s3(config.s3)
    return config


def _session(
    options: argparse.Namespace, config: Config, source: str | None = None, needs: Sequence[Any] = ()
) -> Any:
    return _job("session").session(
        config, options.out, options.command, source, redo=getattr(options, "redo", False), needs=needs
    )


def _read_source(source: str, config: Config) -> Any:
    from emo.sources import read_source

    return read_source(source, config.s3)


def _needs_of_all(config: Config) -> list[Any]:
    """What all steps of a labelling run need of the machines that they run on."""
    return [
        *_job("ingest").needs(config.ingest),
        *_job("describe").needs(config.experts),
        *_job("extract").needs(config.extract),
        *_job("judge").needs(config.judge),
    ]


def _left_to_nodes(config: Config, needs: list[Any]) -> list[Any]:
    """The needs that the nodes of a cluster are asked for; with no cluster, this machine is asked now."""
    if _job("nodes").joined(config.ray.address):
        return needs
    _job("needs").check_here(needs, lambda line: print(line, file=sys.stderr))
    return []


def _tell_downloads(config: Config) -> None:
    """Say what this machine downloads before it labels; on a cluster the nodes do, each for itself."""
    if not _job("nodes").joined(config.ray.address):
        for line in models.downloads(config):
            print(line, file=sys.stderr)


def _nothing(options: argparse.Namespace) -> int:
    tell_json(options, **_result(DONE, [], None))
    print(f"emo {options.command}: nothing to do, no video was found at {options.source}", file=sys.stderr)
    return DONE


def _finish(options: argparse.Namespace, config: Config, steps: Sequence[Step], report: str | None) -> int:
    """Say what a run did; its exit code."""
    code = _exit_code(config, steps)
    _say_failures(steps)
    last = steps[-1]
    tell_json(options, **_result(code, steps, report))
    done = {"judge": "labelled", "extract": "texts read", "ingest": "ingested"}.get(last.name, "described")
    words = [*_outcome(last, done), f"{last.skipped} skipped as already done"]
    if last.name == "judge" and last.skipped:
        # Those that this run judged are told above.
        before = _job("status").failed_judgments(Storage(options.out, config.s3)) - last.failed
        if before > 0:
            words[-1] += f" ({before} of them failed, see emo failures)"
    seconds = time.monotonic() - options.began
    where = f"; report: {report}" if report else ""
    print(f"emo {options.command}: {', '.join(words)}, in {duration(seconds)}{where}", file=sys.stderr)
    if code == TOO_MANY_FAILED:
        print(f"emo: {_too_many(config, steps)}", file=sys.stderr)
    return code


def _outcome(step: Step, done: str) -> list[str]:
    """What became of the rows of a step, in words; done: what happened to the good ones."""
    without = [f"{step.empty} without a label"] if step.empty else []
    return [f"{step.ok - step.empty} {done}", *without, f"{step.failed} failed"]


def _result(code: int, steps: Sequence[Step], report: str | None) -> dict[str, Any]:
    """What `--json` prints of a run."""
    return {
        "outcome": "done" if code == DONE else "too_many_failed",
        "exit_code": code,
        "steps": [vars(step) for step in steps],
        "report": report,
    }


def _exit_code(config: Config, steps: Sequence[Step]) -> int:
    tried, failed = Counter[str](), Counter[str]()
    for step in steps:  # of one name there are several where `emo caption` needs more captions
        tried[step.name] += step.rows - step.left
        failed[step.name] += step.failed
    for name, count in tried.items():
        if count and (failed[name] == count or failed[name] > config.max_failed_share * count):
            return TOO_MANY_FAILED
    return DONE


def _too_many(config: Config, steps: Sequence[Step]) -> str:
    whole = next((step.name for step in steps if step.failed and step.failed == step.rows - step.left), None)
    if whole is not None:
        return f"all rows of {whole} failed"
    return f"more than max_failed_share={config.max_failed_share:g} of a step failed"


def _say_failures(steps: Sequence[Step]) -> None:
    for step in steps:
        if step.failed:
            codes = ", ".join(f"{count} {error}" for error, count in sorted(step.error_codes.items()))
            print(f"{step.name}: {step.failed} of {step.rows} failed ({codes})", file=sys.stderr)


def _label(options: argparse.Namespace) -> int:
    config = _config(options)
    needs = _left_to_nodes(config, _needs_of_all(config))
    _tell_downloads(config)
    # Before the lease and the run file: a source that cannot be read must leave no trace in OUT.
    manifest = _read_source(options.source, config)
    if manifest.num_rows == 0:
        return _nothing(options)
    with _session(options, config, options.source, needs) as session:
        steps = _job("label").run(session, manifest, options.redo)
        report = _job("report").write(session, only_if_changed=True)
    _say_baseline(config, steps[-1])
    return _finish(options, config, steps, report)


_BASELINE = frozenset(("voice", "face", "words"))


def _say_baseline(config: Config, judged: Step) -> None:
    """Where no expert is a model: what that is worth, how often it kept silent, and what to take next."""
    if not _BASELINE.issuperset(expert["kind"] for expert in config.experts):
        return
    silent = f" It kept silent on {judged.empty / judged.ok:.0%} of the clips." if judged.ok else ""
    print(
        f"emo label: these experts are a baseline without models.{silent} "
        "Next, try --preset light: small models, no GPU.",
        file=sys.stderr,
    )


def _ingest(options: argparse.Namespace) -> int:
    config = _config(options)
    needs = _left_to_nodes(config, _job("ingest").needs(config.ingest))
    manifest = _read_source(options.source, config)
    if manifest.num_rows == 0:
        return _nothing(options)
    with _session(options, config, options.source, needs) as session:
        steps = [_job("label").ingest_all(session, manifest, options.redo)]
    return _finish(options, config, steps, None)


def _describe(options: argparse.Namespace) -> int:
    config = _config_of_out(options)
    needs = _left_to_nodes(config, _job("describe").needs([config.expert(options.expert)]))
    with _session(options, config, needs=needs) as session:
        steps = _job("label").describe_all(session, [options.expert], options.redo)
    return _finish(options, config, steps, None)


def _extract(options: argparse.Namespace) -> int:
    config = _config_of_out(options)
    needs = _left_to_nodes(config, _job("extract").needs(config.extract))
    with _session(options, config, needs=needs) as session:
        steps = [_job("label").extract_all(session, _names(config), options.redo)]
    return _finish(options, config, steps, None)


def _judge(options: argparse.Namespace) -> int:
    config = _config(options) if options.votes else _config_of_out(options)
    if bool(options.save) != (options.calibrate is not None or options.estimate):
        raise InputError("--save FILE goes with --calibrate GOLD or --estimate, and they with it")
    if options.save:
        votes = options.votes or Storage(options.out).full("votes")
        voters = _job("judge").votes_from(votes, config.s3)
        learned = _job("judge").learn(voters.table, options.calibrate)
        learned.save(options.save)
        print(f"learned on {learned.clips} clips ({learned.source}): {options.save}", file=sys.stderr)
        judge = config.judge.model_copy(update={"learned": options.save})
        config = config.model_copy(update={"judge": judge})
    if options.votes:
        voters = _job("judge").votes_from(options.votes, config.s3)
        if voters.duplicates:
            print(f"{voters.duplicates} older votes of the same key were left out", file=sys.stderr)
        with _session(options, config) as session:
            steps = [_job("judge").run_votes(session, voters, config.judge.rule())]
    else:
        needs = _left_to_nodes(config, _job("judge").needs(config.judge))
        with _session(options, config, needs=needs) as session:
            steps = [_job("label").judge_all(session, _names(config), options.redo)]
    return _finish(options, config, steps, None)


def _names(config: Config) -> list[str]:
    return [expert["name"] for expert in config.experts]


def _report(options: argparse.Namespace) -> int:
    config = _config_of_out(options)
    with _session(options, config) as session:
        report = _job("report").write(session)
    tell_json(options, report=report)
    print(f"emo report: {report}", file=sys.stderr)
    return DONE


def _failures(options: argparse.Namespace) -> int:
    config = _config_of_out(options)
    if options.retry:
        needs = _left_to_nodes(config, _needs_of_all(config))
        with _session(options, config, needs=needs) as session:
            steps = _job("label").retry(session)
            report = _job("report").write(session, only_if_changed=True)
        return _finish(options, config, steps, report)
    rows = _job("status").failures(_existing(options.out, config), _names(config))
    tell_json(options, failures=rows)
    if not options.json:
        for row in rows:
            print(f"{row['step']}\t{row['error']}\t{row['video_id']}\t{row['error_message']}")
    print(f"emo failures: {len(rows)} rows failed; --retry does just these again", file=sys.stderr)
    return DONE


def _finetune(options: argparse.Namespace) -> int:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.name):
        raise InputError(f"--name {options.name!r}: expected letters, digits, '.', '_' and '-'")
    outcome = _job("finetune").run(_config(options), options.out, options.name)
    tell_json(options, **vars(outcome))
    figures = {key: f"{value:.4f}" for key, value in outcome.metrics.items() if isinstance(value, float)}
    shown = ", ".join(f"{key} {figures[key]}" for key in ("f1", "held_out_loss", "loss") if key in figures)
    what = "was done already" if outcome.already else f"done in {duration(outcome.seconds)}"
    print(
        f"emo finetune: {outcome.name} {what}: {outcome.steps} steps, best {shown}; "
        f"adapter: {outcome.best}; page: {outcome.page}",
        file=sys.stderr,
    )
    return DONE


def _adapters(options: argparse.Namespace) -> int:
    config = _config(options)
    job = _job("adapters")
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
        print(f"emo adapters: {len(states)} runs in {out.url}", file=sys.stderr)
        return DONE
    if options.name is None:
        raise InputError(f"emo adapters {options.action}: name the run")
    if options.action == "promote":
        where = job.promote(out, options.name, config.finetune.gate)
        result, said = {"adapter": where}, f"{options.name} is promoted: {where}"
    else:
        if options.to is None:
            raise InputError("emo adapters merge: say with --to where the merged model goes")
        difference = job.merge(out, options.name, options.to)
        result = {"model": options.to, "difference": difference}
        said = f"{options.name} is merged: {options.to}; scores differ by {difference:.1e} of their spread"
    tell_json(options, **result)
    print(f"emo adapters: {said}", file=sys.stderr)
    return DONE


def _status(options: argparse.Namespace) -> int:
    config = _config_of_out(options)
    storage = _existing(options.out, config)
    if options.watch and not _watch(storage):
        tell_json(options, outcome="no longer watching")
        print("emo status: no longer watching; the run goes on", file=sys.stderr)
        return DONE
    state = _job("status").state(storage)
    tell_json(options, **state)
    if not options.json:
        _job("status").show(state, config.prices)
    total = next((table["rows"] for table in state["tables"] if table["table"] == "clips"), 0)
    print(f"emo status: {total} clips in {storage.url}", file=sys.stderr)
    return DONE


def _watch(storage: Storage) -> bool:
    """Show the newest run until it ends; false where the person ended it before, with Ctrl-C.

    On a terminal the view is drawn over the last one, elsewhere a line comes every few seconds.
    """
    watch = Watch(storage)
    terminal = sys.stderr.isatty()
    drawn = 0
    try:
        while True:
            view = watch.look()
            if view is None:
                print("no run yet", file=sys.stderr)
                return True
            if terminal:
                # A line that the terminal breaks would count as two.
                width = shutil.get_terminal_size().columns - 1
                lines = [line[:width] for line in view.lines()]
                up = f"\x1b[{drawn}A\x1b[J" if drawn else ""
                print(up + "\n".join(lines), file=sys.stderr, flush=True)
                drawn = len(lines)
            elif view.active:
                print(view.line(), file=sys.stderr, flush=True)
            else:
                print("\n".join(view.lines()), file=sys.stderr, flush=True)
            if not view.active:
                return True
            time.sleep(WATCH_EVERY_S if terminal else LINE_EVERY_S)
    except KeyboardInterrupt:
        return False


def _plan(options: argparse.Namespace) -> int:
    config = _config(options)
    manifest = _read_source(options.source, config)
    storage = Storage(options.out, config.s3)
    plan = _job("status").plan(storage, config, manifest)
    estimates = _job("status").estimate(storage, config, plan)
    hours = total(estimates)
    _tell_downloads(config)
    tell_json(options, **plan, estimate=as_rows(estimates), total=hours)
    if not options.json:
        for step, one in zip(plan["steps"], estimates, strict=True):
            how = f"measured on {one.measured} rows" if one.measured else "assumed"
            print(
                f"{step['step']:<24}{step['rows']:>12} to do{step['done']:>12} done"
                f"{one.cpu_hours:>12.2f} CPU-hours{one.gpu_hours:>12.2f} GPU-hours  "
                f"({one.worker_seconds:.3g} s per row and worker, {how})"
            )
        print(f"{plan['bytes']} bytes of video to read")
        prices = config.prices
        money = f", {hours['cost']:.2f} {prices.currency}" if prices.gpu_hour or prices.cpu_hour else ""
        print(f"in all {hours['cpu_hours']:.2f} CPU-hours, {hours['gpu_hours']:.2f} GPU-hours{money}")
    print(f"emo plan: {plan['steps'][0]['rows']} clips to ingest; nothing was started", file=sys.stderr)
    return DONE


def _nightly(options: argparse.Namespace) -> int:
    config = _config(options)
    source = options.source or config.nightly.source
    options.out = options.out or config.nightly.out
    if not source or not options.out:
        name, key = ("--out", "out") if source else ("SOURCE", "source")
        raise InputError(f"nightly: no {name} is given, and the configuration has no nightly.{key}")
    needs = _left_to_nodes(config, _needs_of_all(config))
    manifest = _read_source(source, config)
    night = _job("nightly")
    ended: dict[str, Any] = {}
    session = None
    try:
        with _session(options, config, source, needs) as session:
            ended = night.run(session, manifest)
    except (EmoError, KeyboardInterrupt) as error:
        if session is not None:
            code = error.exit_code if isinstance(error, EmoError) else INTERRUPTED
            _tell(config, night.summary(session, ended, "failed", code))
        raise
    code = _exit_code(config, session.run.steps)
    outcome = "too_many_failed" if code else "stopped_at_bound" if ended["bound"] else "done"
    summary = night.summary(session, ended, outcome, code)
    page = _tell(config, summary)
    for note in summary["notes"]:
        print(f"emo nightly: {note}", file=sys.stderr)
    _say_failures(session.run.steps)
    tell_json(options, **summary)
    judged = session.run.steps[-1]
    left = sum(step.left for step in session.run.steps)
    words = [*_outcome(judged, "labelled"), f"{summary['retried']} tried again"]
    if ended["bound"]:
        words.append(f"{ended['bound']} with {left} rows left for the next night")
    print(f"emo nightly: {outcome}: {', '.join(words)}; summary: {page}", file=sys.stderr)
    return code


def _tell(config: Config, summary: dict[str, Any]) -> str | None:
    """Write the summary and send it where the configuration says; neither may change how the night ended."""
    from emo.nightly import summary as summaries

    page = None
    try:
        page = summaries.write(Storage(summary["out"], config.s3), summary)
    except EmoError as error:
        print(f"emo nightly: the summary could not be written: {error}", file=sys.stderr)
    webhook = config.nightly.webhook
    address = webhook.get_secret_value() if webhook else None
    command = [word.get_secret_value() for word in config.nightly.command]
    for fault in summaries.tell(summary, address, command):
        print(f"emo nightly: the summary was not delivered: {fault}", file=sys.stderr)
    return page


def _submit(options: argparse.Namespace) -> int:
    job = _job("submit")
    if options.attach is not None:
        if options.job is not None or options.detach:
            raise InputError(
                "submit: --attach follows a job that was sent; it goes with no JOB and no --detach"
            )
        client = job.client_when_it_answers(options.address, options.attach, options.patience)
        return _follow(options, client, options.attach)
    if options.job is None:
        raise InputError("submit: name a command such as label, or a job with --attach ID")
    arguments = build_parser().parse_args([options.job, *options.arguments])
    if options.job == "submit":
        raise InputError("submit: a job cannot submit itself")
    config = _config(arguments)
    nightly = options.job == "nightly"
    places = [
        getattr(arguments, "source", None) or (config.nightly.source if nightly else None),
        arguments.out or (config.nightly.out if nightly else None),
    ]
    job.check(config, [place for place in places if place])
    words = job.without_config([options.job, *options.arguments])
    client, name = job.submit(options.address, words, arguments.config, options.install)
    if options.detach:
        tell_json(options, outcome="sent", job=name)
        if not options.json:
            print(name)
        print(f"emo submit: job {name} was sent; emo submit --attach {name} follows it", file=sys.stderr)
        return DONE
    print(f"emo submit: job {name}", file=sys.stderr)
    return _follow(options, client, name)


def _follow(options: argparse.Namespace, client: Any, name: str) -> int:
    address = f" --address {options.address}" if options.address else ""
    again = f"emo submit{address} --attach {name}"
    log = sys.stderr if options.json else sys.stdout
    follower = _job("follow").Follower(client, name, again, options.patience, options.stop_on_term, log)
    code = int(follower.run())
    tell_json(options, code, "done" if code == DONE else "failed", job=name)
    return code


def _caption(options: argparse.Namespace) -> int:
    from emo.captions.gold import load_gold, of_clips
    from emo.captions.summary import summary_lines

    config = _config(options)
    job = _job("caption")
    gold = load_gold(options.gold, config.s3) if options.gold else None
    job.check(config, gold)
    storage = _existing(options.out, config)
    if options.plan:
        plan = job.plan(config, job.ingested(storage), gold)
        tell_json(options, **plan.figures())
        if not options.json:
            print("\n".join(plan.lines()))
        print(f"emo caption: {len(plan.variants)} captions to make; nothing was started", file=sys.stderr)
        return DONE
    if gold:
        gold = of_clips(gold, job.ingested(storage).column("video_id").to_pylist(), options.gold)
    needs = _left_to_nodes(config, job.needs(config))
    with _session(options, config, options.gold, needs) as session:
        steps, summary = job.run(session, gold, options.redo, options.retry)
        if options.export:
            summary["exported"] = job.export_captions(storage, Storage(options.export, config.s3))
    code = _exit_code(config, steps)
    _say_failures(steps)
    tell_json(options, **(_result(code, steps, report=None) | summary))
    for line in summary_lines(summary):
        print(line, file=sys.stderr)
    where = f"; exported to {options.export}" if options.export else ""
    print(
        f"emo caption: {summary['kept']} of {summary['captions']} captions kept, {summary['filtered']} "
        f"filtered, {summary['failed']} failed, in {duration(time.monotonic() - options.began)}{where}",
        file=sys.stderr,
    )
    return code


def _repair(options: argparse.Namespace) -> int:
    config = _config(options)
    storage = _existing(options.out, config)
    status = _job("status")
    moved = status.set_aside_runs(storage)
    # It makes no rows: with which settings those of OUT were made does not matter, and stays written down.
    shown = next((run["config"] for run in load_runs(storage, last=1)), None)
    with _job("session").session(config, options.out, options.command, None, shown=shown) as session:
        moved += status.set_aside(session.storage)
    for path, reason in moved:
        print(f"{path}: {reason}", file=sys.stderr)
    tell_json(options, moved=[path for path, _ in moved])
    print(f"emo repair: {len(moved)} files were set aside", file=sys.stderr)
    return DONE


def _existing(out: str, config: Config) -> Storage:
    storage = Storage(out, config.s3)
    if not storage.entries("runs"):
        raise InputError(f"{storage.url} holds no run of emo; was it another --out?")
    return storage
