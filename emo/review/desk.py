"""Who is asked what, and what was answered: the state of one server, behind a lock."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from emo.captions.splits import VIDEO_OF
from emo.errors import EmoError, InputError
from emo.review import answers, figures, gain
from emo.review.answers import Answer
from emo.review.consensus import read_reviews
from emo.review.library import Library
from emo.review.queue import EXPERT, KINDS, MIXED, Asked, Candidate, is_blind, queue
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import CLIPS, JUDGMENTS

# A clip that somebody has been shown is kept for them so long.
HELD_S = 900.0
# What runs have judged meanwhile is looked for so often.
LOOK_S = 60.0


class Superseded(EmoError):
    """The review that an answer would replace is not the one that the person saw."""


@dataclass(frozen=True)
class Rules:
    """by: the kind of queue; size: clips of one queue; reviewers: people that each clip goes to;
    per_recording: at most so many clips of one recording; blind: share of clips whose labels are hidden;
    video_of: the pattern of the recording in an id.
    """

    by: str = MIXED
    size: int = 200
    reviewers: int = 1
    per_recording: int | None = 3
    blind: float = 0.1
    video_of: str = VIDEO_OF

    def __post_init__(self) -> None:
        if self.by not in KINDS and not (self.by.startswith(EXPERT) and self.by != EXPERT):
            raise InputError(
                f"there is no queue {self.by!r}; expected one of: {', '.join(KINDS)}, {EXPERT}NAME"
            )
        for name in ("size", "reviewers", "per_recording"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected 1 or more")
        if not 0 <= self.blind <= 1:
            raise InputError(f"blind is {self.blind:g}; expected a share from 0 to 1")


class Desk:
    """The queue and the reviews of an OUT. Every method may be called by any thread."""

    def __init__(self, storage: Storage, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self.storage = storage
        self.rules = rules
        self._seen = self._files()
        self.library = Library(storage)
        if rules.by.startswith(EXPERT) and rules.by.removeprefix(EXPERT) not in self.library.experts():
            known = ", ".join(self.library.experts()) or "none"
            raise InputError(f"no expert {rules.by.removeprefix(EXPERT)!r} voted; it has: {known}")
        self._clock = clock
        self._looked = clock()
        self._lock = threading.RLock()
        self._reviews: dict[tuple[str, str], dict[str, Any]] = {}
        self._held: dict[str, dict[str, float]] = {}
        self._queue: list[Asked] = []
        self._candidates: list[Candidate] = []
        self._doubt: dict[str, float] = {}
        self._read_reviews()
        self._rank()

    def anew(self) -> int:
        """Read OUT again, with what runs and other servers have added, and make a new queue; its length."""
        seen = self._files()
        library = Library(self.storage)
        with self._lock:
            self.library, self._seen = library, seen
            self._read_reviews()
            self._rank()
            return len(self._queue)

    def _files(self) -> tuple[set[str], set[str]]:
        # Those of clips grow while a run goes on, which changes nothing here.
        clips, judged = (set(committed.files(self.storage, table.name)) for table in (CLIPS, JUDGMENTS))
        return clips, judged

    def _differs(self, now: tuple[set[str], set[str]]) -> bool:
        return now[1] != self._seen[1] or not self._seen[0] <= now[0]

    def _read_reviews(self) -> None:
        # Those of clips that were forgotten leave the memory too; every accepted one is in the table.
        self._reviews = {(row["video_id"], row["reviewer"]): row for row in read_reviews(self.storage)}

    def _rank(self) -> None:
        self._candidates = self.library.candidates()
        if self.rules.by.startswith(EXPERT):
            self._doubt = self.library.doubt(self.rules.by.removeprefix(EXPERT))
        self._fill()

    def _fill(self) -> None:
        by_clip = self._reviewers_of()
        # A clip that lacks a reviewer comes before new ones, for the reason for which it was asked.
        asked = {row["video_id"]: row["queue"] for row in self._reviews.values() if row["queue"]}
        started = [
            Asked(video_id, asked[video_id])
            for video_id, names in sorted(by_clip.items())
            if video_id in asked and len(names) < self.rules.reviewers and self.library.has(video_id)
        ]
        fresh = queue(
            self.rules.by,
            self._candidates,
            self.rules.size,
            per_recording=self.rules.per_recording,
            done=by_clip.keys(),
            doubt=self._doubt,
            pattern=self.rules.video_of,
        )
        self._queue = [*started, *fresh]

    def _reviewers_of(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for video_id, reviewer in self._reviews:
            found.setdefault(video_id, set()).add(reviewer)
        return found

    def next(self, reviewer: str, skipped: frozenset[str] = frozenset()) -> Asked | None:
        """The next clip for this reviewer, which nobody else is shown meanwhile; None: there is none left."""
        while True:
            with self._lock:
                found = self._find(reviewer, skipped)
                if found is None:
                    self._fill()
                    found = self._find(reviewer, skipped)
                if found is not None:
                    self._held.setdefault(found.video_id, {})[reviewer] = self._clock() + HELD_S
            if found is None or self.has(found.video_id):
                return found

    def has(self, video_id: str) -> bool:
        """Whether OUT holds this clip: `emo forget` may remove it while people review."""
        held = self.library.held(video_id)
        if held and not self.storage.has(held[video_id]):
            self.anew()
        return self.library.has(video_id)

    def _find(self, reviewer: str, skipped: frozenset[str]) -> Asked | None:
        now = self._clock()
        by_clip = self._reviewers_of()
        for asked in self._queue:
            names = by_clip.get(asked.video_id, set())
            if asked.video_id in skipped or reviewer in names:
                continue
            holders = {name for name, until in self._held.get(asked.video_id, {}).items() if until > now}
            if len(names | holders - {reviewer}) < self.rules.reviewers:
                return asked
        return None

    def give_back(self, video_id: str, reviewer: str) -> None:
        """Somebody else may be shown this clip."""
        with self._lock:
            self._held.get(video_id, {}).pop(reviewer, None)

    def is_blind(self, video_id: str) -> bool:
        """Whether the labels of a clip are hidden."""
        return is_blind(video_id, self.rules.blind)

    def review(self, video_id: str, reviewer: str) -> dict[str, Any] | None:
        """The newest review of this reviewer."""
        with self._lock:
            return self._reviews.get((video_id, reviewer))

    def answer(self, answer: Answer, replaces: str | None) -> dict[str, Any]:
        """Commit an answer; the row. replaces: run_id of the review that the person saw, None: saw none.

        Raises Superseded where it is another one by now, Forgotten where the clip is not in OUT any more, and
        StorageError where it could not be written: then nothing was accepted.
        """
        now = datetime.now(UTC)
        with self._lock:
            before = self._reviews.get((answer.video_id, answer.reviewer))
            if before is not None and before["run_id"] != replaces:
                # A repeated request whose answer was lost says the same: that is no conflict.
                repeated = answers.row(answer, before["run_id"], before["reviewed_at"])
                if repeated == before:
                    return before
                raise Superseded(f"{answer.reviewer} has answered this clip in another window meanwhile")
            row = answers.row(answer, answers.new_id(now, replaces), now)
            answers.commit(self.storage, [row], self.library.held(answer.video_id))
            self._reviews[answer.video_id, answer.reviewer] = row
            self._held.get(answer.video_id, {}).pop(answer.reviewer, None)
            return row

    def gain(self) -> str:
        """What the last reviews taught the judge and whether more are worth it, or why that is not known."""
        with self._lock:
            rows = list(self._reviews.values())
        try:
            return gain.line(gain.of_out(self.storage, rows, self.rules.video_of))
        except InputError as error:
            return str(error)

    def refresh(self) -> None:
        """Make the queue anew where a run has judged since, as after a calibration, or clips were forgotten;
        looks now and then.
        """
        with self._lock:
            if self._clock() - self._looked < LOOK_S:
                return
            self._looked = self._clock()
        if self._differs(self._files()):
            self.anew()

    def progress(self, reviewer: str) -> dict[str, Any]:
        """How far the queue is, and what the reviews say of the labels."""
        with self._lock:
            rows = list(self._reviews.values())
            mine = sum(row["reviewer"] == reviewer for row in rows)
            by_clip = self._reviewers_of()
            done = sum(len(by_clip.get(one.video_id, ())) >= self.rules.reviewers for one in self._queue)
            queued = len(self._queue)
        return {"mine": mine, "done": done, "queued": queued, "by": self.rules.by, **figures.quality(rows)}
