"""descriptions → together: how well what is seen, heard and said of a clip go together.

vectors that experts kept  →  train projectors without labels  →  score every clip  →  together
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.captions.splits import video_of
from emo.clips import ingested
from emo.config import Config
from emo.errors import InputError
from emo.experts.protocol import AUDIO, FACES, FRAMES, TRANSCRIPT
from emo.run.session import Session
from emo.store import committed, planning
from emo.store.storage import Storage
from emo.store.tables import CLIPS, DESCRIPTIONS, TOGETHER
from emo.together.projectors import FOLDS, Loss, Scored, Vectors, score

_SENSES = {FRAMES: "seen", FACES: "seen", AUDIO: "heard", TRANSCRIPT: "said"}


@dataclass(frozen=True)
class Done:
    """clips: that have a score; experts: whose vectors were compared; scored: what the control says."""

    clips: int
    experts: list[str]
    scored: Scored


def run(session: Session, loss: Loss) -> Done:
    """Score every clip of OUT anew. Raises InputError where there is too little to learn from, or where a
    clip's own vectors are no nearer than those of random pairs: then nothing is written.
    """
    storage = session.storage
    clips = ingested(storage)
    found = vectors_of(storage, session.config, clips)
    pattern = session.config.caption.video_of
    fold = np.array([_fold(video_of(one, pattern)) for one in clips.column("video_id").to_pylist()])
    scored = score(found, fold, loss)
    if not scored.tells:
        raise InputError(
            f"together: own vectors are nearer than those of a random pair in {scored.nearer:.1%} of "
            f"{scored.clips} clips (chance is 50 %, standard error {scored.error:.1%}): a score would say "
            "nothing, and none was written; more clips or other experts may help"
        )
    there = np.stack([one.there for one in found], axis=1)
    names = [[one.expert for one, is_there in zip(found, row, strict=True) if is_there] for row in there]
    known = ~np.isnan(scored.score)
    columns = {
        "video_id": clips.column("video_id"),
        "score": pa.array(scored.score, mask=~known),
        "experts": names,
        "nearer": [scored.nearer] * clips.num_rows,
        "loss": [loss] * clips.num_rows,
    }
    rows = TOGETHER.rows(columns, session.run_id, [None] * clips.num_rows)
    committed.commit(storage, committed.folder(TOGETHER), TOGETHER, f"{session.run_id}-together", rows)
    return Done(scored.clips, [one.expert for one in found], scored)


def vectors_of(storage: Storage, config: Config, clips: pa.Table) -> list[Vectors]:
    """The vectors of each expert that kept some and perceives one sense alone, in the order of `clips`."""
    state = committed.read_newest(storage, committed.folder(CLIPS), CLIPS, ["status"])
    found = []
    for name in (expert.name for expert in config.experts):
        where = committed.folder(DESCRIPTIONS, name)
        rows = committed.read_newest(storage, where, DESCRIPTIONS, ["status", "modalities", "vectors"])
        rows = planning.well(planning.current(rows, state))
        rows = rows.filter(
            pc.and_(
                pc.equal(rows.column("sample"), 0),
                pc.greater(pc.list_value_length(rows.column("vectors")), 0),
            )
        )
        rows = planning.in_both(rows, clips, CLIPS.key)
        senses = {_SENSES.get(one) for lists in rows.column("modalities").to_pylist() for one in lists or ()}
        if len(senses) != 1 or None in senses:
            continue
        views = _views(rows.column("vectors").combine_chunks(), name)
        at = pc.fill_null(planning.place(clips, rows, CLIPS.key), -1).to_numpy()
        there = at >= 0
        placed = np.zeros((clips.num_rows, *views.shape[1:]), dtype=np.float32)
        placed[there] = views[at[there]]
        found.append(Vectors(name, str(senses.pop()), placed, there))
    return found


def _views(lists: pa.ListArray, expert: str) -> np.ndarray:
    """The means of the first and of the last half of each list of vectors: float32 [n, 2, d]."""
    vectors = lists.flatten()
    lengths = pc.unique(pc.list_value_length(vectors)).to_pylist()
    if len(lengths) != 1:
        raise InputError(
            f"together: {expert} kept vectors of {len(lengths)} different lengths, so they are of several "
            "models; describe with one, with --redo"
        )
    flat = vectors.flatten().to_numpy().reshape(-1, lengths[0]).astype(np.float64)
    sums = np.concatenate([np.zeros((1, lengths[0])), np.cumsum(flat, axis=0)])
    count = pc.list_value_length(lists).to_numpy()
    end = np.cumsum(count)
    start, half = end - count, -(-count // 2)
    first = (sums[start + half] - sums[start]) / half[:, None]
    last = (sums[end] - sums[end - half]) / half[:, None]
    return np.stack([first, last], axis=1).astype(np.float32)


def _fold(recording: str) -> int:
    return hashlib.sha256(f"together\0{recording}".encode("utf-8", "surrogatepass")).digest()[0] % FOLDS
