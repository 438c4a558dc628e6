"""`emo evaluate`: its arguments, and what it prints."""

import argparse
import sys
from dataclasses import fields
from typing import Any

from emo.cli.command import Commands
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

unibench: --gold, --predicted and --compare are one folder each, or NAME=PATH once for each data set (mer2023,
mer2024, meld, iemocap, cmu-mosi, cmu-mosei, ch-sims, ch-sims-v2, ov-merd+; also the names of the benchmark's
code, such as IEMOCAPFour, CMUMOSI, SIMSv2, OVMERDPlus). In a folder, what is named after a data set is taken:
a file (sims.npz), or a folder (sims, sims-process, results-sims). Gold is the benchmark's own label file, as
in mer2023-dataset-process/label-6way.npz or meld-process/label.npz, and a CSV (name, openset) for ov-merd+.
A folder with several predictions is refused: a checkpoint must not be chosen on the test set. Predictions for
the four sentiment data sets are positive, neutral or negative; from label lists the sentiment is the valence
of the labels in emo's vocabulary, and the result says so.

--judge names a text model: kind=model,model=FOLDER[,device=cpu,...] runs it here by transformers,
kind=openai,url=http://HOST:PORT/v1,model=NAME[,api_key_env=VARIABLE,...] asks a server. Its name is part of
the result: numbers of two judges cannot be compared.

Intervals are 95 % bootstrap intervals over clips. With --compare the difference (predicted minus compared)
is tested by swapping the two systems' answers clip by clip (approximate randomisation)."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Asks the metrics what they measure only when somebody reads it: they load much."""

    def add_text(self, text: str | None) -> None:
        if text == _DESCRIPTION:
            from emo.evaluation.metrics import summaries

            text = text.replace("METRICS", summaries())
        super().add_text(text)


def add(commands: Commands) -> None:
    command = commands.bare("evaluate", run, SUMMARY, _DESCRIPTION)
    command.formatter_class = _Formatter
    path: dict[str, Any] = {"action": "append", "metavar": "PATH"}
    command.add_argument("--predicted", required=True, help="what is scored", **path)
    command.add_argument("--gold", default=[], help="the human labels (or descriptions)", **path)
    command.add_argument("--metric", default="ew", help="one of the metrics above", metavar="NAME")
    command.add_argument("--wheels", metavar="DIR", help="the benchmark's emotion wheels")
    command.add_argument(
        "--unknown",
        choices=("drop", "wrong"),
        help="ew: predicted labels outside the vocabulary are left out (as the benchmark does, the default) "
        "or count as wrong",
    )
    command.add_argument("--expert", metavar="NAME", help="only the votes of this expert")
    command.add_argument("--sample", type=int, metavar="N", help="only the votes of this sample")
    command.add_argument("--compare", default=[], help="another system: is the difference chance?", **path)
    command.add_argument("--compare-expert", metavar="NAME", help="--expert of --compare")
    command.add_argument("--compare-sample", type=int, metavar="N", help="--sample of --compare")
    command.add_argument("--groups", metavar="FILE", help="mer2024: JSON of video_id to lists of words")
    command.add_argument(
        "--judge", metavar="KEY=VALUE,...", help="the text model of a metric that asks one, see above"
    )
    command.add_argument(
        "--max-failed-share",
        type=float,
        metavar="SHARE",
        help="with --judge: no score where more of the judge's answers cannot be read (default 0.5)",
    )
    command.add_argument(
        "--selection",
        metavar="TEXT",
        help="unibench: which checkpoint was scored and how it was chosen, for the result",
    )
    command.add_argument(
        "--classes",
        metavar="SET",
        help="classes: the classes, as happy,sad, as 1=happy,2=sad for files with numbers, or a named set "
        "(mer, meld, dfew, mafw, ravdess, sentiment, binary-sentiment); by default those that gold has",
    )
    command.add_argument("--clues", metavar="FILE", help="mme-emotion: audio clues for the judge")
    command.add_argument(
        "--unparsable",
        choices=("zero", "skip"),
        help="mme-emotion: answers of the judge that cannot be read score 0 (the default) or are left out, "
        "as published",
    )
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


def run(options: argparse.Namespace) -> int:
    """Score, print, and say the headline in a last line; the exit code."""
    from emo.evaluation import scoring
    from emo.evaluation.metric import Request

    given = {entry.name: getattr(options, entry.name) for entry in fields(Request)}
    repeated = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    evaluation = scoring.run(Request(**given | repeated))
    tell_json(options, **evaluation.as_json())
    if not options.json:
        print(evaluation.as_text())
    for line in evaluation.warnings if options.json else ():
        print(f"emo evaluate: warning: {line}", file=sys.stderr)
    print(f"emo evaluate: {evaluation.headline()}", file=sys.stderr)
    return 0
