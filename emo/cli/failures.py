"""`emo failures`: the rows that failed, and doing just these again."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json
from emo.errors import CODES


def add(commands: cli.Commands) -> None:
    failures = commands.on_out("failures", run, "list the rows that failed, by step")
    failures.add_argument("--retry", action="store_true", help="do just the failed rows again")


def run(options: argparse.Namespace) -> int:
    from emo.jobs import label
    from emo.report import write as report
    from emo.step import failures

    config = cli.config_of_out(options)
    steps = label.steps(config)
    if options.retry:
        with cli.session_of(options, config, needs=cli.needs_of(config, steps)) as session:
            records = label.retry(session)
            page = report.write(
                session.storage,
                config.report.gallery,
                session.run,
                config.asked_in_rounds,
                only_if_changed=True,
            )
        for line in page.alarms:
            cli.say(line)
        return cli.finish(options, config, records, steps[-1].did, page.place)
    rows = failures(cli.existing(options.out, config), steps)
    tell_json(options, failures=rows)
    for code in sorted({row["error"] for row in rows} & CODES.keys()):
        passes = " A night tries it again." if CODES[code].passes else ""
        cli.say(f"{code}: {CODES[code].meaning}{passes}")
    if not options.json:
        for row in rows:
            print(f"{row['step']}\t{row['error']}\t{row['video_id']}\t{row['error_message']}")
    cli.say(f"emo failures: {len(rows)} rows failed; --retry does just these again")
    return cli.DONE
