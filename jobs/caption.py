"""clips → captions of the person, to be trained on.

plan minus drafts  →  captioning experts  →  drafts  →  extractor  →  draft labels      (jobs/drafts.py)
drafts, labels, votes, gold  →  filters, splits  →  captions                            the whole set at once
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.captions.assemble import assemble, caption_id, to_table
from emo.captions.captioners import captioners
from emo.captions.export import FramesAs, export
from emo.captions.filters import Evidence, inapplicable
from emo.captions.groups import split_notes
from emo.captions.merr.plan import CLUES, clue_captioners, merr_plan
from emo.captions.plan import Plan, PlannedClip, further, make_plan
from emo.captions.splits import SPLITS
from emo.captions.summary import summarise
from emo.clips import ingested as clips_of
from emo.config import Config
from emo.errors import InputError, RowError
from emo.export import noted
from emo.jobs import drafts, merr
from emo.jobs.describe import DescribeStep, expert_settings
from emo.jobs.extract import ExtractStep
from emo.marks import differences
from emo.needs import Need
from emo.run.session import Session
from emo.store import committed, planning
from emo.store.runs import StepRecord, load_runs
from emo.store.storage import Storage
from emo.store.tables import CAPTIONS, DRAFT_LABELS, DRAFTS, FAILED, OK, VOTES

COMMIT_ROWS = 5000
TRAIN = SPLITS[0]
# Settings of an expert that this job chooses.
_CHOSEN = ("prompt", "samples")
RUNS_LOOKED_AT = 50


def check(config: Config, gold: Mapping[str, str] | None) -> None:
    """Raise InputError where what the captioning experts are asked is not sound, on any machine."""
    if config.caption.merr is not None:
        merr.check(config, gold)
        return
    shown = [
        f"caption prompt {prompt.name} shows the gold; give it with --gold"
        for captioner in captioners(config)
        for prompt in captioner.prompts
        if prompt.shows_gold and gold is None
    ]
    if shown:
        raise InputError("; ".join(dict.fromkeys(shown)))


def needs(config: Config) -> list[Need]:
    """What the captioning experts and the extractor need of the machines that they run on."""
    asking = clue_captioners(config) if config.caption.merr else captioners(config)
    asked = [config.expert(captioner.expert) for captioner in asking]
    # A step of each expert and prompt; they take what the expert takes.
    drafting = [
        replace(need, step=need.step.replace("describe", "caption", 1))
        for expert in asked
        for need in DescribeStep(expert).needs()
    ]
    reading = ExtractStep(config.extract, asked).needs()
    return [*drafting, *merr.needs(config), *(replace(need, step="extract captions") for need in reading)]


def ingested(storage: Storage) -> pa.Table:
    """The clips that can be captioned: newest row ok, free to be trained on, with their number of frames and
    the file.
    """
    clips = clips_of(storage, ["frame_times"], training=True)
    frames = pc.list_value_length(clips.column("frame_times"))
    return clips.select(["video_id", "run_id", "file"]).append_column("frames", frames)


def plan(config: Config, clips: pa.Table, gold: Mapping[str, str] | None, count: int | None = None) -> Plan:
    """What is to be captioned; raises InputError where there is nothing, or the target cannot be reached.

    count: how many captions to make, where that is not the target.
    """
    if clips.num_rows == 0:
        raise InputError("there are no clips to caption; run emo ingest first")
    known = gold or {}
    planned = [
        PlannedClip(video_id, frames or 0, known.get(video_id))
        for video_id, frames in zip(
            clips.column("video_id").to_pylist(), clips.column("frames").to_pylist(), strict=True
        )
    ]
    if config.caption.merr is not None:
        return merr_plan(config.caption.merr, planned)
    samples = config.caption.samples
    return make_plan(
        planned,
        captioners(config),
        config.caption.parts(),
        None if samples == "auto" else int(samples),
        config.caption.target,
        count,
    )


def run(
    session: Session, gold: Mapping[str, str] | None, redo: bool = False, retry: bool = False
) -> tuple[list[StepRecord], dict[str, Any]]:
    """Caption what is left of the plan; the steps, and the summary of all captions.

    redo: everything again; retry: what failed too.
    """
    storage, config = session.storage, session.config
    clips = ingested(storage)
    group = config.caption.grouping(config.s3)
    for video_id in clips.column("video_id").to_pylist():
        group(video_id)  # before anything is asked: the table may lack one
    wanted = plan(config, clips, gold)
    for line in wanted.lines():
        print(f"caption: {line}", file=sys.stderr)
    runs = load_runs(storage, last=RUNS_LOOKED_AT)
    if not redo:
        _check_settings(runs, config, wanted)
    if gold is None:
        _check_gold(runs, config)
    steps: list[StepRecord] = []
    rows: list[dict[str, Any]] = []
    while True:
        if config.caption.merr is not None:
            todo, made_now = merr.make(session, clips, wanted, redo, retry)
            steps += made_now
        else:
            todo = (
                list(wanted.variants) if redo else drafts.left_to_do(storage, clips, wanted.variants, retry)
            )
            steps += [drafts.draft(session, ask, asked) for ask, asked in drafts.asks(config, clips, todo)]
        steps.append(drafts.label(session, redo, retry))
        before = _kept(rows)
        first = not rows
        rows = _judge(session, clips, wanted, gold, group)
        kept = _kept(rows)
        made = sum("not_planned" not in row["filters"] for row in rows)
        count = further(wanted, made, kept, None if first or not todo else kept - before)
        if count is None:
            break
        print(
            f"caption: {kept} of {made} are left to train on, the target is {wanted.target}", file=sys.stderr
        )
        wanted = plan(config, clips, gold, count)
        for line in wanted.lines():
            print(f"caption: {line}", file=sys.stderr)
        # What failed or was there was done again once.
        redo = retry = False
    # Once, after the last addition: it may have changed what is left of the earlier captions.
    steps.append(_commit(session, rows))
    if wanted.target is not None and kept < wanted.target:
        why = "all that are possible were made" if wanted.exhausted else "the last ones brought none"
        print(
            f"caption: the target is {wanted.target}, {kept} captions are left to train on after the "
            f"filters, and {why}; add experts, prompts, windows or samples, or switch a filter off",
            file=sys.stderr,
        )
    summary = summarise(rows, config.caption.rules())
    summary["target"] = wanted.target
    left = [row for row in rows if row["status"] == OK]
    summary["split_notes"] = split_notes(left, config.caption.splits, group)
    summary["not_applied"] = inapplicable(
        config.caption.rules(), _evidence(storage, config, gold), [c.expert for c in wanted.captioners]
    )
    return steps, summary


def _kept(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many are left to train on."""
    return sum(row["status"] == OK and row["split"] == TRAIN for row in rows)


def _check_gold(runs: Sequence[Mapping[str, Any]], config: Config) -> None:
    """Raise InputError where the captions were judged by a gold that is not given now."""
    before = [run["source"] for run in runs if run["command"] == "caption" and run["outcome"] == "done"][-1:]
    if before and before[0] and "contradiction" in config.caption.rules().on:
        raise InputError(
            f"the captions of OUT were judged by the gold {before[0]}; give it again with --gold, or switch "
            "that filter off with --set caption.filters.contradiction=false"
        )


def _check_settings(runs: Sequence[Mapping[str, Any]], config: Config, wanted: Plan) -> None:
    """Raise InputError where an expert's drafts were made with other settings than it has now."""
    asked = clue_captioners(config) if config.caption.merr else wanted.captioners
    for captioner in asked:
        now = config.expert(captioner.expert)
        start = f"caption {captioner.expert} "
        for past in reversed(runs):
            if not any(step["name"].startswith(start) and step["rows"] for step in past["steps"]):
                continue
            [before] = [one for one in past["config"]["experts"] if one["name"] == captioner.expert]
            changed = differences(
                *(
                    {key: value for key, value in expert_settings(one).items() if key not in _CHOSEN}
                    for one in (before, now.model_dump(mode="json"))
                )
            )
            if changed:
                raise InputError(
                    f"caption {captioner.expert}: OUT holds drafts made with other settings "
                    f"({', '.join(changed)}); use those, another OUT, or another name for the expert, or do "
                    "everything again with --redo"
                )
            break


def _evidence(storage: Storage, config: Config, gold: Mapping[str, str] | None) -> Evidence:
    """Gold, and the votes that `emo label` left in OUT: every expert of it is one more voice of the crowd."""
    opinions: dict[str, dict[str, list[Sequence[str]]]] = defaultdict(lambda: defaultdict(list))
    for expert in config.experts:
        where = committed.folder(VOTES, expert.name)
        votes = committed.read_newest(storage, where, VOTES, ["labels", "status"])
        for row in planning.well(votes).to_pylist():
            opinions[row["video_id"]][row["expert"]].append(row["labels"])
    return Evidence(gold, opinions)


def _judge(
    session: Session,
    clips: pa.Table,
    wanted: Plan,
    gold: Mapping[str, str] | None,
    group: Callable[[str], str],
) -> list[dict[str, Any]]:
    """All drafts as rows of the captions table.

    The filters look at the whole set, so that all of it is judged in every run; texts alone are held.
    """
    storage, caption = session.storage, session.config.caption
    written = committed.read_newest(storage, DRAFTS.name, DRAFTS, DRAFTS.schema.names).to_pylist()
    # A clue is what a caption is made of, and none itself.
    written = [draft for draft in written if draft["prompt"] not in CLUES]
    labelled = committed.read_newest(storage, DRAFT_LABELS.name, DRAFT_LABELS, DRAFT_LABELS.schema.names)
    labels: dict[str, Sequence[str] | RowError] = {
        caption_id(row): row["labels"]
        if row["status"] == OK
        else RowError(row["error"], row["error_message"])
        for row in labelled.to_pylist()
    }
    there = set(clips.column("video_id").to_pylist())
    prompts = {
        (captioner.expert, prompt.name, prompt.sha)
        for captioner in wanted.captioners
        for prompt in captioner.prompts
    }
    parts = {window.name for window in wanted.windows}
    planned = [
        draft["video_id"] in there
        and (draft["expert"], draft["prompt"].partition(":")[0], draft["prompt_sha"]) in prompts
        and draft["window"] in parts
        for draft in written
    ]
    evidence = _evidence(storage, session.config, gold)
    return assemble(written, labels, planned, evidence, caption.rules(), caption.splits, group)


def _commit(session: Session, rows: Sequence[Mapping[str, Any]]) -> StepRecord:
    """Commit the captions that are new or that came out otherwise than before."""
    began = time.monotonic()
    storage = session.storage
    before = committed.read_newest(storage, CAPTIONS.name, CAPTIONS, CAPTIONS.schema.names).to_pylist()
    known = {row.pop("caption_id"): row for row in before}
    changed = [row for row in rows if not _same(row, known.get(row["caption_id"]))]
    step = StepRecord("select captions", rows=len(changed), skipped=len(rows) - len(changed))
    session.run.steps.append(step)
    for number, part in enumerate(committed.batched(to_table(changed, session.run_id), COMMIT_ROWS)):
        committed.commit(storage, CAPTIONS.name, CAPTIONS, f"{session.run_id}-{number:05d}", part)
    step.failed = sum(row["status"] == FAILED for row in changed)
    step.ok = len(changed) - step.failed
    step.seconds = time.monotonic() - began
    return step


def _same(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    return before is not None and all(before[name] == row[name] for name in before if name != "run_id")


def export_captions(storage: Storage, target: Storage, frames: FramesAs = "video") -> dict[str, int]:
    """Write the captions of OUT that are to be trained on, with their media, for ms-swift; rows per split."""
    rows = committed.read_newest(storage, CAPTIONS.name, CAPTIONS, CAPTIONS.schema.names)
    kept = uses.allowed(storage, planning.well(rows), training=True).to_pylist()
    target.check()
    noted.note(storage, target, noted.Asked("ms-swift" if frames == "video" else "ms-swift-images"))
    return export(storage, ingested(storage), kept, target, frames)
