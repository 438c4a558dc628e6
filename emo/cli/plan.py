"""`emo plan`: what a run would do and cost, without doing it."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.store.storage import Storage

if TYPE_CHECKING:
    from emo.estimates import Expected, Planned


def add(commands: cli.Commands) -> None:
    cli.with_source(commands.on_out("plan", run, "show what a run would do, without doing it"))


def run(options: argparse.Namespace) -> int:
    from emo import estimates
    from emo.jobs.label import steps, tell_downloads
    from emo.split.pace import pace_of
    from emo.status import plan

    config = cli.config_of(options)
    manifest = cli.manifest_of(options.source, config)
    storage = Storage(options.out, config.s3)
    planned = plan(storage, steps(config, manifest))
    costs = estimates.estimate(planned.steps, config.prices)
    hours = estimates.total(costs)
    tell_downloads(config, cli.say)
    rows = [_row(one) for one in planned.steps]
    recordings = next((one.rows for one in planned.steps if one.step == "split"), 0)
    pace = pace_of(storage) if recordings else None
    # Null without the step: the files are clips then, and nobody knows how long they are.
    video = pace.hours(planned.bytes) if pace else None
    costs_told = estimates.as_rows(costs)
    tell_json(
        options, steps=rows, bytes=planned.bytes, hours_of_video=video, estimate=costs_told, total=hours
    )
    if not options.json:
        for what, one in zip(planned.steps, costs, strict=True):
            how = f"measured on {one.measured} rows" if one.measured else "assumed"
            print(
                f"{what.step:<24}{what.rows:>12} to do{what.done:>12} done"
                f"{one.cpu_hours:>12.2f} CPU-hours{one.gpu_hours:>12.2f} GPU-hours  "
                f"({one.worker_seconds:.3g} s per row and worker, {how})"
            )
        for what in planned.steps:
            if what.expected:
                print(f"{what.step}: {_expected(what.expected)}")
        print(f"{planned.bytes} bytes of video to read")
        prices = config.prices
        money = f", {hours['cost']:.2f} {prices.currency}" if prices.gpu_hour or prices.cpu_hour else ""
        print(f"in all {hours['cpu_hours']:.2f} CPU-hours, {hours['gpu_hours']:.2f} GPU-hours{money}")
    rows_of = {one.step: one.rows for one in planned.steps}
    clips = f"{rows_of['ingest']} clips to ingest"
    if pace is not None:
        how = f"measured on {pace.recordings}" if pace.recordings else "assumed"
        clips = (
            f"about {pace.hours(planned.bytes):.2f} hours of video in {recordings} recordings to split "
            f"({pace.bytes_per_s / 1000:.0f} kB a second, {how}), about {clips}"
        )
    cli.say(f"emo plan: {clips}; nothing was started")
    return cli.DONE


def _row(one: "Planned") -> dict[str, Any]:
    row: dict[str, Any] = {"step": one.step, "rows": one.rows, "done": one.done}
    return row | ({"expected": asdict(one.expected)} if one.expected else {})


def _expected(one: "Expected") -> str:
    by = f"as of {one.clips} clips so far" if one.clips else "assumed, no clip came through the round before"
    return f"{one.rows} of these rows are expected: {one.share:.0%} of the clips stay open till then ({by})"
