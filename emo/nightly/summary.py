"""The summary of a night: one JSON object, the same as a page, and who is told."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from emo.nightly.retention import NIGHTS
from emo.pages import rendering
from emo.store.storage import Storage
from emo.terminal.progress import duration

TOLD_WITHIN_S = 30.0


def write(storage: Storage, summary: Mapping[str, Any]) -> str:
    """Write OUT/nights/RUN_ID.json and .html; where the page is."""
    base = f"{NIGHTS}/{summary['run_id']}"
    storage.write(f"{base}.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())
    storage.write(f"{base}.html", page(summary).encode())
    return storage.full(f"{base}.html")


def page(summary: Mapping[str, Any]) -> str:
    """The summary as HTML; everything in it is escaped."""
    return rendering.render(
        "emo.nightly",
        "summary.html",
        {"night": summary},
        style="summary.css",
        filters={"duration": duration},
    )


def tell(summary: Mapping[str, Any], webhook: str | None, command: Sequence[str]) -> list[str]:
    """POST the summary to a webhook and give it to a command on its standard input; what went wrong.

    Neither may fail the night: the work is done and committed. The address may hold a secret, so complaints
    name only its host.
    """
    data = json.dumps(summary, ensure_ascii=False).encode()
    faults = []
    if webhook is not None:
        request = urllib.request.Request(webhook, data, {"Content-Type": "application/json"})
        host = request.host
        try:
            with urllib.request.urlopen(request, timeout=TOLD_WITHIN_S):
                pass
        except urllib.error.HTTPError as error:
            faults.append(f"webhook at {host}: HTTP {error.code}")
        except (OSError, ValueError) as error:
            faults.append(f"webhook at {host}: {type(error).__name__}")
    if command:
        try:
            done = subprocess.run(
                list(command), input=data, capture_output=True, timeout=TOLD_WITHIN_S, check=False
            )
            if done.returncode:
                faults.append(f"command {command[0]}: exit code {done.returncode}")
        except (OSError, subprocess.TimeoutExpired) as error:
            faults.append(f"command {command[0]}: {type(error).__name__}")
    return faults
