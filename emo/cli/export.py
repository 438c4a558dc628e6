"""`emo export`: the labels of OUT in the form of other tools."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import InputError
from emo.store.storage import Storage

_FORMATS = ("csv", "fiftyone", "huggingface", "label-studio", "mer", "ms-swift", "ms-swift-images")


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
    from emo.export import REGISTRY, selection
    from emo.export.protocol import Exported

    exporter = REGISTRY.named(options.format)()
    if options.media and not exporter.media:
        raise InputError(f"--media: {options.format} has media of its own")
    if options.min_agreement is not None and not 0 <= options.min_agreement <= 1:
        raise InputError(f"--min-agreement is {options.min_agreement:g}; expected a share from 0 to 1")
    config = cli.config_of_out(options)
    source, target = cli.existing(options.out, config), Storage(options.to, config.s3)
    selection.check_target(source, target)
    rows = selection.select(source, options.reviewed, options.min_agreement)
    if not rows:
        raise InputError(f"{source.url}: no clip is to be exported")
    paths = selection.media_paths(rows, exporter.folder()) if options.media else {}
    gone = set(selection.copy_media(rows, paths, target, config.s3, cli.say)) if options.media else set()
    rows = [row for row in rows if row["video_id"] not in gone]
    media = {video_id: path for video_id, path in paths.items() if video_id not in gone}
    files = exporter.write(Exported(source, target, rows, media, selection.facts(source, rows)))
    tell_json(options, clips=len(rows), files=[target.full(path) for path in files], gone=sorted(gone))
    cli.say(f"emo export: {len(rows)} clips for {options.format}: {', '.join(map(target.full, files))}")
    return cli.DONE
