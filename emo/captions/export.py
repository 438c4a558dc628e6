"""Captions and their media as a folder that ms-swift reads: JSON Lines per split, images, sounds.

The frames of a clip are one video, a list of pictures: ms-swift then trains on what the experts are shown. It
cuts pictures that stand alone into tiles for InternVL: 8 frames become 26,000 tokens instead of 2,100.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emo.captions.messages import TAGS, FramesAs, Sample, turns_of, write_messages
from emo.captions.splits import SPLITS
from emo.captions.windows import cut_audio, parse_window
from emo.errors import RowError
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS

CLIPS_AT_ONCE = 32
# A part of a path that every file system and S3 take as it is.
_PLAIN = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]+")
_DIGEST = re.compile(r"~[0-9a-f]{32}$")
# Writing waits for the disk or for S3.
_THREADS = 16
_COLUMNS = ["frames", "frame_times", "audio", "duration_s"]

# When the frames of a clip stand, and how long it is, in seconds.
_Times = tuple[Sequence[float], float]


def export(
    source: Storage,
    clips: pa.Table,
    captions: Sequence[Mapping[str, Any]],
    target: Storage,
    frames: FramesAs = "video",
) -> dict[str, int]:
    """Write the captions (rows of the `captions` table, those to be trained on) below `target`.

    `SPLIT.jsonl` in the order of the ids, `images/VIDEO_ID/PLACE.jpg`, `audios/VIDEO_ID/WINDOW.flac` (an id
    that is no path has a folder of its own, see folder_of); the
    JSON Lines come last, so that they never name what is not there yet. Paths in them are absolute for a
    local folder, as ms-swift wants them, and relative to it on S3, where it must be copied first. clips:
    video_id and file of the clips table of `source`. frames: whether those of a caption are one `video`, or
    `images` that stand beside each other. Returns how many captions each split got; raises
    RowError `clip_missing` or `bad_audio` where a caption's media are not in the clips table.
    """
    by_clip: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in captions:
        by_clip[row["video_id"]].append(row)
    wanted = clips.filter(pc.is_in(clips.column("video_id"), value_set=pa.array(list(by_clip), pa.string())))
    if wanted.num_rows < len(by_clip):
        gone = sorted(by_clip.keys() - set(wanted.column("video_id").to_pylist()))
        raise RowError("clip_missing", f"{len(gone)} clips of captions are not in {source.url}: {gone[0]}")
    times: dict[str, _Times] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for clip in _whole(source, wanted):
            times[clip["video_id"]] = clip["frame_times"] or (), clip["duration_s"]
            list(pool.map(lambda file: target.write(*file), _files(clip, by_clip[clip["video_id"]])))
    counts = {}
    for split in SPLITS:
        rows = sorted((row for row in captions if row["split"] == split), key=lambda row: row["caption_id"])
        counts[split] = len(rows)
        if rows:
            samples = (_sample(row, times[row["video_id"]], target, frames) for row in rows)
            target.write(f"{split}.jsonl", write_messages(samples))
        else:
            # Of an earlier export, perhaps; what it names may not be there any more.
            target.delete(f"{split}.jsonl")
    return counts


def _whole(source: Storage, clips: pa.Table) -> Iterator[dict[str, Any]]:
    """The clips with frames and sound, a few at a time."""
    for part in committed.batched(clips.sort_by([("file", "ascending")]), CLIPS_AT_ONCE):
        yield from committed.read_given(source, CLIPS, part, _COLUMNS).to_pylist()


def _files(clip: Mapping[str, Any], captions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """What the captions of a clip show and play: path and bytes, each file once."""
    for place in sorted({place for row in captions for place in row["frames"]}):
        yield _image(clip["video_id"], place), clip["frames"][place]
    for window in sorted({row["source"]["window"] for row in captions if row["audio"]}):
        yield _audio(clip["video_id"], window), cut_audio(clip["audio"], parse_window(window))


def _image(video_id: str, place: int) -> str:
    return f"images/{folder_of(video_id)}/{place}.jpg"


def _audio(video_id: str, window: str) -> str:
    return f"audios/{folder_of(video_id)}/{window}.flac"


def folder_of(video_id: str) -> str:
    """The folder of a clip: its id where that is a plain path, else what is plain of it and a digest.

    No two ids share one: a digest stands behind every id that is not its own folder, and no plain id ends so.
    """
    parts = video_id.split("/")
    plain = all(_PLAIN.fullmatch(part) and part.strip(".") and len(part.encode()) <= 200 for part in parts)
    if plain and len(video_id.encode()) <= 1000 and not _DIGEST.search(video_id):
        return video_id
    digest = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    words = re.sub(r"[^\w.-]+", "_", video_id, flags=re.ASCII).strip("._")[:60]
    return f"{words}~{digest}"


def _sample(row: Mapping[str, Any], times: _Times, target: Storage, frames: FramesAs) -> Sample:
    def named(path: str) -> str:
        return path if target.on_s3 else target.full(path)

    video_id, window = row["video_id"], row["source"]["window"]
    shown = tuple(named(_image(video_id, place)) for place in row["frames"])
    audios = (named(_audio(video_id, window)),) if row["audio"] else ()
    turns = turns_of(row["messages"])
    if frames == "images" or not shown:
        return Sample(turns, images=shown, audios=audios)
    first, start = turns[0], times[1] * parse_window(window).start / 100
    as_video = first.content.replace(TAGS["images"] * len(shown), TAGS["videos"], 1)
    return Sample(
        (replace(first, content=as_video), *turns[1:]),
        videos=(shown,),
        audios=audios,
        frame_times=(tuple(max(0.0, times[0][place] - start) for place in row["frames"]),),
    )
