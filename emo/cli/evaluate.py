"""`emo evaluate`: its arguments, and what it prints."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from emo.cli.command import Commands, Parser
from emo.cli.telling import tell_json

SUMMARY = "score predictions against human labels"

_DESCRIPTION = """Score predictions against human labels: a table on standard output, or JSON with --json.

PATH is an OUT of emo (its judgments; with --expert its votes), one of its tables such as OUT/votes, or a
file: Parquet (a folder of it too), CSV or JSON lines with video_id (or name) and labels (or openset), or the
.npz of the benchmark (filenames, fileitems). As gold an OUT is its reviews (emo review), where it has any.
Votes of several voters are fused by the co-judgment in its default setting; then each voter's score is shown
beside it.

metrics (--metric, default ew):
METRICS

Another metric is named by its place, package.module:Class.

--judge names a text model: kind=model,model=FOLDER[,device=cpu,...] runs it here by transformers,
kind=openai,url=http://HOST:PORT/v1,model=NAME[,api_key_env=VARIABLE,...] asks a server. Its name is part of
the result: numbers of two judges cannot be compared.

Intervals are 95 % bootstrap intervals over clips. With --compare the difference (predicted minus compared)
is tested by swapping the two systems' answers clip by clip (approximate randomisation)."""

# What is no option of a request, or no option but the request itself.
_OF_COMMAND = frozenset({"command", "run", "json", "told", "began", "predicted", "gold", "metric"})


def add(commands: Commands) -> None:
    command = commands.bare("evaluate", run, SUMMARY, SUMMARY)
    command.later = lambda given: _of_metrics(command, given)
    path: dict[str, Any] = {"action": "append", "metavar": "PATH"}
    command.add_argument("--predicted", required=True, help="what is scored", **path)
    command.add_argument("--gold", default=[], help="the human labels (or descriptions)", **path)
    command.add_argument("--metric", default="ew", help="one of the metrics above", metavar="NAME")
    command.add_argument("--expert", metavar="NAME", help="only the votes of this expert")
    command.add_argument("--sample", type=int, metavar="N", help="only the votes of this sample")
    command.add_argument("--compare", default=[], help="another system: is the difference chance?", **path)
    command.add_argument("--compare-expert", metavar="NAME", help="--expert of --compare")
    command.add_argument("--compare-sample", type=int, metavar="N", help="--sample of --compare")
    command.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="only the reviewed clips of these recordings: emo judge --calibrate learns from none of test",
    )
    command.add_argument(
        "--by",
        metavar="FILE[:COLUMN]|COLUMN",
        help="every number for each group of clips: a table with video_id (or name) and the column group, or "
        "the one that is named; or a column that the clips of OUT carry (ingest.carry), or language",
    )
    command.add_argument(
        "--data-set",
        metavar="NAME",
        help="which data set of the field gold is of, such as MELD: warns where an expert of an OUT was "
        "trained on it; by default what the metric, --classes or the paths of gold are called",
    )
    command.add_argument("--plots", metavar="DIR", help="write plots there: SVG files and index.html")


def _of_metrics(command: Parser, given: Sequence[str]) -> None:
    """What the metrics say of themselves: their summaries and their options."""
    from emo.evaluation import metrics
    from emo.evaluation.metric import argument

    chosen = Parser(add_help=False)
    chosen.add_argument("--metric", nargs="?")
    kind = chosen.parse_known_args(given)[0].metric
    of_some = command.add_argument_group("options of some metrics")
    for option, takers in metrics.options(kind).items():
        of_some.add_argument(
            argument(option.name),
            help=f"{', '.join(takers)}: {option.help}".replace("%", "%%"),
            metavar=option.shown,
            type=option.reads,
            choices=option.choices,
        )
    own = {name: metrics.REGISTRY.named(name) for name in metrics.REGISTRY.own}
    told = [
        textwrap.fill(
            f"{metric.summary} {metric.details}",
            width=110,
            initial_indent=f"  {name:<20}",
            subsequent_indent=" " * 22,
        )
        for name, metric in own.items()
    ]
    if others := [name for name in metrics.REGISTRY.names() if name not in metrics.REGISTRY.own]:
        told.append(f"  of other packages: {', '.join(others)}")
    command.description = _DESCRIPTION.replace("METRICS", "\n".join(told))


def run(options: argparse.Namespace) -> int:
    """Score, print, and say the headline in a last line; the exit code."""
    from emo.evaluation import scoring

    given = {name: value for name, value in vars(options).items() if name not in _OF_COMMAND}
    given["compare"] = tuple(options.compare)
    request = scoring.request_of(tuple(options.predicted), tuple(options.gold), options.metric, given)
    evaluation = scoring.run(request)
    tell_json(options, **evaluation.as_json())
    if not options.json:
        print(evaluation.as_text())
    for line in evaluation.warnings if options.json else ():
        print(f"emo evaluate: warning: {line}", file=sys.stderr)
    print(f"emo evaluate: {evaluation.headline()}", file=sys.stderr)
    return 0
