"""Which checkpoints a configuration names, where they are, and what a run would download first."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from emo import experts, extraction
from emo.config import Config
from emo.engines.model_cards import licence_of
from emo.engines.models import NamedModel


@dataclass(frozen=True)
class Where:
    """Where one model is. folder: None where it is not on this machine; size: bytes to download, or None."""

    model: NamedModel
    folder: Path | None
    size: int | None

    def line(self) -> str:
        """What a person reads."""
        if self.folder is not None:
            licence = licence_of(self.folder)
            return f"{self.model.model}: here{f' (licence {licence})' if licence else ''}"
        how_much = f"{self.size / 1e6:,.0f} MB" if self.size else "size not known: the hub does not answer"
        return f"{self.model.model}: to be downloaded, {how_much}"


def named(config: Config) -> list[NamedModel]:
    """Every model that the steps of a run would load, each once."""
    found: list[NamedModel] = []
    for settings in config.experts:
        cls = experts.expert_class(settings.kind)
        found += _under(f"experts.{settings.name}", cls.models(settings))
    extractor = extraction.extractor_class(config.extract.kind)
    found += _under("extract", extractor.models(config.extract))
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
