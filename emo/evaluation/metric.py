"""What every metric is: one class that scores a request and says its result in lines and plots."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from emo.captions.splits import SPLITS
from emo.config import MAX_FAILED_SHARE
from emo.errors import EmoError, InputError
from emo.evaluation.bootstrap import Comparison, Interval, PerClip, interval, paired
from emo.evaluation.groups import Groups
from emo.evaluation.labels import LABELS, read
from emo.evaluation.overlap import Labels
from emo.evaluation.systems import System
from emo.evaluation.text import table, to_json
from emo.review.gold import gold_in, reviewed_out

T = TypeVar("T")

# Fields of a request that every metric takes, and those that say which system is meant.
ALL_TAKE = frozenset({"predicted", "gold", "metric", "compare", "plots", "by", "data_set", "options"})
ONE_SYSTEM = frozenset({"expert", "sample", "compare_expert", "compare_sample", "split"})


class Result(Protocol):
    """What a metric found: a frozen dataclass. metric: its name, with every option that changes a number."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def metric(self) -> str: ...


R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Option(Generic[T]):
    """An option of some metrics, from which `emo evaluate` makes its argument.

    name: with underscores; help: what it does, for a person; shown: what stands for its value in the help;
    reads: makes the value of a text; choices: all values there are, where they are few.
    """

    name: str
    help: str
    shown: str | None
    reads: Callable[[str], T]
    choices: tuple[T, ...] | None = None


def argument(name: str) -> str:
    """How `emo evaluate` is given an option, or another field of a request, of this name."""
    return f"--{name.replace('_', '-')}"


WHEELS_FOLDER = Option(
    "wheels",
    "the folder with the benchmark's emotion wheels: format.csv, synonym.xlsx and wheel1.xlsx to wheel5.xlsx",
    "DIR",
    str,
)
JUDGE = Option(
    "judge",
    "the text model that is asked: kind=model,model=FOLDER runs it here, kind=openai,url=URL,model=NAME asks "
    "a server",
    "KEY=VALUE,...",
    str,
)
MAX_FAILED = Option(
    "max_failed_share",
    "no score where more of the judge's answers cannot be read (default 0.5)",
    "SHARE",
    float,
)


@dataclass(frozen=True)
class Request:
    """What was asked for, as on the command line: paths, names, None where not given.

    predicted, gold, compare: one path, for a metric of several data sets also NAME=PATH for each; options:
    those of the metric itself, by name.
    """

    predicted: tuple[str, ...]
    gold: tuple[str, ...]
    metric: str = "ew"
    expert: str | None = None
    sample: int | None = None
    compare: tuple[str, ...] = ()
    compare_expert: str | None = None
    compare_sample: int | None = None
    plots: str | None = None
    split: str | None = None
    by: str | None = None
    data_set: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def given(self, option: Option[T]) -> T | None:
        """The value of an option of the metric; None where it was not given."""
        return self.options.get(option.name)

    def asked(self) -> dict[str, Any]:
        """Everything that was given, by name, those of the metric among them."""
        fields = {name: value for name, value in vars(self).items() if name != "options"}
        return {name: value for name, value in {**fields, **self.options}.items() if value not in (None, ())}


@dataclass(frozen=True)
class Scored:
    """One system's result; per_clip: what each of its numbers is made of, for intervals and tests."""

    name: str
    result: Result
    per_clip: dict[str, list[PerClip]]
    notes: tuple[str, ...] = ()


@dataclass
class Evaluation:
    """Everything that is said about a system; values are 0 to 1, unless the metric has another unit.

    intervals, comparisons: by the name of the number; groups: of --by; compared: the system of --compare;
    voters: the score of each voter that a co-judgment was made of; warnings: of experts that were trained on
    what they are scored on; draw: makes the plots, name -> SVG; page:
    where they are.
    """

    metric: "Metric[Any]"
    request: Request
    scored: Scored
    intervals: dict[str, Interval]
    compared: Scored | None = None
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    voters: dict[str, dict[str, float]] = field(default_factory=dict)
    groups: Groups | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    draw: Callable[[], dict[str, str]] = dict
    page: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result with all that decided it, as plain values."""
        return {
            **to_json(self.scored.result),
            "predicted": self.scored.name,
            "options": self.request.asked(),
            "intervals": {name: to_json(value) for name, value in self.intervals.items()},
            "compared": None
            if self.compared is None
            else {**to_json(self.compared.result), "predicted": self.compared.name},
            "comparisons": {name: to_json(value) for name, value in self.comparisons.items()},
            "voters": self.voters,
            "groups": None if self.groups is None else to_json(self.groups),
            "notes": [*dict.fromkeys([*getattr(self.scored.result, "notes", ()), *self.notes])],
            "warnings": list(self.warnings),
            "page": self.page,
        }

    def as_text(self) -> str:
        """The same for a person, in percent."""
        lines = [f"predicted: {self.scored.name}", *self.metric.lines(self.scored.result)]
        unit = self.metric.unit
        for name, value in self.intervals.items():
            lines.append(
                f"{name}: {value.level:.0%} interval {unit * value.low:.2f} to {unit * value.high:.2f}, "
                f"standard error {unit * value.standard_error:.2f} ({value.draws} draws of the clips)"
            )
        if self.voters:
            rows = [[name, *scores.values()] for name, scores in self.voters.items()]
            lines += ["", table(["voter", "F", "precision", "recall"], rows)]
        if self.groups is not None:
            lines += ["", *self.groups.lines(unit)]
        if self.compared is not None:
            lines += ["", f"compared with: {self.compared.name}", *self.metric.lines(self.compared.result)]
            lines.append("predicted minus compared, and how likely chance alone makes that much:")
            for name, found in self.comparisons.items():
                difference = found.difference
                lines.append(
                    f"{name}: {unit * difference.value:+.2f} (95% interval {unit * difference.low:+.2f} to "
                    f"{unit * difference.high:+.2f}), p = {found.p_value:.4f}, {found.clips} clips"
                )
        lines += [f"note: {note}" for note in dict.fromkeys(self.notes)]
        return "\n".join([*lines, *(f"warning: {line}" for line in self.warnings)])

    def headline(self) -> str:
        """One line with the number that counts."""
        result = self.scored.result
        value, clips = self.metric.headline(result)
        page = f"; plots: {self.page}" if self.page else ""
        return f"{result.metric} {value}, {clips} clips{page}"


class Metric(ABC, Generic[R]):
    """The protocol of all metrics.

    Everything about a metric stands in its class: its arguments, its help and its line in docs/metrics.md are
    made from it, and its JSON from the dataclass of its result.

    summary: what it measures and what it needs; details: what else a person must know who has it computed,
    in whole sentences; takes: fields of a Request that it uses besides those that
    all take; options: options of its own; benchmark: the data set that it is of, where it is of one, by a
    name of emo/evaluation/data_sets.yaml; unit: what its numbers are multiplied by for a person, 100 for
    shares; several: whether a side may be given once for each data set, as NAME=PATH; needs_gold: whether it
    compares with human labels.
    """

    summary: ClassVar[str]
    details: ClassVar[str] = ""
    takes: ClassVar[frozenset[str]] = ONE_SYSTEM
    options: ClassVar[tuple[Option[Any], ...]] = ()
    benchmark: ClassVar[str | None] = None
    unit: ClassVar[float] = 100.0
    several: ClassVar[bool] = False
    needs_gold: ClassVar[bool] = True

    def check(self, request: Request) -> None:
        """Raise InputError where an option is missing or fits no other; nothing was read yet."""

    @abstractmethod
    def score(self, request: Request) -> Evaluation:
        """Read what was asked for and score it.

        Raises InputError where gold or predictions cannot be read, before any model is loaded, and EmoError
        where no score can be given.
        """

    @abstractmethod
    def lines(self, result: R) -> list[str]:
        """A result for a person."""

    @abstractmethod
    def headline(self, result: R) -> tuple[str, int]:
        """The number that counts, as text, and how many clips it is of."""

    def plots(self, result: R) -> dict[str, str]:
        """Plots of the numbers of a result: name -> SVG."""
        return {}


def finish(metric: "Metric[Any]", request: Request, scored: Scored, compared: Scored | None) -> Evaluation:
    """Intervals of every number, and the paired test of those that both systems have."""
    notes = [*scored.notes, *(compared.notes if compared else ())]
    return Evaluation(
        metric,
        request,
        scored,
        {name: interval(parts) for name, parts in scored.per_clip.items()},
        compared,
        {}
        if compared is None
        else {
            name: paired(compared.per_clip[name], parts)
            for name, parts in scored.per_clip.items()
            if name in compared.per_clip
        },
        notes=tuple(dict.fromkeys(notes)),
        draw=lambda: metric.plots(scored.result),
    )


def gold_labels(request: Request) -> tuple[Labels, tuple[str, ...]]:
    """The label sets of gold, and what a reader must know of them: of an OUT its reviews."""
    out = reviewed_out(request.gold[0])
    if out is not None:
        labels = gold_in(out, SPLITS if request.split is None else (request.split,))
        return labels, (f"{out.url}: gold is what its reviewers agree on, {len(labels)} clips",)
    if request.split is not None:
        raise InputError("--split is of the reviews of an OUT; --gold names no OUT that has any")
    found = read(request.gold[0], LABELS)
    notes = (f"{found.where}: {found.failed} rows failed and are no gold",) if found.failed else ()
    return found.one(), notes


def systems(
    request: Request, reader: Callable[[str, str | None, int | None], System]
) -> tuple[System, System | None]:
    """The predicted system and the one that it is compared with."""
    predicted = reader(request.predicted[0], request.expert, request.sample)
    if not request.compare:
        return predicted, None
    return predicted, reader(request.compare[0], request.compare_expert, request.compare_sample)


def check_answers(judge: str, unread: int, asked: int, share: float | None) -> None:
    """Raise EmoError where so many answers of a judge could not be read that its number means nothing."""
    if unread > (MAX_FAILED_SHARE if share is None else share) * asked:
        raise EmoError(
            f"{unread} of {asked} answers of the judge {judge} could not be read, so there is no score; take "
            "another model, or allow a larger share with --max-failed-share"
        )


def missing(count: int) -> list[str]:
    """A line about gold clips that nothing was predicted for, where there are any."""
    return [f"gold clips without a prediction: {count}"] if count else []
