"""The configuration: one YAML file, validated as a whole before anything starts."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from emo import experts, extraction
from emo.captions.rules import FILTERS, Rules
from emo.captions.splits import SPLITS, VIDEO_OF
from emo.captions.windows import Window, parse_window
from emo.cojudgment.rule import Learned, Rule
from emo.engines.settings import ModelSettings
from emo.errors import InputError
from emo.extraction.writers import TextServerSettings
from emo.finetuning.settings import Finetune
from emo.marks import NoResult
from emo.media.speech import SpeechSettings
from emo.registry import is_place
from emo.store.storage import S3Settings

MOST_VALUES = 100_000
# Of a value in a message.
_LONGEST_SHOWN = 200
MAX_FAILED_SHARE = 0.5
DEFAULT_PRESET = "signals"
# What may hold a credential: no run file shows it, and no command line may have it.
SECRET_KEYS = frozenset({"s3.key", "s3.secret", "s3.token", "nightly.webhook", "nightly.command"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ingest(_Section):
    """frames: how many are taken of a clip; longest_side: of a frame, in pixels; deadline_s: seconds that
    the decoder may take for one clip; memory_mib: memory that it may take for one; audio: whether the sound
    is kept; max_audio_s: seconds of sound that are kept at most.

    workers: decoders at once, at least 1; `auto` is one per CPU of the cluster; shard_rows: clips per
    committed file, at most.
    transcribe: a Whisper that writes down what is said in clips without a transcript, one copy per worker;
    transcribe_gpus: the share of a GPU that each copy takes.
    """

    frames: int = Field(8, ge=1, le=1024)
    longest_side: int = Field(448, ge=16, le=4096)
    jpeg_quality: int = Field(92, ge=1, le=100, description="of the stored frames")
    loop_filter: bool = Field(
        True,
        description="`false`: the decoder does not smooth the edges of blocks. A clip of H.264 then takes a "
        "tenth less time; its frames differ by 36 to 50 dB, those of VP8 by 28",
    )
    audio: bool = True
    max_audio_s: float = Field(600.0, gt=0)
    deadline_s: NoResult[float] = Field(120.0, gt=0)
    memory_mib: NoResult[int] = Field(3072, ge=256)
    workers: NoResult[int | Literal["auto"]] = "auto"
    shard_rows: NoResult[int] = Field(50, ge=1, le=1000)
    transcribe: SpeechSettings | None = None
    transcribe_gpus: NoResult[float] = Field(0.25, gt=0, le=1)

    @field_validator("workers")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected auto or a whole number of at least 1")
        return value


class Adjudicate(_Section):
    """A text model that decides where the voters do not agree: it picks from the labels that they named.

    below: it is asked about clips whose agreement is lower, 0 to 1. model: it runs in this process; server:
    it is behind an OpenAI-compatible server. One of the two is given.
    """

    below: float = Field(0.3, ge=0, le=1)
    model: ModelSettings | None = None
    server: TextServerSettings | None = None

    @model_validator(mode="after")
    def _one(self) -> "Adjudicate":
        if (self.model is None) == (self.server is None):
            raise ValueError("expected either model or server")
        return self

    @property
    def text_model(self) -> ModelSettings | TextServerSettings:
        """The one that is given."""
        one = self.model or self.server
        assert one is not None
        return one


class Judge(_Section):
    """trade_off: the knob between recall and precision: `recall`, `balanced`, `precision`, or the share of
    support that a label needs, from 0 to 1.

    learned: a file that `emo judge --calibrate` or `--estimate` wrote. adjudicate: a text model that decides
    where agreement is low; None: the votes decide everywhere.
    """

    trade_off: str | float = "balanced"
    learned: str | None = None
    adjudicate: Adjudicate | None = None

    @field_validator("trade_off")
    @classmethod
    def _known(cls, value: str | float) -> str | float:
        try:
            Rule.of(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    def rule(self) -> Rule:
        """The rule of these settings; raises InputError where the learned file is not one."""
        return Rule.of(self.trade_off, Learned.load(self.learned) if self.learned else None)


class Report(_Section):
    """gallery: how many clips the page shows in full."""

    gallery: int = Field(60, ge=0, le=1000)


class GrowsTo(_Section):
    """What all workers of an autoscaling cluster together may hold. cpus: all CPUs; gpus: all GPUs."""

    cpus: int = Field(0, ge=0)
    gpus: int = Field(0, ge=0)


class Ray(_Section):
    """address: of a running cluster, None: RAY_ADDRESS or a fresh local one; num_cpus: CPUs of a local one,
    None: all.

    grows_to: the most that the cluster may become, where an autoscaler or a person adds nodes; None: what its
    autoscaler allows.
    """

    address: str | None = None
    num_cpus: int | None = Field(None, ge=1)
    grows_to: GrowsTo | None = None


class Nightly(_Section):
    """What `emo nightly` does besides labelling.

    source, out: taken where no SOURCE and --out are given; max_hours: the night stops cleanly
    after so many; max_gpu_hours: or after so many hours of all GPUs together; retries: how many nights a row
    that failed for a passing reason is tried again; compact_mib: size of the files that small ones are merged
    into, 0: none are; webhook: an http(s) address that gets the summary as JSON by POST; command: a program
    and its arguments, gets the summary on its standard input; run files do not show it.
    """

    source: str | None = None
    out: str | None = None
    max_hours: float | None = Field(None, gt=0)
    max_gpu_hours: float | None = Field(None, gt=0)
    retries: int = Field(3, ge=0)
    compact_mib: int = Field(256, ge=0, le=2048)
    webhook: SecretStr | None = None
    command: tuple[SecretStr, ...] = ()

    @field_validator("webhook")
    @classmethod
    def _http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("expected an http:// or https:// address")
        return value


class Retention(_Section):
    """What a night removes; nothing by default.

    runs_days: run files and summaries older than so many days, but never the newest ones, by which settings
    are compared; gone: `drop` removes the rows of clips whose files have left the source, `keep` leaves them.
    """

    runs_days: float | None = Field(None, gt=0)
    gone: Literal["keep", "drop"] = "keep"


class Prices(_Section):
    """What computing costs, for estimates and summaries.

    gpu_hour, cpu_hour: what an hour of one costs, 0: not counted; currency: of the prices.
    """

    gpu_hour: float = Field(0.0, ge=0)
    cpu_hour: float = Field(0.0, ge=0)
    currency: str = "USD"


class Caption(_Section):
    """What `emo caption` makes and what its filters leave out.

    experts: names in `experts`, None: all; prompts: names of the package or text files; windows: parts of
    a clip in per cent; samples: how often an expert is asked the same, 1 to 100, `auto`: as often as the
    target needs; target: how many captions the filters shall leave, None: one per combination is made.
    filters: a filter's name with false switches it off; the keys from `tail` to `duplicates_among` are bounds
    of filters. splits: shares that sum to 1; video_of: a pattern whose group finds, in a whole video_id, the
    video that the clip was cut from.
    """

    experts: tuple[str, ...] | None = None
    prompts: tuple[str, ...] = Field(("person", "face", "body", "situation", "voice"), min_length=1)
    windows: tuple[str, ...] = Field(("0-100", "0-50", "50-100"), min_length=1)
    samples: int | Literal["auto"] = "auto"
    target: int | None = Field(None, ge=1)
    filters: dict[str, bool] = {}
    tail: float = Field(Rules.tail, ge=0, lt=0.5)
    shortest: int = Field(Rules.shortest, ge=0)
    longest: int = Field(Rules.longest, ge=1)
    repeated: float = Field(Rules.repeated, ge=0, le=1)
    language: str | None = Field(Rules.language, pattern="^[a-z]{2}$")
    margin: float = Field(Rules.margin, ge=0, le=1)
    crowd_least: int = Field(Rules.crowd_least, ge=1)
    crowd_share: float = Field(Rules.crowd_share, ge=0, le=1)
    duplicate: float = Field(Rules.duplicate, gt=0, le=1)
    duplicates_among: Literal["clip", "all"] = "clip"
    splits: dict[str, float] = {"train": 0.9, "validation": 0.05, "test": 0.05}
    video_of: str = VIDEO_OF

    @field_validator("windows")
    @classmethod
    def _windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_window(text)
        return value

    @field_validator("samples")
    @classmethod
    def _samples(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 100:
            raise ValueError("expected auto or a whole number from 1 to 100")
        return value

    @field_validator("filters")
    @classmethod
    def _filters(cls, value: dict[str, bool]) -> dict[str, bool]:
        if unknown := sorted(value.keys() - FILTERS.keys()):
            raise ValueError(f"unknown filter {', '.join(unknown)}; expected some of: {', '.join(FILTERS)}")
        return value

    @field_validator("splits")
    @classmethod
    def _splits(cls, value: dict[str, float]) -> dict[str, float]:
        shares = {split: value.get(split, 0.0) for split in SPLITS}
        if value.keys() - set(SPLITS) or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"expected shares of {', '.join(SPLITS)} that sum to 1")
        return shares

    @field_validator("video_of")
    @classmethod
    def _video_of(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is no pattern: {error}") from None
        if groups != 1:
            raise ValueError(f"expected a pattern with one group, not {groups}")
        return value

    def rules(self) -> Rules:
        """The filters' bounds."""
        bounds = {name: getattr(self, name) for name in Rules.__dataclass_fields__ if hasattr(self, name)}
        return Rules(on=frozenset(name for name in FILTERS if self.filters.get(name, True)), **bounds)

    def parts(self) -> list[Window]:
        """The windows, each once."""
        return [parse_window(text) for text in dict.fromkeys(self.windows)]


class Config(_Section):
    """All that a run can be told; every key has a default in the preset `signals`.

    experts: who describes the clips, at least one; extract: how labels are taken from descriptions;
    max_failed_share: a command ends with exit code 3 where a larger share of a step's rows failed.
    """

    ingest: Ingest = Ingest()
    experts: tuple[dict[str, Any], ...]
    extract: dict[str, Any] = {"kind": "rules"}
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

    @field_validator("experts", mode="before")
    @classmethod
    def _experts(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("expected a list of experts, each with at least a kind")
        if not value:
            raise ValueError(f"at least one expert is needed, such as {{kind: words}}; kinds are: {_kinds()}")
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
                settings = model(**{**named, **entry})
            except ValidationError as error:
                raise ValueError(f"entry {number} ({entry['kind']}): {explain(error, model)}") from None
            checked.append(settings.model_dump())
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
            return model(**value).model_dump()
        except ValidationError as error:
            raise ValueError(explain(error, model)) from None

    @model_validator(mode="after")
    def _unique_names(self) -> "Config":
        names = [expert["name"] for expert in self.experts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"experts: two are named {name!r}; give one of them another name")
        return self

    @model_validator(mode="after")
    def _words_vote(self) -> "Config":
        if self.extract.get("transcript") == "apart" and not any(
            expert["kind"] in _WORDS_ALONE for expert in self.experts
        ):
            raise ValueError(
                "extract.transcript: apart has the words vote on their own, and no expert reads them; "
                "add {kind: transcript} to experts"
            )
        return self

    def expert(self, name: str) -> dict[str, Any]:
        """The settings of one expert by its name."""
        for settings in self.experts:
            if settings["name"] == name:
                return settings
        known = ", ".join(settings["name"] for settings in self.experts)
        raise InputError(f"no expert is named {name!r} in this configuration; it has: {known}")


# The kinds that read what is said and nothing else.
_WORDS_ALONE = ("transcript", "words")


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
        tree["experts"] = [_of_expert(entry) for entry in tree.get("experts", ())]
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


def _without_secrets(tree: dict[str, Any]) -> dict[str, Any]:
    sections = {path.partition(".")[0] for path in SECRET_KEYS}
    return {
        name: {key: value for key, value in section.items() if f"{name}.{key}" not in SECRET_KEYS}
        if name in sections and isinstance(section, dict)
        else section
        for name, section in tree.items()
    }


def _of_expert(entry: dict[str, Any]) -> dict[str, Any]:
    return _still_known(entry, experts.expert_class(entry["kind"]).Settings)


def _still_known(tree: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The keys of an earlier version's run that this version has: what it lacks decides nothing any more."""
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        field = model.model_fields.get(key)
        if field is None:
            continue
        section = section_of(field.annotation)
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
    _refuse_secret(path)
    value = read_yaml(text, f"--set {override[:80]!r}: the value")
    if isinstance(value, dict):
        for key in value:
            _refuse_secret(f"{path}.{key}")
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


def _refuse_secret(path: str) -> None:
    # Command lines are seen by every user of a machine, and by the job list of a cluster.
    if any(path == secret or path.startswith(f"{secret}.") for secret in SECRET_KEYS):
        raise InputError(f"--set {path}: no credentials on a command line; use the environment or a file")


def _entry(entries: list[Any], name: str, at: str) -> Any:
    for entry in entries:
        if isinstance(entry, dict) and name == entry.get("name", entry.get("kind")):
            return entry
    names = (entry.get("name", entry.get("kind")) for entry in entries if isinstance(entry, dict))
    known = ", ".join(map(str, names))
    raise InputError(f"--set: there is no {at}; it has: {known}")


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Every fault in one line: the path of the key, what was expected, what was there.

    model: what was validated; with it an unknown key is told with the known ones that it resembles.
    """
    faults = []
    for fault in error.errors():
        path = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"unknown key{_near(fault['loc'], model)}"
        elif fault["type"] == "missing":
            message = "is missing"
        elif fault["type"] != "value_error":
            # What was meant as a credential is not shown, whatever is wrong with it.
            secret = any(path == key or path.startswith(f"{key}.") for key in SECRET_KEYS)
            shown = type(fault["input"]).__name__ if secret else _shown(fault["input"])
            message = f"{message[0].lower()}{message[1:]}, not {shown}"
        faults.append(f"{path}: {message}" if path else message)
    return "; ".join(faults)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field of this type holds, also where it may be null; None for a plain value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _near(path: tuple[int | str, ...], model: type[BaseModel] | None) -> str:
    *parents, key = map(str, path)
    for parent in parents:
        field = model.model_fields.get(parent) if model else None
        model = section_of(field.annotation) if field else None
    near = get_close_matches(key, model.model_fields) if model else []
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _shown(value: Any) -> str:
    if not isinstance(value, str | int | float | bool | None):
        return type(value).__name__
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
