"""The page docs/configuration.md: every key of the configuration, read off the models that validate it.

`python -m emo.configuration_page > docs/configuration.md` writes it. What a key means stands once, below it.
"""

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from emo import experts, extraction
from emo.config import KINDS, Config
from emo.engines.settings import ModelSettings
from emo.experts import protocol
from emo.extraction import protocol as extraction_protocol
from emo.keys import Key, key_of, keys
from emo.section import opening, section_of

_INTRODUCTION = """\
# Keys of the configuration

One YAML file holds all keys (`--config FILE`); `--set key=value` sets one of them. A key is named here by its
path: `ingest.frames` is the key `frames` in the section `ingest`. A default holds where the file does not
have the key. A preset is a file too, and says more than the defaults: `emo label --preset NAME` uses it.
Unknown keys are refused.

Only `experts` is required. `null` is YAML for "nothing". Times that end in `_s` are seconds, sizes in `_mib`
are MiB.

This page is written by `python -m emo.configuration_page`; do not edit it by hand.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *_general(), *_experts(), *_extractors()])


def _general() -> Iterator[str]:
    plain = []
    for name, field in Config.model_fields.items():
        if name in KINDS:
            continue
        if model := section_of(field.annotation):
            yield from _part(f"`{name}`", opening(model), keys(model, f"{name}."))
        else:
            plain += list(key_of(Config, name, field))
    yield from _part("Keys outside a section", "", plain)


def _experts() -> Iterator[str]:
    text = (
        f"`experts` is a list. Each entry has a `kind` ({_names(experts.REGISTRY.own)}) and the keys of "
        "that kind. `--set experts.NAME.key=value` sets one key of the expert of that name. All kinds share "
        "these keys:"
    )
    common = keys(protocol.Settings)
    yield from _part("`experts`", text, common)
    text = (
        "Kinds that load a model into this process, experts and extractors, have these keys too. Where the "
        "table of a kind names one again, that line holds:"
    )
    yield from _part("Models in this process", text, keys(ModelSettings), level=3)
    for kind in sorted(experts.REGISTRY.own):
        model = experts.expert_class(kind).Settings
        yield from _kind("Expert", kind, model, common)


def _extractors() -> Iterator[str]:
    text = (
        "`extract` says how labels are taken from descriptions. It has a `kind` "
        f"({_names(extraction.REGISTRY.own)}) and the keys of that kind; all stand under `extract`, such as "
        "`extract.kind`."
    )
    common = keys(extraction_protocol.Settings)
    yield from _part("`extract`", text, common)
    for kind in sorted(extraction.REGISTRY.own):
        yield from _kind("Extractor", kind, extraction.extractor_class(kind).Settings, common)


def _kind(what: str, kind: str, model: type[BaseModel], common: list[Key]) -> Iterator[str]:
    shared = "the keys that all kinds share"
    known = common
    if issubclass(model, ModelSettings):
        shared += " and those of models in this process"
        known = [*common, *keys(ModelSettings)]
    own = [key for key in keys(model) if key not in known]
    also = f"It has {shared}{'. Its own keys:' if own else ', and no others.'}"
    yield from _part(f"{what} `{kind}`", also, own, level=3)


def _part(title: str, text: str, rows: list[Key], level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} {title}\n"
    if text:
        yield f"{text}\n"
    if rows:
        yield "| key | allowed | default | meaning |\n|---|---|---|---|"
        for row in rows:
            cells = (f"`{row.path}`", row.allowed, row.default, row.meaning)
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


def _names(registry: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(registry))


if __name__ == "__main__":
    print(page(), end="")
