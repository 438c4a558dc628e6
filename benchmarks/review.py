"""How long `emo review` takes to open and to give a clip, with many clips in OUT.

`PYTHONPATH=.:tests python benchmarks/review.py [CLIPS]` makes an OUT of that many clips (100,000) with two
experts, without media, and prints seconds of the clock and of the processor as JSON.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from emo.review.access import Access
from emo.review.desk import Desk, Rules
from emo.review.media import Media
from emo.review.server import Application
from emo.store.s3 import S3Settings
from review_outs import Judged, make_out

WORDS = ("happy", "sad", "angry", "nervous", "calm", "proud", "bored")
ASKED = 50


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    clock, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, {"clock_s": time.perf_counter() - clock, "cpu_s": time.process_time() - cpu}


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
        desk, started = timed(lambda: Desk(storage, Rules(blind=0)))
        application = Application(desk, Media(S3Settings()), Access("http://127.0.0.1:1"))
        _, progress = timed(lambda: desk.progress("ann"))
        given = []
        seen: set[str] = set()
        for _ in range(ASKED):

            def give() -> str:
                asked = desk.next("ann", frozenset(seen))
                application._facts(asked.video_id, "ann", asked.queue)
                return asked.video_id

            video_id, took = timed(give)
            seen.add(video_id)
            given.append(took)
        found = {
            "clips": count,
            "server_start": started,
            "progress": progress,
            "next_clip": {
                unit: {
                    "median": statistics.median(one[unit] for one in given),
                    "most": max(one[unit] for one in given),
                }
                for unit in ("clock_s", "cpu_s")
            },
        }
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
