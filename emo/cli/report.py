"""`emo report`: the page of an OUT."""

import argparse

from emo.cli import command as cli
from emo.cli.telling import tell_json


def add(commands: cli.Commands) -> None:
    commands.on_out("report", run, "write OUT/report/index.html from the tables")


def run(options: argparse.Namespace) -> int:
    from emo.report import write as report

    config = cli.config_of_out(options)
    with cli.session_of(options, config) as session:
        page = report.write(session.storage, config.report.gallery, session.run, config.asked_in_rounds)
    tell_json(options, report=page.place, alarms=list(page.alarms))
    for line in page.alarms:
        cli.say(line)
    cli.say(f"emo report: {page.place}")
    return cli.DONE
