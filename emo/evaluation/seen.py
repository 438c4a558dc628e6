"""Whether an expert is scored on clips that it was trained on: that number says little about new clips."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.evaluation import data_sets
from emo.evaluation.benchmark_files import data_set_paths
from emo.evaluation.metric import Metric, Request
from emo.paths import is_s3
from emo.sources.records import is_table
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS, JUDGMENTS, VOTES


def warnings(request: Request, metric: Metric[Any]) -> list[str]:
    """A line for each expert and data set on which a score means little; none where nothing is known.

    The data set is the one of --data-set, else what the metric is of, else what the paths of gold are called.
    """
    lines, unnamed = [], set()
    for predicted, only, names in _scored(request, metric):
        for expert, learned in sorted(_experts(predicted, only).items()):
            if not names:
                unnamed |= {f"{expert} on {one}" for one in learned}
            for scored in names:
                for trained in learned:
                    if both := data_sets.shared(trained, scored):
                        lines.append(_line(expert, trained, scored, both))
    if unnamed:
        lines.append(
            f"experts were trained on data sets ({', '.join(sorted(unnamed))}), and it is not known what "
            "gold is of; say it with --data-set to have it checked"
        )
    return list(dict.fromkeys(lines))


def _line(expert: str, trained: str, scored: str, both: tuple[str, ...]) -> str:
    why = "" if both == (trained,) == (scored,) else f" (both hold clips of {', '.join(both)})"
    return (
        f"{expert} was trained on {trained} and is scored on {scored}{why}; "
        "the number says little about clips that are new to it"
    )


def _scored(request: Request, metric: Metric[Any]) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """What was predicted, the one expert that is meant, and the data sets that it is scored on."""
    for given, side, only in (
        (request.predicted, "predicted", request.expert),
        (request.compare, "compare", request.compare_expert),
    ):
        if given and request.metric == "unibench":
            for name, path in data_set_paths(given, side).items():
                yield path, only, (data_sets.chosen(name),)
        else:
            for path in given:
                yield path, only, _names(request, metric)


def _names(request: Request, metric: Metric[Any]) -> tuple[str, ...]:
    if request.data_set is not None:
        return (data_sets.chosen(request.data_set),)
    if metric.benchmark is not None:
        return (metric.benchmark,)
    return tuple(
        dict.fromkeys(
            name
            for place in (*request.gold, request.options.get("classes") or "")
            for name in data_sets.written_in(place)
        )
    )


def _experts(path: str, only: str | None) -> dict[str, list[str]]:
    """The experts behind what lies at `path`, and what each was trained on; none where it is no OUT."""
    name = path.rpartition("=")[2] if "=" in path and not is_s3(path) else path
    if not is_s3(name) and is_table(name):
        return {}
    place = name.rstrip("/")
    for table in (JUDGMENTS, VOTES, DESCRIPTIONS):
        place = place.removesuffix(f"/{table.name}")
    storage = Storage(place)
    if not storage.is_there():
        return {}
    rows = committed.read_newest(storage, DESCRIPTIONS.name, DESCRIPTIONS, ["trained_on"])
    given = rows.column("trained_on").combine_chunks()
    experts = rows.column("expert").combine_chunks().take(pc.list_parent_indices(given))
    pairs = pa.table({"expert": experts, "learned": pc.list_flatten(given)})
    found: dict[str, list[str]] = {}
    for row in pairs.group_by(["expert", "learned"], use_threads=False).aggregate([]).to_pylist():
        if only in (None, row["expert"]):
            found.setdefault(row["expert"], []).append(row["learned"])
    return found
