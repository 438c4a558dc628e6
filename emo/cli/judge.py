"""`emo judge`: the reduce, over the votes of OUT or over given ones."""

import argparse
import io
from dataclasses import asdict
from functools import partial

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.config import Config
from emo.errors import InputError
from emo.evaluation.overlap import NodeOf
from emo.evaluation.text import to_json
from emo.store.storage import Storage, storage_of


def add(commands: cli.Commands) -> None:
    judge = commands.on_out("judge", run, "fuse the votes into one label set per clip")
    judge.add_argument("--votes", metavar="PATH", help="judge these votes (Parquet) instead of those of OUT")
    learning = judge.add_mutually_exclusive_group()
    learning.add_argument(
        "--calibrate",
        metavar="GOLD",
        help="learn weights and bars on gold labels, or the reviews of an OUT, first; tells what that is "
        "expected to gain, and saves nothing that gains nothing",
    )
    learning.add_argument(
        "--estimate", action="store_true", help="learn weights from the agreement of at least 6 experts first"
    )
    judge.add_argument(
        "--rounds",
        action="store_true",
        help="with --calibrate: judge nothing, print F against answers per clip for asking in rounds, and "
        "recommend rounds and enough. The gold clips need every answer: label them without rounds",
    )
    judge.add_argument(
        "--smoothing",
        action="store_true",
        help="with --calibrate: judge nothing, print F on gold dialogues for scores shared along turns of "
        "a speaker, and recommend judge.smoothing",
    )
    judge.add_argument(
        "--broad-mamba",
        metavar="FILE",
        help="with --smoothing: train a reconstruction of Broad Mamba on the gold dialogues too, say what it "
        "gains over smoothing in dialogues that neither was learned on, and write its labels of all turns "
        "here (Parquet)",
    )
    judge.add_argument(
        "--wheels", metavar="DIR", help="with --rounds or --smoothing: score by EW, with these emotion wheels"
    )
    judge.add_argument(
        "--save", metavar="FILE", help="where to keep what was learned (judge.learned names it)"
    )
    cli.with_redo(judge)


def run(options: argparse.Namespace) -> int:
    from emo.jobs import judge, judge_given, label
    from emo.step import Mode

    config = cli.config_of(options) if options.votes else cli.config_of_out(options)
    if options.rounds and options.smoothing:
        raise InputError("--rounds and --smoothing exclude each other: each prints a curve of its own")
    if options.broad_mamba and not options.smoothing:
        raise InputError("--broad-mamba FILE goes with --calibrate GOLD and --smoothing")
    if options.rounds:
        return _rounds(options, config)
    if options.smoothing:
        return _smoothing(options, config)
    if options.wheels:
        raise InputError("--wheels DIR goes with --calibrate GOLD and --rounds or --smoothing")
    if bool(options.save) != (options.calibrate is not None or options.estimate):
        raise InputError("--save FILE goes with --calibrate GOLD or --estimate, and they with it")
    if options.save:
        config = _learned(options, config)
    if options.votes:
        voters = judge_given.votes_from(options.votes, config.s3)
        if voters.duplicates:
            cli.say(f"{voters.duplicates} older votes of the same key were left out")
        with cli.session_of(options, config) as session:
            records = [
                judge_given.run_votes(session, voters, config.judge.rule(judge.priors_of(config.experts)))
            ]
    else:
        names = [expert.name for expert in config.experts]
        priors, rounds = judge.priors_of(config.experts), config.asked_in_rounds
        step = judge.JudgeStep(config.judge, names, priors, rounds)
        with cli.session_of(options, config, needs=cli.needs_of(config, [step])) as session:
            records = label.run(session, [step], Mode(redo=options.redo))
    return cli.finish(options, config, records, judge.JudgeStep.did)


def _learned(options: argparse.Namespace, config: Config) -> Config:
    """Learn from the votes, keep it, and give the configuration that uses it."""
    from emo.jobs import judge, judge_given
    from emo.review import teaching

    voters = judge_given.votes_from(options.votes or Storage(options.out).full("votes"), config.s3)
    told = {}
    if options.calibrate is not None:
        without = config.judge.model_copy(update={"learned": None}).rule(judge.priors_of(config.experts))
        gain = teaching.gain_of(voters.table, options.calibrate, without)
        cli.say(str(gain))
        if not gain.helps:
            raise InputError(
                f"{options.calibrate}: a calibration on it is not expected to gain anything, so "
                f"{options.save} was not written; label more clips, or judge without a calibration"
            )
        if gain.difference.low <= 0:
            cli.say("its interval holds 0: more labelled clips would make it surer")
        told = {"expected_gain": asdict(gain)}
    learned = teaching.learn(voters.table, options.calibrate)
    learned.save(options.save, **told)
    cli.say(f"learned on {learned.clips} clips ({learned.source}): {options.save}")
    settings = config.judge.model_copy(update={"learned": options.save})
    return config.model_copy(update={"judge": settings})


def _rounds(options: argparse.Namespace, config: Config) -> int:
    """Show what asking in rounds would keep and save, by the answers that are there and gold."""
    from emo.evaluation.ew import EW
    from emo.evaluation.rounds import curve, lines, outcomes, shapes, told
    from emo.jobs import judge, judge_given
    from emo.review import teaching

    if options.calibrate is None or options.save or options.redo:
        raise InputError("--rounds goes with --calibrate GOLD, and without --save and --redo")
    voters = judge_given.votes_from(options.votes or Storage(options.out).full("votes"), config.s3)
    samples = {expert.name: expert.samples for expert in config.experts}
    configured = config.asked_in_rounds
    tried = [configured.by_then] if configured else shapes(samples)
    mappings = _mappings(options.wheels)
    rule = config.judge.rule(judge.priors_of(config.experts))
    full, found = outcomes(
        voters.table,
        teaching.gold_of(options.calibrate)[0],
        tried,
        samples,
        rule,
        mappings,
        agree_on=config.agree_on,
    )
    result = curve(full, found)
    tell_json(options, curve=to_json(result))
    if not options.json:
        print("\n".join(lines(result, EW if options.wheels else "emo's clusters")))
    knee = result.knee
    if knee is None:
        cli.say(f"emo judge: on {result.clips} clips no rounds keep F within its standard error; ask for all")
        return cli.DONE
    asked = ", ".join(told(one) for one in knee.asked)
    cli.say(
        f"emo judge: on {result.clips} clips, recommended: enough: {knee.enough:g} with agree_on: "
        f"{config.agree_on} and rounds: [{asked}]; {knee.answers:.1f} answers per clip instead of "
        f"{result.in_full}, {100 * knee.loss.value:.1f} points of F lost (at most one standard error)"
    )
    return cli.DONE


def _smoothing(options: argparse.Namespace, config: Config) -> int:
    """Show what sharing scores along a speaker's turns would gain, by the votes that are there and gold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from emo import dialogues
    from emo.evaluation.dialogue_labels import dialogues_of, trained_labels
    from emo.evaluation.ew import EW
    from emo.evaluation.smoothing import learn, lines, summary
    from emo.jobs import judge, judge_given
    from emo.review import teaching

    if options.calibrate is None or options.save or options.redo or options.votes:
        raise InputError("--smoothing goes with --calibrate GOLD, and without --save, --redo and --votes")
    storage = Storage(options.out, config.s3)
    voters = judge_given.votes_from(storage.full("votes"), config.s3)
    turns = dialogues.in_dialogues(storage)
    gold = teaching.gold_of(options.calibrate)[0]
    rival = None
    if options.broad_mamba:
        place, name = _file_to_write(options.broad_mamba, config)
        rival = partial(trained_labels, dialogues_of(voters.table, turns), gold)
    found = learn(
        voters.table,
        dialogues.neighbours(storage),
        dict(zip(turns["video_id"].to_pylist(), turns["dialogue_id"].to_pylist(), strict=True)),
        gold,
        config.judge.rule(judge.priors_of(config.experts)),
        _mappings(options.wheels),
        rival=rival,
    )
    if rival is not None:
        [labels] = rival([set()])
        written = io.BytesIO()
        pq.write_table(pa.table({"video_id": list(labels), "labels": list(labels.values())}), written)
        place.write(name, written.getvalue())
    tell_json(options, smoothing=to_json(found))
    if not options.json:
        print("\n".join(lines(found, EW if options.wheels else "emo's clusters")))
    cli.say(f"emo judge: {summary(found)}")
    return cli.DONE


def _file_to_write(path: str, config: Config) -> tuple[Storage, str]:
    """Where the file of --broad-mamba goes; told before minutes of training where it cannot stand there."""
    place, name = storage_of(path, config.s3)
    place.check()
    if not name or (not place.on_s3 and place.is_there(name)):
        raise InputError(f"--broad-mamba {path}: this is a folder; expected a file")
    return place, name


def _mappings(wheels: str | None) -> dict[str, NodeOf]:
    """How labels are compared: by emo's clusters, or by the first level of emotion wheels in a folder."""
    from emo.evaluation.ew import ew_mappings, own_mappings
    from emo.evaluation.wheels import load_wheels

    if wheels is None:
        return {"clusters": own_mappings()["clusters"]}
    return {name: node for name, node in ew_mappings(load_wheels(wheels)).items() if name.endswith("/level1")}
