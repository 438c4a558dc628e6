"""How long `emo review` takes to start, to open its page and to give a clip, with many clips in OUT.

`PYTHONPATH=.:tests python benchmarks/review.py [CLIPS]` makes an OUT of that many clips (100,000) with two
experts, without media, and prints seconds of the clock and of the processor as JSON. Each answer is a request
to the application itself, over loopback, without a browser.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from emo.review.access import Access
from emo.review.desk import Desk, Rules
from emo.review.media import Media
from emo.review.server import Application
from emo.store.s3 import S3Settings
from review_outs import Judged, make_out

WORDS = ("happy", "sad", "angry", "nervous", "calm", "proud", "bored")
ASKED = 50
# What a browser asks for until the first clip is shown.
PAGE = ("/", "/page.js", "/page.css", "/api/progress", "/api/words")


class Clock:
    """Seconds of the clock and of the processor since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "clock_s": time.perf_counter() - self._began[0],
            "cpu_s": time.process_time() - self._began[1],
        }


def spread(found: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {
        unit: {
            "median": statistics.median(one[unit] for one in found),
            "most": max(one[unit] for one in found),
        }
        for unit in ("clock_s", "cpu_s")
    }


async def ask(desk: Desk) -> dict[str, Any]:
    access = Access("http://127.0.0.1:1")
    server = TestServer(Application(desk, Media(S3Settings()), access).app())
    async with TestClient(server) as client:
        access.origin = str(client.make_url("")).rstrip("/")
        token = access.invite("ann").partition("?")[2]
        await client.get(f"/?{token}")
        headers = {"Origin": access.origin}

        async def next_clip(seen: list[str]) -> str:
            told = await client.post("/api/next", json={"skipped": seen}, headers=headers)
            return str((await told.json())["clip"]["video_id"])

        clock = Clock()
        for path in PAGE:
            answer = await client.get(path)
            assert answer.status == 200, path
            await answer.read()
        seen = [await next_clip([])]
        opened = clock.read()
        given, answered = [], []
        for _ in range(ASKED):
            clock = Clock()
            seen.append(await next_clip(seen))
            given.append(clock.read())
            clock = Clock()
            body = {"video_id": seen[-1], "labels": ["happy"], "comment": "", "replaces": None, "queue": None}
            answer = await client.post("/api/review", json=body, headers=headers)
            assert answer.status == 200, await answer.text()
            answered.append(clock.read())
        return {"page": opened, "next_clip": spread(given), "review": spread(answered)}


def main(count: int) -> None:
    clips = [
        Judged(
            f"recording{number // 20:05}/{number:06}",
            labels=(WORDS[number % 7], WORDS[number % 5]),
            agreement=number % 101 / 100,
            seen=(WORDS[number % 7],),
            heard=(WORDS[number % 5],),
        )
        for number in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        storage = make_out(f"{folder}/out", clips)
        clock = Clock()
        desk = Desk(storage, Rules(blind=0))
        found = {"clips": count, "server_start": clock.read(), **asyncio.run(ask(desk))}
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
