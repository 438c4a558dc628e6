"""One run at a time on one OUT: a lease that its holder renews and that expires when the holder is dead.

Where the storage compares before it writes, the lease is one file. Where an S3 server does not, each run
writes a claim of its own and reads back whether it is the only one.
"""

import json
import os
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Protocol

from emo.errors import EmoError, LeaseHeldError, StorageError
from emo.store.holder import Holder, clock, machine, parse, runs_here, started
from emo.store.storage import Storage

PATH = "lease.json"
# A holder that has not renewed for this long is taken for dead. Three missed renewals, so that a slow
# answer of S3 does not cost a living run its lease.
EXPIRES_S = 90.0
RENEW_S = 25.0
# Between two looks at the lease of a holder that may be dead.
LOOK_S = 1.0
# The folder of the claims, on a server that does not compare before it writes.
CLAIMS = "lease"
# Between a claim and the look at all claims. A listing that shows a write later than this proves nothing.
SETTLE_S = 3.0
# Two that claim at the same moment both withdraw; so often each tries again.
CLAIM_TRIES = 3
# What stands in place of a lease that was given back: S3 cannot remove an object by its version.
_FREE = b'{"free": true}'


@dataclass(frozen=True)
class Held:
    """A lease as it stands in OUT, and the name of that version of its file.

    holder: None where it has a form that this version of emo does not know.
    """

    holder: Holder | None
    version: str
    path: str = PATH

    def describe(self) -> str:
        """Who holds it, for a person."""
        return self.holder.describe() if self.holder else f"a run of another version of emo ({self.path})"

    def lives(self, now: float | None = None) -> bool | None:
        """Whether the holder lives; None where only watching its lease can tell.

        A process of this machine is looked up. Of one elsewhere a renewal of less than EXPIRES_S ago, by the
        time of day `now`, is taken for a sign of life.
        """
        if self.holder is None:
            return None
        here = runs_here(self.holder)
        if here is not None:
            return here
        age = (time.time() if now is None else now) - self.holder.renewed
        return True if 0 <= age <= EXPIRES_S else None


def read_lease(storage: Storage) -> Held | None:
    """The lease of an OUT; None where nobody holds it."""
    found = _read(storage, PATH)
    if found is None and storage.on_s3:
        claims = [held for path in storage.names(CLAIMS) if (held := _read(storage, path))]
        found = max(claims, key=lambda held: held.holder.renewed if held.holder else 0, default=None)
    return found


def _read(storage: Storage, path: str) -> Held | None:
    return _held(storage.read_versioned(path), path)


def _held(found: tuple[bytes, str] | None, path: str) -> Held | None:
    return None if found is None or found[0] == _FREE else Held(parse(found[0]), found[1], path)


class _Place(Protocol):
    """How a lease is kept in one kind of storage."""

    def standing(self) -> list[Held]:
        """The leases of others that stand there."""

    def take(self, data: bytes) -> bool:
        """Take it in place of those that `standing` gave last; False where another run was quicker."""

    def renew(self, data: bytes) -> bool:
        """Write it anew; False where another run has it."""

    def give_back(self) -> None:
        """Give it up, and touch nothing that another run wrote."""


class _OneFile:
    """The lease as one file, where a write can depend on what is there."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._version: str | None = None
        # What was sent without an answer: it may have been written all the same.
        self._sent: set[bytes] = set()

    def standing(self) -> list[Held]:
        found = self._storage.read_versioned(PATH)
        self._version = found[1] if found else None
        held = _held(found, PATH)
        return [held] if held else []

    def take(self, data: bytes) -> bool:
        return self._write(data)

    def renew(self, data: bytes) -> bool:
        return self._write(data)

    def _write(self, data: bytes) -> bool:
        self._sent.add(data)
        written = self._storage.replace_if(PATH, self._version, data)
        if written is None and self._adopt():
            written = self._storage.replace_if(PATH, self._version, data)
        if written is None:
            return False
        self._version = written
        self._sent.clear()
        return True

    def _adopt(self) -> bool:
        """Whether what is there now is a write of ours whose answer was lost; it is then gone on from."""
        found = self._storage.read_versioned(PATH)
        if found is None:
            return False
        if found[1] == self._version:
            raise StorageError(f"{self._storage.full(PATH)}: a write over the right version is refused")
        if found[0] not in self._sent:
            return False
        self._version = found[1]
        return True

    def give_back(self) -> None:
        if self._version is None:
            return
        if self._storage.on_s3:
            self._write(_FREE)
        elif not self._storage.delete_if(PATH, self._version) and self._adopt():
            self._storage.delete_if(PATH, self._version)


class _Claims:
    """A claim per run, on a server that does not compare before it writes.

    Whoever writes looks at all claims afterwards. Of two writers the later one sees the other's claim, and
    withdraws; so two never stay, as long as a listing shows what was written SETTLE_S ago.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._own = f"{CLAIMS}/{uuid.uuid4().hex}.json"
        self._dead: list[Held] = []

    def standing(self) -> list[Held]:
        paths = [path for path in (PATH, *self._storage.names(CLAIMS)) if path != self._own]
        self._dead = [held for path in paths if (held := _read(self._storage, path))]
        return self._dead

    def take(self, data: bytes) -> bool:
        for held in self._dead:
            self._storage.delete(held.path)
        for _ in range(CLAIM_TRIES):
            self._storage.write(self._own, data)
            time.sleep(SETTLE_S)
            if self._is_alone():
                return True
            self._storage.delete(self._own)
            time.sleep(random.uniform(0, 2 * SETTLE_S))
            if not self._is_alone():
                return False
        return False

    def _is_alone(self) -> bool:
        return all(path == self._own for path in self._storage.names(CLAIMS))

    def renew(self, data: bytes) -> bool:
        if self._own not in self._storage.names(CLAIMS):
            # Whoever took this run for dead removed its claim.
            return False
        self._storage.write(self._own, data)
        if self._is_alone():
            return True
        # One that only tries withdraws when it sees this claim.
        time.sleep(2 * SETTLE_S)
        if self._is_alone():
            return True
        self._storage.delete(self._own)
        return False

    def give_back(self) -> None:
        self._storage.delete(self._own)


def _place_of(storage: Storage) -> _Place:
    if not storage.on_s3 or storage.conditions.honoured:
        return _OneFile(storage)
    print(
        f"{storage.url}: this server writes whatever the condition, so a run claims OUT and reads back after "
        f"{SETTLE_S:.0f} s whether it is alone; that holds where a listing shows what was just written",
        file=sys.stderr,
    )
    return _Claims(storage)


class Lease:
    """Held while the `with` block runs; raises LeaseHeldError at once where a living run holds it.

    `lost` turns true where another run took it after all (this process stood still for too long), or where
    it could not be renewed for EXPIRES_S, after which another run may take it; `check` then raises.

    A holder on this machine is dead when its process is gone. One elsewhere, one that cannot be seen, and one
    whose lease has an unknown form are dead when the lease does not change for EXPIRES_S while this process
    watches it: clocks may differ or jump. The times of day only decide whether to watch at all: a renewal of
    less than EXPIRES_S ago is taken for a sign of life.
    """

    def __init__(
        self,
        storage: Storage,
        command: str,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._now = now
        self.lost = False
        self._why = ""
        self._holder = Holder(
            command, socket.gethostname(), machine(), os.getpid(), started(os.getpid()), now()
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._writing = threading.Lock()
        self._renewed = 0.0
        self._place: _Place | None = None

    def __enter__(self) -> "Lease":
        self._acquire()
        self._thread = threading.Thread(target=self._keep, name="emo-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._place is None or self.lost:
            return
        try:
            self._place.give_back()
        except StorageError as failed:
            print(
                f"emo: the lease was not given back, it is free in {EXPIRES_S:.0f} s: {failed}",
                file=sys.stderr,
            )

    def carry(self, run_id: str) -> None:
        """Write down the run that holds OUT; raises EmoError where it does no longer."""
        self._holder = replace(self._holder, run=run_id)
        with self._writing:
            if not self.lost and not self._write():
                self._lose("was taken by another run")
        self.check()

    def check(self) -> None:
        """Raise EmoError where OUT is not held any more."""
        if not self.lost and clock() - self._renewed > EXPIRES_S:
            self._lose(f"could not be renewed for {EXPIRES_S:.0f} s, and another run may have taken it")
        if self.lost:
            raise EmoError(f"the lease of {self._storage.url} {self._why}; this run stops")

    def _lose(self, why: str) -> None:
        self._why, self.lost = why, True

    def _acquire(self) -> None:
        place = _place_of(self._storage)
        outlived: set[str] = set()
        # Once more after each wait: what was given back meanwhile may have been taken by a third run.
        while left := [held for held in place.standing() if held.version not in outlived]:
            for held in left:
                self._outlive(held)
                outlived.add(held.version)
        began = clock()
        if not place.take(self._bytes()):
            raise LeaseHeldError(f"{self._storage.url} was taken by another run a moment ago")
        self._place, self._renewed = place, began

    def _outlive(self, lease: Held) -> None:
        """Return once the holder is dead or has given its lease back; LeaseHeldError if it lives."""
        who = lease.describe()
        held = LeaseHeldError(
            f"{self._storage.url} is in use by {who}; wait for it, or for {EXPIRES_S:.0f} s after it died"
        )
        lives = lease.lives(self._now())
        if lives:
            raise held
        if lives is None:
            print(
                f"{self._storage.url}: {who} may be dead; waiting up to {EXPIRES_S:.0f} s for a sign of life",
                file=sys.stderr,
            )
            began = clock()
            while clock() - began < EXPIRES_S:
                time.sleep(LOOK_S)
                found = _read(self._storage, lease.path)
                if found is None:
                    return
                if found.version != lease.version:
                    raise held

    def _bytes(self) -> bytes:
        # Two renewals within one tick of the clock must differ too.
        return json.dumps(
            {**asdict(self._holder), "renewed": self._now(), "write": uuid.uuid4().hex}
        ).encode()

    def _write(self) -> bool:
        assert self._place is not None
        began = clock()
        if not self._place.renew(self._bytes()):
            return False
        # From before the request: another run may have seen it as early as that.
        self._renewed = began
        return True

    def _keep(self) -> None:
        while not self.lost and not self._stop.wait(RENEW_S):
            try:
                with self._writing:
                    if not self._write():
                        self._lose("was taken by another run")
            except StorageError:
                # One answer that fails is no reason to end a run of hours; the next renewal tries again.
                if clock() - self._renewed > EXPIRES_S:
                    self._lose(f"could not be renewed for {EXPIRES_S:.0f} s")
