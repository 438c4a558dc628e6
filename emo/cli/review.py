"""`emo review`: the page on which people correct labels."""

import argparse
import asyncio
import getpass
import socket
import ssl
import webbrowser
from pathlib import Path

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import InputError
from emo.store.storage import Storage

_DESCRIPTION = """A page in the browser, one clip at a time: the video, what is said, the labels and why. The
answers are the table reviews of OUT. It needs no lease: a run may go on meanwhile. It listens on this machine
alone, and each address that it prints lets one browser in. Ctrl-C ends it; every answer is kept at once."""


def add(commands: cli.Commands) -> None:
    review = commands.on_out(
        "review", run, "let people correct labels on a page in the browser", _DESCRIPTION
    )
    review.add_argument(
        "--by",
        default="mixed",
        metavar="QUEUE",
        help="which clips: mixed (half uncertain, a quarter conflict, a quarter random; the default), "
        "uncertain, conflict, random, rare, mismatch (of `emo together`), or expert:NAME",
    )
    review.add_argument("--clips", type=int, default=200, metavar="N", help="clips of one queue (200)")
    review.add_argument(
        "--reviewer",
        action="append",
        default=[],
        metavar="NAME",
        help="who reviews, by default you; may be repeated: each gets an address",
    )
    review.add_argument(
        "--each", type=int, default=1, metavar="N", help="how many people each clip goes to (1)"
    )
    review.add_argument(
        "--per-recording",
        type=int,
        default=3,
        metavar="N",
        help="at most so many clips of one recording (3); random clips are not bound by it",
    )
    review.add_argument(
        "--blind",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of clips without machine labels (0.1)",
    )
    review.add_argument("--port", type=int, default=0, metavar="N", help="port to listen on; 0: any free one")
    review.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    review.add_argument("--tls-cert", metavar="FILE", help="certificate, for another address than loopback")
    review.add_argument("--tls-key", metavar="FILE", help="its key")
    review.add_argument(
        "--behind", metavar="URL", help="https address of the proxy through which browsers come"
    )
    review.add_argument(
        "--import",
        dest="imported",
        metavar="FILE",
        help="take the answers of a JSON export of Label Studio instead, and stop",
    )
    review.add_argument("--no-browser", action="store_true", help="only print the addresses")


def run(options: argparse.Namespace) -> int:
    from emo.review.access import LOOPBACK, Access, origin_of
    from emo.review.answers import check_reviewer
    from emo.review.desk import Desk, Rules
    from emo.review.library import check_clips
    from emo.review.media import Media
    from emo.review.server import Application, serve

    config = cli.config_of_out(options)
    storage = cli.existing(options.out, config)
    if options.imported:
        return _import(options, storage)
    reviewers = list(dict.fromkeys(map(check_reviewer, options.reviewer or [getpass.getuser()])))
    tls = _tls(options)
    origin_of(options.host, options.port, tls is not None, options.behind)
    rules = Rules(
        options.by, options.clips, options.each, options.per_recording, options.blind, config.caption.video_of
    )
    desk = Desk(storage, rules)
    check_clips(desk.library)
    port = options.port or _free_port(options.host)
    origin = origin_of(options.host, port, tls is not None, options.behind)
    same = [origin.replace(options.host, name) for name in LOOPBACK if name != "::1"]
    access = Access(origin, tuple(same) if options.host in LOOPBACK and not options.behind else ())
    media = Media(config.s3)
    addresses = {name: access.invite(name) for name in reviewers}

    def ready() -> None:
        tell_json(options, addresses=addresses, clips=desk.library.clips.num_rows)
        for name, address in addresses.items():
            cli.say(f"emo review: {name}: {address}")
        if not options.no_browser:
            webbrowser.open(addresses[reviewers[0]])

    try:
        asyncio.run(serve(Application(desk, media, access), options.host, port, tls, ready))
    except OSError as error:
        raise InputError(f"--host {options.host} --port {port}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        pass
    finally:
        media.close()
    done = desk.progress("")
    cli.say(f"emo review: {done['reviews']} reviews of {done['clips']} clips in {storage.url}")
    return cli.DONE


def _import(options: argparse.Namespace, storage: Storage) -> int:
    from emo.export.label_studio import read_export
    from emo.review.importing import take

    try:
        text = Path(options.imported).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--import {options.imported} cannot be read: {error}") from None
    taken, known, strange = take(storage, read_export(text, options.imported))
    tell_json(options, imported=taken, known=known, strange=strange)
    if strange:
        cli.say(f"{len(strange)} answers are of clips that OUT does not have, such as {strange[0]}")
    cli.say(f"emo review: {taken} answers imported, {known} were there already")
    return cli.DONE


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if bool(options.tls_cert) != bool(options.tls_key):
        raise InputError("--tls-cert and --tls-key go together")
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"--tls-cert {options.tls_cert}: {error}") from None
    return context


def _free_port(host: str) -> int:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror or error}") from None
