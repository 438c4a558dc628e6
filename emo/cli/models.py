"""`emo models`: which checkpoints a configuration names, where they are, and fetching them ahead."""

import argparse
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emo import experts, extraction
from emo.cli.command import Commands
from emo.cli.telling import tell_json
from emo.config import Config, load_config
from emo.engines.models import NamedModel, described, weight_files
from emo.errors import InputError

SUMMARY = "list the models that a configuration names, or fetch them ahead"

_DESCRIPTION = """

list says where each model is: in a folder, in the local cache, or to be downloaded, and how much that is.
fetch downloads what is not here yet into the cache of the Hugging Face hub (HF_HOME). The next run finds it.
fetch --to FOLDER also copies each model into a folder of its own, for a machine without internet. The command
prints the options that name the copies."""


def add(commands: Commands) -> None:
    command = commands.configured("models", run, SUMMARY, _DESCRIPTION)
    command.add_argument("action", choices=["list", "fetch"], help="what to do")
    command.add_argument("--to", metavar="FOLDER", help="of fetch: also copy each model into a folder here")


@dataclass(frozen=True)
class Where:
    """Where one model is. folder: None where it is not on this machine; size: bytes to download, or None."""

    model: NamedModel
    folder: Path | None
    size: int | None

    def line(self) -> str:
        """What a person reads."""
        if self.folder is not None:
            licence = described(self.folder).get("license")
            return f"{self.model.model}: here{f' (licence {licence})' if licence else ''}"
        how_much = f"{self.size / 1e6:,.0f} MB" if self.size else "size not known: the hub does not answer"
        return f"{self.model.model}: to be downloaded, {how_much}"


def named(config: Config) -> list[NamedModel]:
    """Every model that the steps of a run would load, each once."""
    found: list[NamedModel] = []
    for settings in config.experts:
        cls = experts.expert_class(settings["kind"])
        found += _under(f"experts.{settings['name']}", cls.models(cls.Settings(**settings)))
    extractor = extraction.extractor_class(config.extract["kind"])
    found += _under("extract", extractor.models(extractor.Settings(**config.extract)))
    if (speech := config.ingest.transcribe) is not None:
        found.append(NamedModel("ingest.transcribe.model", speech.model, speech.revision))
    if config.judge.adjudicate is not None and (model := config.judge.adjudicate.model) is not None:
        found.append(NamedModel("judge.adjudicate.model.model", model.model, model.revision))
    return list({(one.model, one.revision): one for one in reversed(found)}.values())[::-1]


def _under(section: str, models: Iterable[NamedModel]) -> list[NamedModel]:
    return [replace(one, key=f"{section}.{one.key}") for one in models]


def places(config: Config) -> list[Where]:
    """Where each model is; asks the hub about those that are not here."""
    found = []
    for one in named(config):
        folder = one.here()
        found.append(Where(one, folder, None if folder else one.size()))
    return found


def downloads(config: Config) -> list[str]:
    """What a run on this machine would download first, for a person; empty where all models are here."""
    absent = [where for where in places(config) if where.folder is None and where.model.remote]
    if not absent:
        return []
    sizes = [where.size for where in absent]
    total = f"{sum(size or 0 for size in sizes) / 1e9:.1f} GB" if all(sizes) else "size not known"
    lines = [f"{len(absent)} models are downloaded first ({total}):"]
    lines += [f"  {where.line()}" for where in absent]
    return [*lines, "  emo models fetch with the same options does this ahead"]


def run(options: argparse.Namespace) -> int:
    """List or fetch."""
    if options.to and options.action != "fetch":
        raise InputError("--to FOLDER goes with emo models fetch")
    config = load_config(preset=options.preset, file=options.config, overrides=options.set)
    found = places(config)
    for where in found:
        print(where.line(), file=sys.stderr)
    settings: list[str] = []
    if options.action == "fetch":
        found = [_fetched(where) for where in found]
        if options.to:
            settings = [_copy(where, Path(options.to)) for where in found]
    tell_json(options, models=[_as_row(where) for where in found], set=settings)
    if settings and not options.json:
        print(" \\\n".join(f"--set {setting}" for setting in settings))
    if not found:
        print("emo models: this configuration names no model", file=sys.stderr)
        return 0
    here = sum(where.folder is not None for where in found)
    copied = f"; copied to {options.to}, the options above name the copies" if settings else ""
    print(f"emo models: {here} of {len(found)} models are on this machine{copied}", file=sys.stderr)
    return 0


def _fetched(where: Where) -> Where:
    if where.folder is not None:
        return where
    print(f"fetching {where.model.model}", file=sys.stderr)
    folder = where.model.fetch()
    weight_files(folder, where.model.pickled)
    return replace(where, folder=folder)


def _copy(where: Where, to: Path) -> str:
    """Copy a model, and say which setting names the copy."""
    assert where.folder is not None
    target = to / where.model.model.strip("/").replace("/", "--").replace(":", "")
    if not target.exists():
        part = target.with_name(target.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        # The cache of the hub is links to files that are shared between revisions.
        shutil.copytree(where.folder, part, symlinks=False)
        part.rename(target)
    return f"{where.model.key}={target}"


def _as_row(where: Where) -> dict[str, Any]:
    return {
        "key": where.model.key,
        "model": where.model.model,
        "revision": where.model.revision,
        "folder": str(where.folder) if where.folder else None,
        "bytes_to_download": where.size,
    }
