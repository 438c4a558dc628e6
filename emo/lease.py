"""One run at a time on one OUT: a lease that its holder renews and that expires when the holder is dead."""

import json
import os
import socket
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


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: `machine` tells apart hosts that share a name, and boots of one host."""

    command: str
    host: str
    machine: str
    pid: int
    started: float  # seconds since the epoch, when the process started
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


def _is_dead(holder: Holder, silent_s: float) -> bool:
    if holder.host == socket.gethostname() and holder.machine == _machine():
        try:
            process = psutil.Process(holder.pid)
            # A killed process whose parent does not ask after it stays in the list as a zombie.
            gone = process.status() == psutil.STATUS_ZOMBIE
            return gone or abs(process.create_time() - holder.started) > 1.0
        except psutil.NoSuchProcess:
            return True
    return silent_s > EXPIRES_S


class Lease:
    """Held while the `with` block runs; raises LeaseHeldError at once where a living run holds it.

    `lost` turns true where another run took it after all (this process stood still for too long).

    A holder on this machine is dead when its process is gone, one elsewhere when its last renewal is more
    than EXPIRES_S ago (the clocks of the machines have to agree to within a minute, as S3 itself asks for).
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
        process = psutil.Process()
        self._holder = Holder(
            command, socket.gethostname(), _machine(), os.getpid(), process.create_time(), now()
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
        if found is not None:
            holder = _parse(found[0])
            if holder is not None and not _is_dead(holder, self._now() - holder.renewed):
                raise LeaseHeldError(
                    f"{self._storage.url} is in use by {holder.describe()}; "
                    f"wait for it, or for {EXPIRES_S:.0f} s after it died"
                )
        self._version = self._replace(found[1] if found else None)
        if self._version is None:
            raise LeaseHeldError(f"{self._storage.url} was taken by another run a moment ago")

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


def holder(storage: Storage) -> Holder | None:
    """Who holds the lease of an OUT; None where nobody does, or somebody who is dead."""
    found = storage.read_versioned(PATH)
    held = _parse(found[0]) if found else None
    return None if held is None or _is_dead(held, time.time() - held.renewed) else held
