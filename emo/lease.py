"""One run at a time on one OUT: a lease that its holder renews and that expires when the holder is dead."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

import psutil

from emo.errors import LeaseHeldError, StorageError
from emo.storage import Storage

PATH = "lease.json"
# A holder that has not renewed for this long is taken for dead. Three missed renewals, so that a slow
# answer of S3 does not cost a living run its lease.
EXPIRES_S = 90.0
RENEW_S = 25.0
# Between two looks at the lease of a holder that may be dead.
LOOK_S = 1.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: `machine` tells apart hosts that share a name, and boots of one host."""

    command: str
    host: str
    machine: str
    pid: int
    started: float  # when the process started, by a clock that nobody sets
    renewed: float  # seconds since the epoch, by the holder's clock

    def describe(self) -> str:
        """Who it is, for a person."""
        return f"emo {self.command} on {self.host}, process {self.pid}"


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    # Process numbers mean something only within one boot and one process namespace.
    parts = [
        boot.read_text().strip() if boot.exists() else "",
        str(namespace.stat().st_ino) if namespace.exists() else "",
    ]
    return "/".join(parts)


def _started(pid: int) -> float:
    """When a process started: ticks since the machine did, where the system tells them.

    Not the time of day, which changes for a running process when the clock is set.
    """
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        # The name of the program, which may hold anything, ends with the last bracket.
        return float(stat.read_text(errors="replace").rpartition(")")[2].split()[19])
    return psutil.Process(pid).create_time()


def _runs_here(holder: Holder) -> bool | None:
    """Whether the holder's process runs; None where it is not one of this machine."""
    if holder.host != socket.gethostname() or holder.machine != _machine():
        return None
    try:
        # A killed process whose parent does not ask after it stays in the list as a zombie.
        if psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE:
            return False
        return _started(holder.pid) == holder.started
    except (psutil.NoSuchProcess, OSError):
        return False


@dataclass(frozen=True)
class Held:
    """A lease as it stands in OUT, and the name of that version of its file."""

    holder: Holder
    version: str

    def lives(self, now: float | None = None) -> bool | None:
        """Whether the holder lives; None where only watching its lease can tell.

        A process of this machine is looked up. Of one elsewhere a renewal of less than EXPIRES_S ago, by the
        time of day `now`, is taken for a sign of life.
        """
        here = _runs_here(self.holder)
        if here is not None:
            return here
        age = (time.time() if now is None else now) - self.holder.renewed
        return True if 0 <= age <= EXPIRES_S else None


def read_lease(storage: Storage) -> Held | None:
    """The lease of an OUT; None where nobody holds it."""
    found = storage.read_versioned(PATH)
    holder = _parse(found[0]) if found else None
    return Held(holder, found[1]) if found and holder else None


class Lease:
    """Held while the `with` block runs; raises LeaseHeldError at once where a living run holds it.

    `lost` turns true where another run took it after all (this process stood still for too long).

    A holder on this machine is dead when its process is gone. One elsewhere is dead when its lease does not
    change for EXPIRES_S while this process watches it: clocks may differ or jump. The times of day only
    decide whether to watch at all: a renewal of less than EXPIRES_S ago is taken for a sign of life.
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
        self._holder = Holder(
            command, socket.gethostname(), _machine(), os.getpid(), _started(os.getpid()), now()
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._version: str | None = None

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
        held = self._storage.read_versioned(PATH)
        if held is not None and held[1] == self._version:
            self._storage.delete(PATH)

    def _acquire(self) -> None:
        found = self._storage.read_versioned(PATH)
        version = found[1] if found else None
        holder = _parse(found[0]) if found else None
        if holder is not None and version is not None:
            version = self._outlive(Held(holder, version))
        self._version = self._replace(version)
        if self._version is None:
            raise LeaseHeldError(f"{self._storage.url} was taken by another run a moment ago")

    def _outlive(self, lease: Held) -> str | None:
        """The version of a dead holder's lease, None where it was given back; LeaseHeldError if it lives."""
        who = lease.holder.describe()
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
            began = time.monotonic()
            while time.monotonic() - began < EXPIRES_S:
                time.sleep(LOOK_S)
                found = self._storage.read_versioned(PATH)
                if found is None:
                    return None
                if found[1] != lease.version:
                    raise held
        return lease.version

    def _replace(self, version: str | None) -> str | None:
        written = self._storage.replace_if(PATH, version, self._bytes())
        if written is not None:
            return written
        # A write whose answer was lost is repeated by the client and then refused, by our own success.
        found = self._storage.read_versioned(PATH)
        holder = _parse(found[0]) if found else None
        ours = holder is not None and replace(holder, renewed=0) == replace(self._holder, renewed=0)
        return found[1] if found and ours else None

    def _bytes(self) -> bytes:
        return json.dumps({**asdict(self._holder), "renewed": self._now()}).encode()

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_S):
            try:
                version = self._replace(self._version)
            except StorageError:
                # One answer that fails is no reason to end a run of hours; the next renewal tries again.
                continue
            if version is None:
                self.lost = True
                return
            self._version = version


def _parse(data: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(data))
    except (ValueError, TypeError):
        # Not a lease of ours that could be asked for its holder: nobody can be behind it.
        return None
