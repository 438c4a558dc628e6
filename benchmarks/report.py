"""How long a report of many clips takes, and how much memory: synthetic tables, one line of figures.

    python benchmarks/report.py --clips 100000 --experts 3

The tables are made piece by piece while they are read, so the memory is that of the report. What it took to
make them is measured by itself and taken off.
"""

import argparse
import io
import resource
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from figures import add_json_option, compare, show, write
from PIL import Image

from emo.report.build import render
from emo.report.gallery import choose_gallery, gallery_items
from emo.report.summary import summarise
from emo.store import tables
from emo.vocabulary import words

ROWS = 50_000
FAILED_SHARE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--experts", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--gallery", type=int, default=60)
    add_json_option(parser)
    arguments = parser.parse_args()
    made = Made(arguments.clips, arguments.experts, arguments.samples)

    began = time.perf_counter()
    for pieces in made.light().values():
        for _ in pieces:
            pass
    making = time.perf_counter() - began
    before = peak_mib()

    began = time.perf_counter()
    summary = summarise(**made.light())
    counting = time.perf_counter() - began - making

    ids = choose_gallery(summary, arguments.gallery)
    shown = made.full(ids)
    began = time.perf_counter()
    html = render(summary, gallery_items(ids, **shown), [], "OUT")
    drawing = time.perf_counter() - began
    figures = {
        "clips": arguments.clips,
        "experts": arguments.experts,
        "samples": arguments.samples,
        "summary_s": round(counting, 2),
        "page_s": round(drawing, 2),
        # Making the same tables is the yardstick of the machine and of the hour.
        "summary_to_making": round(counting / making, 3),
        "clips_on_the_page": len(ids),
        "page_mb": round(len(html) / 1e6, 2),
        "peak_mib_before": before,
        "peak_mib_after": peak_mib(),
        "clips_compared_by_the_heat_maps": summary.compared,
    }
    show(figures)
    compare(arguments.json, figures, lower=("summary_to_making",))
    write(arguments.json, figures)


class Made:
    """Tables of random labels: the same rows at every reading."""

    def __init__(self, clips: int, experts: int, samples: int) -> None:
        self.clips, self.experts, self.samples = clips, experts, samples
        self._vocabulary = pa.array(sorted(words()))

    def light(self) -> dict[str, Iterator[pa.Table]]:
        voters = [(f"expert{e}", s) for e in range(self.experts) for s in range(self.samples)]
        return {
            "clips": self._each(lambda first, ids, failed: self._table(tables.CLIPS, ids, failed)),
            "descriptions": (
                piece
                for expert, sample in voters
                for piece in self._each(
                    lambda first, ids, failed, e=expert, s=sample: self._table(
                        tables.DESCRIPTIONS, ids.filter(pa.array(~failed)), None, expert=e, sample=s
                    )
                )
            ),
            "votes": (
                piece
                for number, (expert, sample) in enumerate(voters)
                for piece in self._each(
                    lambda first, ids, failed, n=number, e=expert, s=sample: self._table(
                        tables.VOTES,
                        ids.filter(pa.array(~failed)),
                        None,
                        expert=e,
                        sample=s,
                        labels=self._labels(int((~failed).sum()), first + n),
                    )
                )
            ),
            "judgments": self._each(
                lambda first, ids, failed: self._table(
                    tables.JUDGMENTS,
                    ids.filter(pa.array(~failed)),
                    None,
                    labels=self._labels(int((~failed).sum()), first + 999),
                    agreement=pa.array(np.random.default_rng(first).random(int((~failed).sum()))),
                )
            ),
        }

    def full(self, ids: list[str]) -> dict[str, pa.Table]:
        """All columns of the clips of a gallery."""
        wanted = pa.array(ids)
        whole = {
            name: pa.concat_tables(
                piece.filter(pa.compute.is_in(piece["video_id"], value_set=wanted)) for piece in light
            )
            for name, light in self.light().items()
        }
        noise = np.random.default_rng(0).integers(60, 200, (32, 56, 3), np.uint8)
        frame = io.BytesIO()
        Image.fromarray(noise).resize((448, 252), Image.Resampling.BICUBIC).save(frame, "JPEG", quality=92)
        clips = whole["clips"]
        place = clips.schema.get_field_index("frames")
        frames = pa.array([[frame.getvalue()] * 8] * len(clips), tables.CLIPS.schema.field("frames").type)
        whole["clips"] = clips.set_column(place, tables.CLIPS.schema.field("frames"), frames)
        return whole

    def _each(self, make) -> Iterator[pa.Table]:
        for first in range(0, self.clips, ROWS):
            numbers = range(first, min(first + ROWS, self.clips))
            ids = pa.array([f"part{number % 97:02d}/clip{number:08d}" for number in numbers])
            failed = np.random.default_rng([first, 1]).random(len(ids)) < FAILED_SHARE
            yield make(first, ids, failed)

    def _labels(self, rows: int, seed: int) -> pa.Array:
        random = np.random.default_rng(seed)
        sizes = random.integers(0, 5, rows)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        codes = np.minimum(random.zipf(1.3, offsets[-1]) - 1, len(self._vocabulary) - 1)
        return pa.ListArray.from_arrays(pa.array(offsets), self._vocabulary.take(pa.array(codes)))

    def _table(self, table: tables.Table, ids: pa.Array, failed: np.ndarray | None, **given) -> pa.Table:
        failed = np.zeros(len(ids), bool) if failed is None else failed
        errors = pa.array(np.where(failed, "truncated", None), pa.string())
        given |= {
            "video_id": ids,
            "uri": ids,
            "status": pa.array(np.where(failed, tables.FAILED, tables.OK)),
            "error": errors,
            "error_message": errors,
            "run_id": "20261120T230135Z",
        }
        columns = []
        for field in table.schema:
            value = given.get(field.name)
            if value is None:
                columns.append(pa.nulls(len(ids), field.type))
            elif isinstance(value, pa.Array):
                columns.append(value.cast(field.type))
            else:
                columns.append(pa.repeat(pa.scalar(value, field.type), len(ids)))
        return pa.table(columns, schema=table.schema)


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
