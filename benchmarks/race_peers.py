"""The work of `emo ingest` and of the reduce, as others would write it. `race.py` starts it.

    python benchmarks/race_peers.py pool|ray|daft VIDEOS OUT CORES
    python benchmarks/race_peers.py fusion|duckdb|polars|daft-reduce VOTES OUT CORES CLUSTERS

Of each file of VIDEOS: 8 frames at the centres of equal parts, longest side 448, as JPEG, and the sound as
16 kHz mono FLAC, into Parquet. `pool` is emo's own decode in a pool of plain processes. `ray` and `daft` read
the frames with decord, as their documentation does, or with PyAV where there is no decord, and the sound with
PyAV.

Of VOTES, Parquet in the schema of emo's votes: the share of the voters of each clip that gave a word of a
cluster, and the clusters that half of the most voted one reaches, best first. `fusion` is emo's own rule in
one process, which also keeps the evidence, the spellings and the agreement. CLUSTERS: Parquet with `label`
and `cluster`.
"""

import io
import sys
from pathlib import Path
from typing import Any

FRAMES = 8
LONGEST = 448
SHARD = 50


def centres(count: int) -> list[int]:
    return sorted({int((i + 0.5) * count / FRAMES) for i in range(FRAMES)})


def read_clip(path: str) -> dict[str, Any]:
    """A row of the table: id, frames, sound."""
    return {"video_id": Path(path).stem, "frames": read_frames(path), "audio": read_sound(path)}


def read_frames(path: str) -> list[bytes]:
    import cv2

    try:
        import decord
    except ImportError:
        shown = _with_pyav(path)
    else:
        reader = decord.VideoReader(path, num_threads=1)
        shown = list(reader.get_batch(centres(len(reader))).asnumpy())
    pictures = []
    for rgb in shown:
        scale = min(1.0, LONGEST / max(rgb.shape[:2]))
        size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        pictures.append(data.tobytes())
    return pictures


def _with_pyav(path: str) -> list[Any]:
    import av

    with av.open(path) as file:
        video = file.streams.video[0]
        video.codec_context.thread_type, video.codec_context.thread_count = "NONE", 1
        count = video.frames or sum(1 for packet in file.demux(video) if packet.size)
        file.seek(0)
        wanted = set(centres(count))
        decoded = enumerate(file.decode(video))
        return [frame.to_ndarray(format="rgb24") for number, frame in decoded if number in wanted]


def read_sound(path: str) -> bytes | None:
    import av
    import numpy as np
    import soundfile

    with av.open(path) as file:
        if not file.streams.audio:
            return None
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        parts = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
        parts += resampler.resample(None)
    buffer = io.BytesIO()
    wave = np.concatenate([part.to_ndarray()[0] for part in parts])
    soundfile.write(buffer, wave, 16_000, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def emo_rows(paths: list[str]) -> list[dict[str, Any]]:
    """The rows of some files by emo's own decode, in this process."""
    from emo.media.decode import decode_file
    from emo.media.decoded import DecodeSettings

    rows = []
    for path in paths:
        clip = decode_file(path, DecodeSettings())
        rows.append({"video_id": Path(path).stem, "frames": list(clip.frames), "audio": clip.audio})
    return rows


def write_shard(paths: list[str], target: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(emo_rows(paths)), target, compression="zstd")


def pool(videos: list[str], out: Path, cores: int) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    size = max(1, min(SHARD, -(-len(videos) // (4 * cores))))
    shards = [videos[first : first + size] for first in range(0, len(videos), size)]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as workers:
        names = [str(out / f"{number}.parquet") for number in range(len(shards))]
        list(workers.map(write_shard, shards, names))


def ray_data(videos: list[str], out: Path, cores: int) -> None:
    import ray

    ray.init(num_cpus=cores, log_to_driver=False, include_dashboard=False)
    rows = ray.data.from_items([{"path": path} for path in videos])
    rows.map(lambda row: read_clip(row["path"])).write_parquet(str(out))
    ray.shutdown()


def daft_frame(videos: list[str], out: Path, cores: int) -> None:
    import daft

    frames_of = daft.func(read_frames, return_dtype=daft.DataType.list(daft.DataType.binary()))
    sound_of = daft.func(read_sound, return_dtype=daft.DataType.binary())
    table = daft.from_pydict({"path": videos}).into_partitions(4 * cores)
    table = table.select(
        daft.col("path").alias("video_id"),
        frames_of(daft.col("path")).alias("frames"),
        sound_of(daft.col("path")).alias("audio"),
    )
    table.write_parquet(str(out), compression="zstd")


def fusion(votes: str, out: Path, clusters: str) -> None:
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    from emo.cojudgment.fusion import judge_votes
    from emo.config import load_config

    judged = judge_votes(ds.dataset(_files(votes)).to_table(), load_config().judge.rule())
    pq.write_table(judged, out / "judgments.parquet", compression="zstd")


_SQL = """
    with said as (
        select distinct video_id, expert, sample, coalesce(c.cluster, w.label) as cluster
        from (select video_id, expert, sample, unnest(labels) as label from votes) w
        left join clusters c on w.label = c.label
    ), counted as (
        select video_id, cluster, count(*) as voters from said group by video_id, cluster
    ), near as (
        select *, max(voters) over (partition by video_id) as most from counted
    )
    select video_id, list(cluster order by voters desc, cluster) as labels,
           list(voters order by voters desc, cluster) as voters
    from near where 2 * voters >= most group by video_id order by video_id
"""


def duckdb_reduce(votes: str, out: Path, clusters: str) -> None:
    import duckdb

    database = duckdb.connect()
    database.sql(f"create view votes as select * from read_parquet('{votes}/**/*.parquet')")
    database.sql(f"create view clusters as select * from read_parquet('{clusters}')")
    database.sql(_SQL).write_parquet(str(out / "judgments.parquet"), compression="zstd")


def polars_reduce(votes: str, out: Path, clusters: str) -> None:
    import polars as pl

    said = (
        pl.scan_parquet(_files(votes))
        .select("video_id", "expert", "sample", pl.col("labels").alias("label"))
        .explode("label")
        .join(pl.scan_parquet(clusters), on="label", how="left")
        .with_columns(pl.coalesce("cluster", "label").alias("cluster"))
        .select("video_id", "expert", "sample", "cluster")
        .unique()
    )
    counted = said.group_by("video_id", "cluster").agg(pl.len().alias("voters"))
    leading = counted.filter(2 * pl.col("voters") >= pl.col("voters").max().over("video_id"))
    ordered = leading.sort("video_id", pl.col("voters"), "cluster", descending=[False, True, False])
    judged = ordered.group_by("video_id", maintain_order=True).agg(
        pl.col("cluster").alias("labels"), "voters"
    )
    judged.collect().write_parquet(out / "judgments.parquet", compression="zstd")


def daft_reduce(votes: str, out: Path, clusters: str) -> None:
    import daft

    col = daft.col
    said = (
        daft.read_parquet(f"{votes}/**/*.parquet")
        .select("video_id", "expert", "sample", col("labels").alias("label"))
        .explode("label")
        .join(daft.read_parquet(clusters), on="label", how="left")
        .with_column("cluster", col("cluster").fill_null(col("label")))
        .select("video_id", "expert", "sample", "cluster")
        .distinct()
    )
    counted = said.groupby("video_id", "cluster").agg(col("sample").count().alias("voters"))
    most = counted.groupby("video_id").agg(col("voters").max().alias("most"))
    leading = counted.join(most, on="video_id").where(2 * col("voters") >= col("most"))
    ordered = leading.sort(["video_id", "voters", "cluster"], desc=[False, True, False])
    judged = ordered.groupby("video_id").agg(col("cluster").list_agg().alias("labels"))
    judged.write_parquet(str(out), compression="zstd")


def _files(folder: str) -> list[str]:
    return sorted(map(str, Path(folder).rglob("*.parquet")))


def main() -> None:
    who, source, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    readers = {"pool": pool, "ray": ray_data, "daft": daft_frame}
    if who in readers:
        videos = sorted(map(str, Path(source).glob("*.mp4")))
        readers[who](videos, target, int(sys.argv[4]))
        return
    reducers = {
        "fusion": fusion,
        "duckdb": duckdb_reduce,
        "polars": polars_reduce,
        "daft-reduce": daft_reduce,
    }
    reducers[who](source, target, sys.argv[5])


if __name__ == "__main__":
    main()
