"""Clips of a source, looked up: how large their files are, when they were written, what lies beside them."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from emo import uses
from emo.errors import InputError
from emo.paths import split
from emo.sources.folders import left_out
from emo.sources.listing import Listing, together
from emo.sources.sidecars import Sidecar, Sidecars
from emo.sources.times import END, START
from emo.sources.turns import DIALOGUE
from emo.store import planning
from emo.store.backend import Entry
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import CLIPS

MANIFEST = pa.schema(
    [
        *(CLIPS.schema.field(name) for name in ("video_id", "uri", "size", "modified", "language")),
        *(CLIPS.schema.field(name) for name in ("transcript_version", START, END, *DIALOGUE)),
        pa.field("subtitle", pa.string()),
        pa.field("sidecar", pa.string()),  # uri of a subtitle file beside the video
        pa.field("carried", pa.string()),  # JSON: the cells of the columns that `ingest.carry` names
        pa.field("use", pa.string()),  # label | train | none; null: the source does not say
    ]
)
# Names of the containers that the decoder reads; what else stands in a folder is counted and said.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3g2", "3gp", "3gp2", "3gpp", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "ismv", "ivf"),
        *(
            "m2p",
            "m2t",
            "m2ts",
            "m4v",
            "mj2",
            "mk3d",
            "mkv",
            "mov",
            "mp4",
            "mpe",
            "mpeg",
            "mpg",
            "mts",
            "mxf",
        ),
        *("nut", "ogm", "ogv", "qt", "rm", "rmvb", "trp", "ts", "vob", "webm", "wmv"),
    )
)


class Row(NamedTuple):
    """One clip before its file has been looked up; `where` names the row for a person, the other names are
    those of MANIFEST.
    """

    uri: str
    video_id: str
    where: str
    subtitle: str | None = None
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    use: str | None = None
    carried: str | None = None
    dialogue_id: str | None = None
    turn: int | None = None
    speaker: str | None = None


# The same of many clips: a list, or a column, for each name that is said of any, all of one length.
Columns = dict[str, Any]


def columns_of(rows: Sequence[Row]) -> Columns:
    """Clips as columns."""
    return {name: list(map(itemgetter(at), rows)) for at, name in enumerate(Row._fields)}


def look_up(rows: pa.Table, s3: S3Settings | None = None) -> pa.Table:
    """The manifest of rows that hold video_id, uri, subtitle, language and times, and may hold a turn, by the
    files as they are now.
    """
    found = [
        Row(
            *(row[name] for name in ("uri", "video_id", "uri", "subtitle", "language", START, END)),
            **{name: row.get(name) for name in DIALOGUE},
        )
        for row in rows.to_pylist()
    ]
    return finish(columns_of(found), list_parents(found, s3 or S3Settings()), [])


def is_video(path: str) -> bool:
    """Whether a file is a video by its name."""
    # As `splitext` has it, in a third of the time: a source has a million of them.
    stem, dot, suffix = path.rpartition(".")
    return f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES and stem.rpartition("/")[2].strip(".") != ""


# As `is_video` has it. Python makes a small letter of K (in kelvin) too, but of no other that is not ASCII.
_LETTERS = {"k": r"[kK\x{212A}]"} | {one: f"[{one}{one.upper()}]" for one in "abcdefghijlmnopqrstuvwxyz"}
_VIDEO = rf"""[^./][^/]*\.(?:{
    "|".join("".join(_LETTERS.get(one, one) for one in suffix[1:]) for suffix in sorted(VIDEO_SUFFIXES))
})$"""


def are_videos(paths: pa.Array) -> pa.Array:
    """Whether each of these files (string) is a video by its name: bool."""
    return pc.match_substring_regex(paths, _VIDEO)


def listing_of(folder: str, s3: S3Settings) -> Listing:
    """The files right in one folder, by their full path; empty where it is not there."""
    storage = Storage(folder, s3, exact=True)
    return Listing.of(storage.entries(recursive=False)).below(storage.full("x")[:-1])


def list_parents(rows: Iterable[Row], s3: S3Settings) -> Listing:
    """The files of every folder that a manifest names: one listing per folder, not one question per clip."""
    folders = sorted({split(row.uri)[0] for row in rows if row.use != uses.NONE})
    return together(listing_of(folder, s3) for folder in folders)


def finish(
    columns: Columns, listing: Listing, named: Iterable[str], place: str = "", hidden: int = 0
) -> pa.Table:
    """Look up every file and its sidecar, refuse ids that are not unique, sort; say what was left out.

    named: the files below `place` that were looked at, relative to it; hidden: how many more there are that
    belong to a system.
    """
    # `where` is for a person: it may be no text that a table can hold.
    given = {name: _column(name, values) for name, values in columns.items() if name != "where"}
    uris = given["uri"]
    _check_ids(given["video_id"], columns["where"])
    nothing = pa.nulls(len(uris), pa.string())
    subtitles, languages = given.get("subtitle", nothing), given.get("language", nothing)
    read, shut = uris, pa.repeat(False, len(uris))
    if "use" in given:
        shut = pc.equal(given["use"], uses.NONE).fill_null(False)
        read = pc.if_else(shut, pa.scalar(None, pa.string()), uris)
    sizes, modified = listing.versions(read)
    beside = Sidecars(listing, are_videos)
    # Most of a million rows have nothing of the kind.
    sidecars: dict[int, Sidecar] = {}
    if beside:
        asked = pc.indices_nonzero(pc.and_(pc.is_null(subtitles), pc.invert(shut))).to_pylist()
        sidecars, languages = _sidecars(asked, uris.to_pylist(), languages.to_pylist(), beside)
    files: list[str | None] = [None] * len(uris)
    for at, sidecar in sidecars.items():
        files[at] = sidecar.uri
    versions: list[str | None] = [None] * len(uris)
    texts, spoken = subtitles.to_pylist(), languages.to_pylist()
    worded = pc.or_(pc.is_valid(subtitles), pc.is_valid(languages))
    for at in {*pc.indices_nonzero(worded).to_pylist(), *sidecars}:
        file = listing.entry(sidecars[at].uri) if at in sidecars else None
        versions[at] = _transcript_version(texts[at], spoken[at], file)
    for line in left_out(place, named, hidden, {one.uri for one in sidecars.values()}, is_video):
        print(line, file=sys.stderr)
    if beside.several:
        print(
            f"{len(set(beside.several))} clips have subtitle files in several languages, such as "
            f"{beside.several[0]}; the first by name is taken where a manifest gives no language",
            file=sys.stderr,
        )
    found = given | {
        "language": languages,
        "size": sizes,
        "modified": modified,
        "transcript_version": _column("transcript_version", versions),
        "sidecar": _column("sidecar", files),
    }
    lacking = {field.name: pa.nulls(len(uris), field.type) for field in MANIFEST if field.name not in found}
    table = pa.table({name: (found | lacking)[name] for name in MANIFEST.names}, schema=MANIFEST)
    if planning.rises(table.column("video_id")):
        # As a folder gives them.
        return table
    return table.take(pc.sort_indices(table, sort_keys=[("video_id", "ascending")]))


def _column(name: str, values: Any) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(values, MANIFEST.field(name).type if name in MANIFEST.names else pa.string())


def _sidecars(
    asked: Iterable[int], uris: Sequence[str], languages: list[str | None], beside: Sidecars
) -> tuple[dict[int, Sidecar], pa.Array]:
    """The subtitle files of the clips at these places, and the languages of all clips with those that the
    names of such files say.
    """
    found: dict[int, Sidecar] = {}
    for at in asked:
        if sidecar := beside.of(uris[at], languages[at]):
            found[at] = sidecar
            if sidecar.language and not languages[at]:
                languages[at] = sidecar.language
    return found, _column("language", languages)


def _check_ids(ids: pa.Array, where: Iterable[Any]) -> None:
    """Raise InputError where two clips have one id."""
    if planning.rises(ids) or pc.count_distinct(ids).as_py() == len(ids):
        return
    first: dict[str, str] = {}
    for video_id, place in zip(ids.to_pylist(), where, strict=True):
        if video_id in first:
            raise InputError(
                f"two clips would share the id {video_id!r}: {first[video_id]} and {place}; "
                "give them ids in a manifest"
            )
        first[video_id] = place


def _transcript_version(subtitle: str | None, language: str | None, sidecar: Entry | None) -> str | None:
    """Tells apart the words that a source gives: a manifest's by the text, a sidecar's by size and time."""
    file = f"{sidecar.path[-4:]} {sidecar.size} {sidecar.modified.timestamp()}" if sidecar else None
    if subtitle is None and language is None:
        return file
    given = "\0".join((subtitle or "", language or "", file or ""))
    return hashlib.blake2b(given.encode(), digest_size=8).hexdigest()
