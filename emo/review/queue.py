"""Which clips a person is asked about next: pure functions on plain values."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from operator import attrgetter

from emo.captions.splits import VIDEO_OF, video_of
from emo.errors import InputError
from emo.vocabulary.meaning import meaning

UNCERTAIN, CONFLICT, RANDOM, RARE, MIXED = "uncertain", "conflict", "random", "rare", "mixed"
MISMATCH = "mismatch"
EXPERT = "expert:"
KINDS = (MIXED, UNCERTAIN, CONFLICT, RANDOM, RARE, MISMATCH)
# Half uncertain, a quarter conflict, a quarter random.
_TURNS = (UNCERTAIN, RANDOM, UNCERTAIN, CONFLICT)


@dataclass(frozen=True)
class Candidate:
    """A judged clip. agreement: of its voters, 0 to 1, None with fewer than two; conflict: 0 to 1, None where
    it is not known; labels: of the judgment; together: the score of the table `together`, None where there is
    none."""

    video_id: str
    agreement: float | None
    conflict: float | None
    labels: tuple[str, ...]
    together: float | None = None


@dataclass(frozen=True)
class Asked:
    """A clip of the queue, and for which reason it is there: the `queue` of its review."""

    video_id: str
    queue: str


def drawn(video_id: str) -> float:
    """Where a clip comes in the random order, from 0 to 1: the same on every machine and every day."""
    digest = hashlib.sha256(f"review\0{video_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_blind(video_id: str, share: float) -> bool:
    """Whether a clip is one of the share whose labels are hidden, for every reviewer alike."""
    digest = hashlib.sha256(f"blind\0{video_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def queue(
    by: str,
    clips: Sequence[Candidate],
    size: int,
    *,
    per_recording: int | None = None,
    done: Collection[str] = (),
    doubt: Mapping[str, float] | None = None,
    pattern: str = VIDEO_OF,
) -> list[Asked]:
    """The next clips, at most `size`, each once and none of `done`.

    by: one of KINDS or `expert:NAME`; per_recording: at most so many clips of one recording, but for random
    ones, which would be no fair sample any more; doubt: for `expert:NAME`, video_id -> how far the expert is
    from the judgment, 0 to 1; pattern: of the recording in the id, as `caption.video_of`.
    """
    left = [clip for clip in clips if clip.video_id not in done]
    turns = _TURNS if by == MIXED else (by,)
    quota = math.ceil(size * turns.count(RANDOM) / len(turns))
    # Drawn before the others choose, so that what they take does not change the sample.
    sample = sorted(left, key=lambda clip: drawn(clip.video_id))[:quota]
    in_sample = {clip.video_id for clip in sample}
    others = [clip for clip in left if clip.video_id not in in_sample]
    orders = {
        kind: iter(sample if kind == RANDOM else _ranked(kind, others, clips, doubt or {}))
        for kind in dict.fromkeys(turns)
    }
    recordings: Counter[str] = Counter()
    chosen: dict[str, Asked] = {}

    def next_of(kind: str) -> Candidate | None:
        for clip in orders[kind]:
            recording = video_of(clip.video_id, pattern)
            full = per_recording is not None and recordings[recording] >= per_recording
            if clip.video_id not in chosen and (kind == RANDOM or not full):
                recordings[recording] += kind != RANDOM
                return clip
        return None

    # In turns; what one kind has no clips for, the others fill.
    empty: set[str] = set()
    for kind in cycle(turns):
        if len(chosen) >= size or len(empty) == len(orders):
            break
        clip = next_of(kind)
        if clip is None:
            empty.add(kind)
        else:
            chosen[clip.video_id] = Asked(clip.video_id, kind)
    return list(chosen.values())


def _ranked(
    kind: str, others: Sequence[Candidate], everything: Sequence[Candidate], doubt: Mapping[str, float]
) -> list[Candidate]:
    """The clips in the order of a kind, those first that deserve a look; equals by id."""
    worth: Callable[[Candidate], float | None]
    if kind == UNCERTAIN:
        worth = _doubtful
    elif kind == CONFLICT:
        worth = attrgetter("conflict")
    elif kind == MISMATCH:

        def worth(clip: Candidate) -> float | None:
            return None if clip.together is None else -clip.together
    elif kind == RARE:
        clips_with = Counter(meaning(label) for clip in everything for label in set(clip.labels))

        def worth(clip: Candidate) -> float | None:
            return max((1 / clips_with[meaning(label)] for label in clip.labels), default=None)
    elif kind.startswith(EXPERT):

        def worth(clip: Candidate) -> float | None:
            return doubt.get(clip.video_id)
    else:
        raise InputError(f"there is no queue {kind!r}; expected one of: {', '.join(KINDS)}, {EXPERT}NAME")
    ranks = [(value, clip) for clip in others if (value := worth(clip)) is not None]
    return [clip for _, clip in sorted(ranks, key=lambda pair: (-pair[0], pair[1].video_id))]


def _doubtful(clip: Candidate) -> float | None:
    return None if clip.agreement is None else 1 - clip.agreement
