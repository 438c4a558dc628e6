"""The configuration: one YAML file, validated as a whole before anything starts."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from emo import experts, extraction
from emo.captions.settings import Caption
from emo.cojudgment.rounds import AgreeOn, Rounds
from emo.cojudgment.settings import Judge
from emo.errors import InputError
from emo.estimates import Prices
from emo.experts.protocol import Settings as ExpertSettings
from emo.extraction.protocol import Settings as ExtractorSettings
from emo.finetuning.settings import Finetune
from emo.media.settings import Ingest
from emo.nightly.settings import Nightly, Retention
from emo.registry import is_place
from emo.report.settings import Report
from emo.run.settings import Ray
from emo.section import Section, section_of
from emo.split.settings import Split
from emo.store.s3 import S3Settings
from emo.wrong_settings import SECRET_KEYS, explain, is_secret

MOST_VALUES = 100_000
MAX_FAILED_SHARE = 0.5
# Sections whose keys depend on the kind.
KINDS = ("experts", "extract")
DEFAULT_PRESET = "signals"


class Config(Section):
    """All that a run can be told. Every key has a default in the preset `signals`."""

    split: Split = Split()
    ingest: Ingest = Ingest()
    rounds: tuple[dict[str, int], ...] = ()
    """The rounds in which the experts are asked. Each names experts, with how many answers each has given by
    its end, such as `{affectgpt: 2}` and then `{affectgpt: 7, internvl: 1}`. A further round asks only about
    the clips that are still open. An expert that no round names answers in the first one. Without rounds
    every expert answers every clip as often as it is set to. The short form is `experts.NAME.first`.
    """
    enough: float | None = Field(None, gt=0, le=1)
    """The agreement that closes a clip after a round. Rounds need it; `emo judge --calibrate GOLD --rounds`
    recommends one.
    """
    agree_on: AgreeOn = "families"
    """What the answers to a clip must agree on to close it. With `families` they name the same families of
    emotions, and what an answer names first counts most. With `words` they name the same words or
    near-synonyms, and all count alike. Words agree less often, so `enough` is lower for them.
    """
    experts: tuple[SerializeAsAny[ExpertSettings], ...]
    """The experts that describe the clips, at least one."""
    extract: SerializeAsAny[ExtractorSettings] = Field(
        default_factory=lambda: extraction.settings_of({"kind": "rules"})
    )
    """How labels are taken from descriptions."""
    judge: Judge = Judge()
    report: Report = Report()
    ray: Ray = Ray()
    s3: S3Settings = S3Settings()
    nightly: Nightly = Nightly()
    retention: Retention = Retention()
    prices: Prices = Prices()
    caption: Caption = Caption()
    finetune: Finetune = Finetune()
    max_failed_share: float = Field(MAX_FAILED_SHARE, ge=0, le=1)
    """A command ends with exit code 3 where a larger share of a step's rows failed."""
    purpose: str | None = None
    """What the labels are for, in your words. It stands in run files and in exports."""

    @field_validator("experts", mode="before")
    @classmethod
    def _experts(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("expected a list of experts, each with at least a kind")
        if not value:
            raise ValueError(f"at least one expert is needed, such as {{kind: words}}; kinds are: {_kinds()}")
        in_all = {name: count for one in info.data.get("rounds", ()) for name, count in one.items()}
        checked = []
        for number, entry in enumerate(value):
            if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
                raise ValueError(f"entry {number}: expected a mapping with a kind, one of {_kinds()}")
            try:
                model = experts.expert_class(entry["kind"]).Settings
            except InputError as error:
                raise ValueError(f"entry {number}: {error}") from None
            try:
                # A kind that is the place of a class makes no name for a column and a folder.
                named = {} if is_place(entry["kind"]) else {"name": entry["kind"]}
                one = {**named, **entry}
                if (name := str(one.get("name"))) in in_all:
                    one.setdefault("samples", in_all[name])
                if one.get("samples") != in_all.get(name, one.get("samples")):
                    raise ValueError(
                        f"entry {number} ({name}): samples is {one['samples']}, and in the last round that "
                        f"names it there are {in_all[name]} answers; leave one of the two out"
                    )
                checked.append(model(**one))
            except ValidationError as error:
                raise ValueError(f"entry {number} ({entry['kind']}): {explain(error, model)}") from None
        return checked

    @field_validator("extract", mode="before")
    @classmethod
    def _extract(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise ValueError("expected a mapping with a kind")
        try:
            model = extraction.extractor_class(value["kind"]).Settings
        except InputError as error:
            raise ValueError(str(error)) from None
        try:
            return model(**value)
        except ValidationError as error:
            raise ValueError(explain(error, model)) from None

    @model_validator(mode="after")
    def _unique_names(self) -> "Config":
        names = [expert.name for expert in self.experts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"experts: two are named {name!r}; give one of them another name")
        return self

    @model_validator(mode="after")
    def _rounds(self) -> "Config":
        try:
            rounds = self.asked_in_rounds
        except InputError as error:
            raise ValueError(str(error)) from None
        if rounds is None:
            if self.enough is not None:
                raise ValueError("enough: nothing is asked in rounds; give rounds, or first to an expert")
            return self
        for expert in self.experts:
            if expert.samples > 1 and _says_the_same(expert):
                raise ValueError(
                    f"rounds: {expert.name} has temperature 0, so its answers are all the same and would "
                    "close every clip; expected a temperature above 0, or one answer"
                )
        return self

    @model_validator(mode="after")
    def _words_vote(self) -> "Config":
        if getattr(self.extract, "transcript", None) == "apart" and not any(
            expert.kind in _WORDS_ALONE for expert in self.experts
        ):
            raise ValueError(
                "extract.transcript: apart has the words vote on their own, and no expert reads them; "
                "add {kind: transcript} to experts"
            )
        return self

    @property
    def asked_in_rounds(self) -> Rounds | None:
        """The rounds of `rounds`, or of `first` of experts; None where all is asked at once.

        Raises InputError where they are none.
        """
        samples = {expert.name: expert.samples for expert in self.experts}
        first = {expert.name: expert.first for expert in self.experts if expert.first is not None}
        if not self.rounds and not first:
            return None
        if self.rounds and first:
            raise InputError(f"rounds: {min(first)} has first; expected either rounds or first")
        if self.enough is None:
            raise InputError("rounds: enough is missing, the agreement that closes a clip, such as 0.5")
        # Who has no `first` gives all its answers at once, beside the first ones of the others.
        asked = self.rounds or (first, {name: samples[name] for name in first})
        return Rounds.of(asked, samples, self.enough, self.agree_on)

    def expert(self, name: str) -> ExpertSettings:
        """The settings of one expert by its name."""
        for settings in self.experts:
            if settings.name == name:
                return settings
        known = ", ".join(settings.name for settings in self.experts)
        raise InputError(f"no expert is named {name!r} in this configuration; it has: {known}")


# The kinds that read what is said and nothing else.
_WORDS_ALONE = ("transcript", "words")


def _says_the_same(expert: ExpertSettings) -> bool:
    """Whether all answers of an expert to a clip are one, because it always takes the likeliest."""
    return 0 in (getattr(holder, "temperature", None) for holder in (expert, getattr(expert, "server", None)))


def _kinds() -> str:
    return ", ".join(experts.REGISTRY.names())


def load_config(
    *,
    preset: str | None = None,
    file: str | None = None,
    tree: dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """The configuration of a preset or a file, with `key=value` overrides; raises InputError naming the key.

    tree: the values of an earlier run instead; credentials are not kept in run files, and come from the
    environment then. A file starts from nothing but the defaults of this module, so that what it says is all
    there is.
    """
    if preset is not None and file is not None:
        raise InputError("--preset and --config exclude each other: a preset is a configuration file")
    earlier = tree is not None
    if tree is not None:
        tree = _still_known(_without_secrets(tree), Config)
        tree["experts"] = [
            _still_known(entry, experts.expert_class(entry["kind"]).Settings)
            for entry in tree.get("experts", ())
        ]
        if extract := tree.get("extract"):
            tree["extract"] = _still_known(extract, extraction.extractor_class(extract["kind"]).Settings)
    elif file is not None:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"configuration file {file!r} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"configuration file {file!r} cannot be read: {error}") from None
        tree = _parse(text, file)
    else:
        name = preset or DEFAULT_PRESET
        tree = _parse(_preset_text(name), f"preset {name}")
    for override in overrides:
        _apply(tree, override)
    origin = "the last run's configuration" if earlier else file or f"preset {preset or DEFAULT_PRESET}"
    return validate(tree, origin)


def _without_secrets(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    return {
        key: _without_secrets(value, f"{before}{key}.") if isinstance(value, dict) else value
        for key, value in tree.items()
        if f"{before}{key}" not in SECRET_KEYS
    }


def _still_known(tree: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The keys of an earlier version's run that this version has: what it lacks decides nothing any more."""
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        field = model.model_fields.get(key)
        if field is None:
            continue
        section = None if key in KINDS else section_of(field.annotation)
        kept[key] = _still_known(value, section) if section and isinstance(value, dict) else value
    return kept


def validate(tree: Any, where: str) -> Config:
    """A configuration from plain values; raises InputError with every fault, each by its path."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error, Config)}") from None


def presets() -> list[str]:
    """The names of the presets in the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("emo.presets").iterdir()
        if entry.name.endswith(".yaml")
    )


@cache
def _preset_text(name: str) -> str:
    if name not in presets():
        raise InputError(f"unknown preset {name!r}; expected one of: {', '.join(presets())}")
    return (resources.files("emo.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def read_yaml(text: str, where: str) -> Any:
    """The plain values of a YAML text; raises InputError for whatever it does to its reader."""
    try:
        tree = yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{where} is not YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError) as error:
        # A date such as 2024-13-45 and a number of thousands of digits are no error of YAML's own.
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())[:300]}") from None
    # A few aliases of aliases write out to billions of values.
    pending, seen = [tree], 0
    while pending:
        value = pending.pop()
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        seen += 1
        if seen + len(pending) > MOST_VALUES:
            raise InputError(f"{where} holds more than {MOST_VALUES} values; expected a few hundred")
    return tree


def _parse(text: str, where: str) -> dict[str, Any]:
    tree = read_yaml(text, where)
    if not isinstance(tree, dict):
        raise InputError(f"{where}: expected a mapping of sections such as ingest and experts")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    """`a.b=value` sets one key, `experts.NAME.key=value` one of an expert; the value is read as YAML."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(f"--set {override!r}: expected key=value, such as ingest.frames=16")
    _refuse_secrets(path)
    value = read_yaml(text, f"--set {override[:80]!r}: the value")
    _refuse_secrets(path, value)
    node: Any = tree
    *parents, last = path.split(".")
    for depth, key in enumerate(parents):
        at = ".".join(parents[: depth + 1])
        if isinstance(node, dict):
            node = node.setdefault(key, {})
        elif isinstance(node, list):
            node = _entry(node, key, at)
        else:
            raise InputError(f"--set {override!r}: {at} cannot be set, its parent is a single value")
    if isinstance(node, list):
        raise InputError(f"--set {override!r}: expected {path}.KEY=value")
    if not isinstance(node, dict):
        raise InputError(f"--set {override!r}: {'.'.join(parents)} is a single value")
    node[last] = value


def _refuse_secrets(path: str, value: Any = None) -> None:
    # Command lines are seen by every user of a machine, and by the job list of a cluster.
    if is_secret(path):
        raise InputError(f"--set {path}: no credentials on a command line; use the environment or a file")
    for key, below in value.items() if isinstance(value, dict) else ():
        _refuse_secrets(f"{path}.{key}", below)


def _entry(entries: list[Any], name: str, at: str) -> Any:
    for entry in entries:
        if isinstance(entry, dict) and name == entry.get("name", entry.get("kind")):
            return entry
    names = (entry.get("name", entry.get("kind")) for entry in entries if isinstance(entry, dict))
    known = ", ".join(map(str, names))
    raise InputError(f"--set: there is no {at}; it has: {known}")
