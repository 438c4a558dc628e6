"""emo from Python: what the commands do, as functions. Each is an attribute of the package `emo`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from emo import extraction
from emo.aligned import answers_of
from emo.cojudgment.rule import Learned, Rule
from emo.cojudgment.votes import Voters, read_voters
from emo.config import Config, load_config, validate
from emo.errors import InputError, RowError, TooManyFailedError
from emo.evaluation import scoring
from emo.evaluation.scoring import Evaluation
from emo.extraction.protocol import ExtractRow
from emo.jobs import judge_given as given
from emo.jobs.extract import ExtractStep
from emo.jobs.label import Labelled, label_source
from emo.needs import check_here
from emo.review import teaching
from emo.run import connection
from emo.store.reading import check_form, in_form
from emo.store.runs import too_many_failed
from emo.store.s3 import s3_in_use, use_s3
from emo.terminal.progress import say
from emo.terminal.signals import ended_by_signals

# Of judgments that stand in no OUT these columns say nothing.
_OF_AN_OUT = ("run_id", "seen", "round_agreement", "closed_in")


def label(
    source: str | Path,
    out: str | Path,
    *,
    preset: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    set: Mapping[str, Any] | None = None,
    redo: bool = False,
) -> Labelled:
    """Label what is new or changed at a source, as `emo label` does; `emo.read` gives the labels.

    source: a folder, a glob, an `s3://` prefix or a manifest; out: the folder or `s3://` prefix of the
    tables; preset: the name of a preset; config: a YAML file, or its content as a mapping, instead of a
    preset; set: keys to change, such as `{"ingest.frames": 4}`; redo: make all rows of the source anew.

    Ray starts in this process and ends with the call, or RAY_ADDRESS names the cluster to join; within
    `emo.cluster` the call shares what is connected. Progress goes to standard error. Raises InputError before
    anything starts where an argument, the source or a model is wrong, and TooManyFailedError after the run
    where more than `max_failed_share` of a step failed; rows that are done stay in `out` whatever is raised,
    and the same call goes on from there.
    """
    settings = _configuration(preset, config, set)
    done = label_source(settings, str(source), str(out), redo, say)
    if fault := too_many_failed(done.steps, settings.max_failed_share):
        raise TooManyFailedError(f"{fault}; what was made is in {out}")
    return done


@contextmanager
def cluster(address: str | None = None, *, num_cpus: int | None = None) -> Iterator[None]:
    """Within this block all calls share one Ray: the next call finds it and its processes there.

    address: of a running cluster, otherwise that of RAY_ADDRESS; without either Ray starts on this machine,
    with `num_cpus` CPUs or all of them, and ends with the block. A configuration with a `ray.address` must
    name the same cluster.

    Raises InputError where this process uses Ray otherwise, and EmoError where the cluster does not answer.
    """
    with ended_by_signals(), connection.cluster(address, num_cpus):
        yield


def judge(
    votes: Any,
    *,
    trade_off: str | float = "balanced",
    learned: str | Path | Learned | None = None,
    gold: str | Path | None = None,
    estimate: bool = False,
    form: str = "arrow",
) -> Any:
    """Fuse votes into one label set per clip: the co-judgment alone, without an OUT and without Ray.

    votes: a file or folder, a Table of Arrow, a DataFrame of pandas or polars, or a list of dicts, with
    `video_id`, `expert`, `sample` and `labels` (best first; empty: no emotion seen), and if known `strengths`
    (0 to 1), `alternatives` (labels of one number are a guess between them, 0: none), `from_transcript`,
    `status` and `run_id`; trade_off: `precision`, `balanced`, `recall`, or the
    bar as a share from 0 to 1. What the experts are worth comes from one of these: learned: a file of
    `emo judge --save`, or a Learned; gold: a file of true labels to learn it on first; estimate: learn it
    from how far the experts agree.

    Gives one row per clip, sorted by `video_id`, as the table `judgments` has it, in the `form` of
    `emo.read`. A clip whose voters all failed is a failed row. Raises InputError where votes are none.
    """
    check_form(form)
    voters = _voters(votes)
    worth = _worth(voters, learned, gold, estimate)
    rule = Rule.of(trade_off, worth)
    rows = given.given_rows(given.by_clip(voters), rule, rule.judge, "")
    return in_form(rows.sort_by("video_id").drop_columns(list(_OF_AN_OUT)), form)


def extract(
    texts: Sequence[str],
    *,
    transcripts: Sequence[str | None] | None = None,
    preset: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    set: Mapping[str, Any] | None = None,
) -> list[list[str] | RowError]:
    """The emotion words of each text, by the extractor of the configuration; as many entries as texts.

    texts: descriptions of one person each; transcripts: what is said in the clip of each text, None where
    nothing is or the text says it already; preset, config, set: as of `label` (`extract` alone counts).

    An entry is the labels in lower case, in the order of the text, empty where it names no emotion; or the
    RowError (`code`, `message`) of a text that could not be read. Raises InputError where the extractor
    cannot run here.
    """
    if isinstance(texts, str):
        raise InputError("texts is one text; expected a list of texts")
    said = transcripts if transcripts is not None else [None] * len(texts)
    if len(said) != len(texts):
        raise InputError(f"{len(said)} transcripts for {len(texts)} texts; expected one for each")
    settings = _configuration(preset, config, set)
    check_here(ExtractStep(settings.extract, settings.experts).needs(), say)
    extractor = extraction.load(settings.extract)
    try:
        rows = [ExtractRow(*pair, str(number)) for number, pair in enumerate(zip(texts, said, strict=True))]
        read = answers_of(extractor.read, rows, "extractor_error")
    finally:
        extractor.close()
    return [one if isinstance(one, RowError) else one.labels for one in read]


def evaluate(
    predicted: str | Path | Sequence[str],
    gold: str | Path | Sequence[str] = (),
    *,
    metric: str = "ew",
    **options: Any,
) -> Evaluation:
    """Score predictions against human labels, as `emo evaluate` does.

    predicted, gold: an OUT, one of its tables, or a file (no gold for a metric that needs none); metric: as
    of `--metric`; for `unibench` a list of `NAME=PATH` is a side too; options: those of the command, with
    underscores (`wheels`, `expert`, `compare`, `plots`, …).

    The result prints as a table (`as_text()`), as one line (`headline()`) and as plain values (`as_json()`).
    Raises InputError where something is wrong, before any model is loaded.
    """
    if "compare" in options:
        options["compare"] = _paths(options["compare"])
    return scoring.run(scoring.request_of(_paths(predicted), _paths(gold), metric, options))


def _paths(value: str | Path | Sequence[str]) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))


def _configuration(
    preset: str | None, config: str | Path | Mapping[str, Any] | None, changed: Mapping[str, Any] | None
) -> Config:
    if isinstance(config, Mapping):
        if preset is not None or changed:
            raise InputError("a mapping is the whole configuration; preset and set go without it")
        settings = validate(dict(config), "config")
    else:
        # A value of JSON is one of YAML.
        overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in (changed or {}).items()]
        file = None if config is None else str(config)
        settings = load_config(preset=preset, file=file, overrides=overrides)
    use_s3(settings.s3)
    return settings


def _voters(votes: Any) -> Voters:
    if isinstance(votes, str | Path):
        return given.votes_from(str(votes), s3_in_use())
    try:
        table = pa.Table.from_pylist(votes) if isinstance(votes, list) else pa.table(votes)
    except (TypeError, ValueError, pa.ArrowException, AttributeError) as error:
        raise InputError(f"votes cannot be read as a table: {error}") from None
    return read_voters(table)


def _worth(
    voters: Voters, learned: str | Path | Learned | None, gold: str | Path | None, estimate: bool
) -> Learned | None:
    if (learned is not None) + (gold is not None) + estimate > 1:
        raise InputError("learned, gold and estimate exclude each other: each says what experts are worth")
    if gold is not None or estimate:
        return teaching.learn(voters.table, None if gold is None else str(gold))
    return learned if learned is None or isinstance(learned, Learned) else Learned.load(learned)
