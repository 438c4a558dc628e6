"""`emo caption`: captions of the clips, for finetuning."""

import argparse
import time
from typing import get_args

from emo.captions.messages import FramesAs
from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.store.storage import Storage
from emo.terminal.progress import duration


def add(commands: cli.Commands) -> None:
    caption = commands.on_out(
        "caption",
        run,
        "caption the clips of OUT for finetuning: draft, filter, split, and pass on as messages JSONL",
        "The section caption of the configuration says who is asked what (--set caption.target=26000).",
    )
    caption.add_argument(
        "--gold",
        metavar="FILE",
        help="polarity per clip for the filter contradiction: label.csv of CH-SIMS, video_id and "
        "label, or an OUT with reviews",
    )
    caption.add_argument("--plan", action="store_true", help="show how many captions this makes, and stop")
    caption.add_argument(
        "--export", metavar="FOLDER", help="also write what is kept, with its media, for ms-swift (or s3://)"
    )
    caption.add_argument(
        "--frames",
        choices=get_args(FramesAs),
        default="video",
        help="of --export: the frames of a clip as one video, as emo trains on them, or as images",
    )
    caption.add_argument("--retry", action="store_true", help="do the captions that failed again too")
    cli.with_redo(caption)


def run(options: argparse.Namespace) -> int:
    from emo.captions.gold import load_gold, of_clips
    from emo.captions.summary import summary_lines
    from emo.jobs import caption as job

    config = cli.config_of(options)
    gold = load_gold(options.gold, config.s3) if options.gold else None
    job.check(config, gold)
    storage = cli.existing(options.out, config)
    if options.plan:
        plan = job.plan(config, job.ingested(storage), gold)
        tell_json(options, **plan.figures())
        if not options.json:
            print("\n".join(plan.lines()))
        cli.say(f"emo caption: {len(plan.variants)} captions to make; nothing was started")
        return cli.DONE
    if gold:
        gold = of_clips(gold, job.ingested(storage).column("video_id").to_pylist(), options.gold)
    needs = cli.left_to_nodes(config, job.needs(config))
    with cli.session_of(options, config, options.gold, needs) as session:
        steps, summary = job.run(session, gold, options.redo, options.retry)
        if options.export:
            target = Storage(options.export, config.s3)
            summary["exported"] = job.export_captions(storage, target, options.frames)
    code = cli.exit_code(config, steps)
    cli.say_failures(steps)
    tell_json(options, **(cli.result(code, steps, report=None) | summary))
    for line in summary_lines(summary):
        cli.say(line)
    where = f"; exported to {options.export}" if options.export else ""
    cli.say(
        f"emo caption: {summary['kept']} of {summary['captions']} captions kept, {summary['filtered']} "
        f"filtered, {summary['failed']} failed, in {duration(time.monotonic() - options.began)}{where}"
    )
    return code
