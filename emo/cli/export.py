"""`emo export`: the labels of OUT in the form of other tools."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.store.storage import Storage

_FORMATS = ("csv", "fiftyone", "huggingface", "label-studio", "mer", "merr", "ms-swift", "ms-swift-images")


def add(commands: cli.Commands) -> None:
    export = commands.on_out(
        "export",
        run,
        "write the labels for other tools",
        "The labels are those that count: what people agree on before what the machine said. The same "
        "command goes on with an export that was cut short. It needs no lease.",
    )
    export.add_argument(
        "--to", required=True, type=cli.not_empty, metavar="PLACE", help="folder or s3:// prefix to write to"
    )
    export.add_argument(
        "--format",
        required=True,
        metavar="NAME",
        help=f"one of: {', '.join(_FORMATS)}; or the place of a class, package.module:Class",
    )
    export.add_argument("--media", action="store_true", help="copy the videos too")
    export.add_argument("--reviewed", action="store_true", help="only clips that people agree on")
    export.add_argument(
        "--min-agreement",
        type=float,
        metavar="SHARE",
        help="of machine labels only those whose voters agree that far, 0 to 1",
    )


def run(options: argparse.Namespace) -> int:
    from emo.export.exporting import export
    from emo.export.noted import Asked

    config = cli.config_of_out(options)
    source, target = cli.existing(options.out, config), Storage(options.to, config.s3)
    asked = Asked(options.format, options.media, options.reviewed, options.min_agreement)
    done = export(source, target, asked, cli.say)
    files = [target.full(path) for path in done.files]
    tell_json(options, clips=done.clips, files=files, gone=done.gone)
    cli.say(f"emo export: {done.clips} clips for {options.format}: {', '.join(files)}")
    return cli.DONE
