"""The tables that pass between jobs: one schema each, declared here and nowhere else.

Every table carries `run_id`; run ids sort by time, and of several rows with one key the one of the newest
run counts. A step that can fail writes `status` (`ok` or `failed`), `error` (a short stable code) and
`error_message` for every row that it was given.

Longer than most files here: a list of columns, which is read side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from emo.errors import RowError

# Written into every file. A schema may only gain columns that may be null, and each time it does, this grows:
# files of earlier versions are read with nulls there, those of later ones are read but never rewritten.
# 1: before files said so. 2: folders by expert are called NAME instead of `expert=NAME`.
# 3: descriptions say which engine wrote them; clips may be a part of their file.
# 4: votes say which of their labels are alternatives; judgments tell of rounds and of how far the senses are
# apart.
# 5: descriptions say what their expert was trained on and the licence of its model, drafts of MERR's kind
# what they are made of; clips may be turns of a dialogue; descriptions and votes say which turns were told;
# descriptions may keep vectors.
SCHEMA_VERSION = 5
SCHEMA_KEY = "emo.schema_version"

OK = "ok"
FAILED = "failed"
# Captions only: made without a fault, and not to be trained on; `filters` says why.
FILTERED = "filtered"
# Of a piece that its recording no longer has: the newest row of its key, so that no row of it counts.
SUPERSEDED = "superseded"

_STATUS = [
    # ok | failed; of captions also filtered; superseded: a piece that its recording no longer has
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", pa.string()),  # a short stable code, null where ok
    pa.field("error_message", pa.string()),  # what went wrong, for a person
    pa.field("run_id", pa.string(), nullable=False),  # the run that made it; the greatest counts
]
_VOTER = [
    pa.field("video_id", pa.string(), nullable=False),  # the clip
    pa.field("expert", pa.string(), nullable=False),  # the name of the expert in the configuration
    pa.field("sample", pa.int32(), nullable=False),  # number of the answer, from 0
]


@dataclass(frozen=True)
class Table:
    """One table: its name (the folder under OUT), the columns of its key, and its schema.

    light: the columns that planning looks at again and again; they are read together and remembered.
    needs: columns without which a file is none of this table, though a row may have no value there; others
    that may be null a file of an earlier version may lack.
    row_group_rows: rows of one Parquet row group, which is read and written as a whole: few where a row
    weighs half a megabyte, and elsewhere few enough that one clip is found quickly in a file that was merged
    of many.
    """

    name: str
    key: tuple[str, ...]
    schema: pa.Schema
    light: tuple[str, ...] = ("status", "error")
    needs: tuple[str, ...] = ()
    row_group_rows: int = 8_192

    def rows(self, columns: Mapping[str, Any], run_id: str, errors: Sequence[RowError | None]) -> pa.Table:
        """Rows of this table, one per element of `errors`: failed where there is an error.

        columns: values of as many rows; columns that are not given are null.
        """
        every = {
            **columns,
            "status": [FAILED if error else OK for error in errors],
            "error": [error.code if error else None for error in errors],
            "error_message": [error.message if error else None for error in errors],
            "run_id": [run_id] * len(errors),
        }
        nothing = [None] * len(errors)
        return pa.table({name: every.get(name, nothing) for name in self.schema.names}, schema=self.schema)

    def superseded(self, rows: pa.Table, run_id: str) -> pa.Table:
        """Rows that say of these, of which only what may not be null is needed, that they count no more."""
        said = {"status": SUPERSEDED, "run_id": run_id}
        columns = {name: pa.repeat(pa.scalar(text), rows.num_rows) for name, text in said.items()}
        for field in self.schema:
            kept = rows.column(field.name) if not field.nullable and field.name not in said else None
            columns.setdefault(field.name, pa.nulls(rows.num_rows, field.type) if kept is None else kept)
        return pa.table({name: columns[name] for name in self.schema.names}, schema=self.schema)


SEGMENTS = Table(
    "segments",
    ("recording", "video_id"),
    pa.schema(
        [
            pa.field("recording", pa.string(), nullable=False),  # the id of the file that it is a part of
            pa.field("video_id", pa.string(), nullable=False),  # the clip that it becomes
            pa.field("uri", pa.string(), nullable=False),  # where the recording is
            pa.field("size", pa.int64()),  # of the file in bytes
            pa.field("modified", pa.timestamp("us", tz="UTC")),  # when the file was last written
            # Which words the source gave, in the manifest or a sidecar; null: none.
            pa.field("transcript_version", pa.string()),
            pa.field("start_s", pa.float64()),  # seconds from the first frame; null: there is no piece
            pa.field("end_s", pa.float64()),  # as start_s
            pa.field("by", pa.string()),  # what found it: subtitles | speech | shots | fixed
            pa.field("text", pa.string()),  # the words, where subtitles found it
            pa.field("language", pa.string()),  # a code such as en or zh
            pa.field("speaker", pa.string()),  # a name before the words, or who says most (`split.diarise`)
            pa.field("speech_share", pa.float64()),  # share of it in which somebody speaks, 0 to 1
            # These three, as others above, are null where nobody asked.
            pa.field("music", pa.bool_()),  # whether its sound is music without speech
            pa.field("people", pa.int32()),  # faces in its middle frames
            pa.field("light", pa.float64()),  # how bright these are, from 0 (black) to 1 (white)
            pa.field("kept", pa.bool_()),  # whether it becomes a clip
            pa.field("reason", pa.string()),  # why it does not
            *_STATUS,
        ]
    ),
    light=("status", "error", "uri", "size", "modified", "transcript_version", "kept", "start_s", "end_s"),
    needs=("kept",),
)

CLIPS = Table(
    "clips",
    ("video_id",),
    pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),  # of the manifest, or its path
            pa.field("uri", pa.string(), nullable=False),  # where the video is
            pa.field("start_s", pa.float64()),  # where in its file it begins, seconds; null: it is all of it
            pa.field("end_s", pa.float64()),  # where in the file the clip ends; null: at the end of the file
            # Of the manifest, as the next two: the conversation that it is a turn of; null: of none.
            pa.field("dialogue_id", pa.string()),
            pa.field("turn", pa.int32()),  # where it comes in its dialogue; only the order counts
            pa.field("speaker", pa.string()),  # who speaks; null: not known
            pa.field("size", pa.int64()),  # of the file in bytes
            pa.field("modified", pa.timestamp("us", tz="UTC")),  # when the file was last written
            pa.field("duration_s", pa.float64()),  # length in seconds
            pa.field("width", pa.int32()),  # pixels as displayed: rotation applied; null: sound alone
            pa.field("height", pa.int32()),  # as width
            pa.field("fps", pa.float64()),  # average frames per second
            pa.field("frame_times", pa.list_(pa.float64())),  # seconds from the first frame
            pa.field("frames", pa.list_(pa.binary())),  # JPEG
            pa.field("audio", pa.binary()),  # FLAC, 16 kHz mono; null: the clip has no sound
            pa.field("transcript", pa.string()),  # what is said
            pa.field("transcript_source", pa.string()),  # manifest | sidecar | embedded | speech
            pa.field("language", pa.string()),  # a code such as en or zh
            # Which words the source gave, in the manifest or a sidecar; null: none.
            pa.field("transcript_version", pa.string()),
            pa.field("decoder", pa.string()),  # what read the frames: pyav | decord
            pa.field("notes", pa.list_(pa.string())),  # what is not as it should be in a usable file
            *_STATUS,
        ]
    ),
    light=(
        *("status", "error", "uri", "size", "modified", "transcript_version"),
        *("start_s", "end_s", "dialogue_id", "turn", "speaker", "duration_s", "error_message"),
    ),
    row_group_rows=64,
    needs=("frames",),
)

DESCRIPTIONS = Table(
    "descriptions",
    ("video_id", "expert", "sample"),
    pa.schema(
        [
            *_VOTER,
            pa.field("text", pa.string()),  # what the expert wrote
            pa.field("thought", pa.string()),  # what the model thought before it wrote the text
            pa.field("prompt_tokens", pa.int32()),  # tokens that the model read
            pa.field("output_tokens", pa.int32()),  # tokens that the model wrote
            pa.field("finish_reason", pa.string()),  # why the model stopped, such as stop or length
            pa.field("modalities", pa.list_(pa.string())),  # what the expert wanted
            pa.field("degraded", pa.list_(pa.string())),  # what it wanted and was not there
            pa.field("model", pa.string()),  # the checkpoint
            pa.field("revision", pa.string()),  # which version of the checkpoint
            pa.field("adapter", pa.string()),  # the LoRA adapter; null: none
            pa.field("prompt_sha", pa.string()),  # digest of the prompt
            pa.field("licence", pa.string()),  # as the checkpoint says of itself; null: it says nothing
            pa.field("engine", pa.string()),  # what ran the model, with its version; null: not known
            pa.field("trained_on", pa.list_(pa.string())),  # data sets, as far as they are told; null: before
            # The clips whose words it was told as the turns before, oldest first; null: it is told none.
            pa.field("context", pa.list_(pa.string())),
            pa.field("labels", pa.list_(pa.string())),  # given by the expert itself; null: the text is read
            pa.field("strengths", pa.list_(pa.float64())),  # how strong each label is, above 0 to 1
            # What its last layer read, of each part of the clip in time order; null: not kept.
            pa.field("vectors", pa.list_(pa.list_(pa.float32()))),
            *_STATUS,
        ]
    ),
    needs=("text",),
)

VOTES = Table(
    "votes",
    ("video_id", "expert", "sample"),
    pa.schema(
        [
            *_VOTER,
            pa.field("labels", pa.list_(pa.string())),  # best first; empty: no emotion seen
            pa.field("extractor", pa.string()),  # which extractor read the text, with its version
            pa.field("parse_ok", pa.bool_()),  # whether the text could be read
            pa.field("strengths", pa.list_(pa.float64())),  # beside labels; null: by their place in the list
            # Beside labels: those of one number, from 1, are a guess between them; 0: meant by itself. Null:
            # no label is a guess, or an older vote says not.
            pa.field("alternatives", pa.list_(pa.int32())),
            # The text that was read, where it is not the description itself: the transcript merged into it.
            pa.field("merged_text", pa.string()),
            # Whether it rests on what is said, read by the expert or merged in: such votes share a source.
            pa.field("from_transcript", pa.bool_()),
            # The clips before it in its dialogue, oldest first, that the extractor had at hand: it was told
            # their words where those of the clip were merged in or shown. Null: it is given none.
            pa.field("context", pa.list_(pa.string())),
            pa.field("notes", pa.list_(pa.string())),  # what is not as it should be in a usable vote
            *_STATUS,
        ]
    ),
    needs=("labels",),
)

EVIDENCE = pa.struct(
    [
        pa.field("label", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("voters", pa.list_(pa.string())),  # "expert#sample"
    ]
)

JUDGMENTS = Table(
    "judgments",
    ("video_id",),
    pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),  # the clip
            pa.field("labels", pa.list_(pa.string())),  # best first
            pa.field("scores", pa.list_(pa.float64())),  # the support of each label, 0 to 1
            pa.field("evidence", pa.list_(EVIDENCE)),  # all candidates, the kept ones first
            pa.field("n_voters", pa.int32()),  # voters that answered
            # Of them those that rest on what is said (`votes.from_transcript`); null: an older vote says not.
            pa.field("n_from_transcript", pa.int32()),
            pa.field("agreement", pa.float64()),  # null with fewer than two voters
            # How far what is seen, heard and said are apart, from 0 to 1: a flag for people, never a label.
            # Null: fewer than two of these have an expert of their own that gave a label.
            pa.field("conflict", pa.float64()),
            pa.field("description", pa.string()),  # what the voter wrote that fits the labels best
            pa.field("judge", pa.string()),  # the rule, what was learned, and the experts
            pa.field("n_answers", pa.int32()),  # answers that were read, also those without a label
            # After each round that is over: how far the answers agree that were due by then; null: no rounds.
            pa.field("round_agreement", pa.list_(pa.float64())),
            pa.field("closed_in", pa.int32()),  # the round that closed it, from 1; null: none did
            # A digest of which votes and descriptions it was made of; null: made before this was kept.
            pa.field("seen", pa.int64()),
            *_STATUS,
        ]
    ),
    light=("status", "error", "judge", "seen"),
    needs=("labels",),
)

_VARIANT = [
    pa.field("video_id", pa.string(), nullable=False),  # the clip
    pa.field("expert", pa.string(), nullable=False),  # the name of the expert in the configuration
    pa.field("prompt", pa.string(), nullable=False),  # of one that shows the gold also what
    pa.field("window", pa.string(), nullable=False),  # per cent of the clip, such as 0-50
    pa.field("sample", pa.int32(), nullable=False),  # number of the answer, from 0
]
_VARIANT_KEY = ("video_id", "expert", "prompt", "window", "sample")

# What captioning experts wrote, before anything is left out.
DRAFTS = Table(
    "drafts",
    _VARIANT_KEY,
    pa.schema(
        [
            *_VARIANT,
            pa.field("question", pa.string(), nullable=False),  # what a model trained on it is asked
            pa.field("text", pa.string()),  # what the expert wrote
            pa.field("thought", pa.string()),  # what the model thought before it wrote the text
            pa.field("frames", pa.list_(pa.int32())),  # places in the clip's frames that went along
            pa.field("audio", pa.bool_()),  # whether the window's sound went along
            pa.field("gold_shown", pa.string(), nullable=False),  # label_free | label_conditioned
            pa.field("seed", pa.int64()),  # where its random numbers start
            pa.field("degraded", pa.list_(pa.string())),  # what it wanted and was not there
            pa.field("output_tokens", pa.int32()),  # tokens that the model wrote
            pa.field("finish_reason", pa.string()),  # why the model stopped, such as stop or length
            pa.field("model", pa.string()),  # the checkpoint
            pa.field("revision", pa.string()),  # which version of the checkpoint
            pa.field("adapter", pa.string()),  # the LoRA adapter; null: none
            pa.field("prompt_sha", pa.string()),  # digest of the prompt
            pa.field("clues", pa.string()),  # JSON: what a caption of caption.merr is made of; null: another
            *_STATUS,
        ]
    ),
    needs=("text",),
)

DRAFT_LABELS = Table(
    "draft_labels",
    _VARIANT_KEY,
    pa.schema(
        [
            *_VARIANT,
            pa.field("labels", pa.list_(pa.string())),  # the words in the draft
            pa.field("extractor", pa.string()),  # which extractor read the draft, with its version
            *_STATUS,
        ]
    ),
    needs=("labels",),
)

CAPTION_SOURCE = pa.struct(
    [
        pa.field("expert", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("window", pa.string()),
        pa.field("sample", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("gold_shown", pa.string()),  # label_free | label_conditioned
        pa.field("model", pa.string()),  # the checkpoint
        pa.field("revision", pa.string()),  # which version of the checkpoint
        pa.field("adapter", pa.string()),  # the LoRA adapter; null: none
        pa.field("prompt_sha", pa.string()),  # digest of the prompt
    ]
)

# What is to be trained on: the rows whose status is `ok`.
CAPTIONS = Table(
    "captions",
    ("caption_id",),
    pa.schema(
        [
            pa.field("caption_id", pa.string(), nullable=False),  # made of the clip and its variant
            pa.field("video_id", pa.string(), nullable=False),  # the clip
            pa.field("split", pa.string(), nullable=False),  # train | validation | test
            pa.field("messages", pa.string()),  # chat as JSON, a tag per medium
            pa.field("frames", pa.list_(pa.int32())),  # places in the clip's frames, one per <image>
            pa.field("audio", pa.bool_()),  # whether <audio> is the sound of the clip within source.window
            pa.field("labels", pa.list_(pa.string())),  # extracted from the caption
            pa.field("source", CAPTION_SOURCE),  # which draft it was made of
            pa.field("quality", pa.float64()),  # share of the crowd that agrees; null: no crowd
            pa.field("filters", pa.list_(pa.string())),  # those that it failed; any: `filtered`
            *_STATUS,
        ]
    ),
    needs=("messages",),
)

# What people say of the labels; never written over a machine's, and without the lease.
REVIEWS = Table(
    "reviews",
    ("video_id", "reviewer"),
    pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),  # the clip
            pa.field("reviewer", pa.string(), nullable=False),  # the name of the person
            pa.field("labels", pa.list_(pa.string())),  # what the person says; null: unusable
            # The labels of the judgment at that moment; of a blind clip they were hidden; null: no judgment.
            pa.field("shown_labels", pa.list_(pa.string())),
            # accepted | corrected | labelled (nothing was shown) | unusable
            pa.field("verdict", pa.string()),
            pa.field("added", pa.list_(pa.string())),  # labels that are not among shown_labels
            pa.field("removed", pa.list_(pa.string())),  # shown_labels that are not among labels
            pa.field("several_people", pa.bool_()),  # whether more than one person is seen or heard
            pa.field("comment", pa.string()),  # what the person wrote
            pa.field("seconds", pa.float64()),  # how long the person took
            # Why the clip was asked for: uncertain, conflict, random, rare, mismatch, expert:NAME; only
            # random clips are a fair sample. Null: from another tool.
            pa.field("queue", pa.string()),
            pa.field("blind", pa.bool_()),  # whether the machine's labels were hidden
            pa.field("source_tool", pa.string()),  # emo, or the program that it was imported from
            pa.field("judged_by_run", pa.string()),  # run_id of the judgment; null: none
            pa.field("reviewed_at", pa.timestamp("us", tz="UTC")),  # when it was answered
            *_STATUS,
        ]
    ),
    needs=("labels",),
)

# How well the senses of a clip go together (`emo together`): a flag for people, never a label.
TOGETHER = Table(
    "together",
    ("video_id",),
    pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),  # the clip
            # How much nearer its own vectors are than those of different clips, -2 to 2; low: dubbed, a wrong
            # subtitle, somebody else speaks, sarcasm. Null: fewer than two senses.
            pa.field("score", pa.float64()),
            pa.field("experts", pa.list_(pa.string())),  # whose vectors of it were compared
            # How often own vectors were nearer than those of a random pair, over all clips; 0.5 is chance.
            pa.field("nearer", pa.float64()),
            pa.field("loss", pa.string()),  # what the projectors were trained with
            *_STATUS,
        ]
    ),
    needs=("score",),
)

TABLES = {
    table.name: table
    for table in (
        *(SEGMENTS, CLIPS, DESCRIPTIONS, VOTES, JUDGMENTS, DRAFTS, DRAFT_LABELS, CAPTIONS, REVIEWS),
        TOGETHER,
    )
}

# Not among TABLES: it holds no results, but how often a night tried again what failed for a passing reason.
RETRIES = Table(
    "retries",
    ("step", "video_id"),
    pa.schema(
        [
            pa.field("step", pa.string(), nullable=False),
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("attempts", pa.int32(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
        ]
    ),
)

# Not among TABLES either: what a manifest says that its clips may be used for (`emo.uses`).
USES = Table(
    "uses",
    ("video_id",),
    pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("use", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
        ]
    ),
    light=("use",),
)

# Nor this: the columns of a manifest that stay with its clips (`emo.carried`).
CARRIED = Table(
    "carried",
    ("video_id", "column"),
    pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("column", pa.string(), nullable=False),
            pa.field("value", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
        ]
    ),
    light=("value",),
)

# All that holds rows of clips.
EVERY = (*TABLES.values(), RETRIES, USES, CARRIED)
