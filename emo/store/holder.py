"""Who holds a lease: a process of a machine, and whether it still runs."""

import json
import os
import socket
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: `machine` tells apart hosts that share a name, and boots of one host."""

    command: str
    host: str
    machine: str
    pid: int
    started: float  # when the process started, by a clock that nobody sets
    renewed: float  # seconds since the epoch, by the holder's clock
    run: str = ""  # the run that holds OUT, once it has an id

    def describe(self) -> str:
        """Who it is, for a person."""
        return f"emo {self.command} on {self.host}, process {self.pid}"


def machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    # Process numbers mean something only within one boot and one process namespace.
    parts = [
        boot.read_text().strip() if boot.exists() else "",
        str(namespace.stat().st_ino) if namespace.exists() else "",
    ]
    return "/".join(parts)


def clock() -> float:
    """Seconds by a clock that nobody sets and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def started(pid: int) -> float:
    """When a process started: ticks since the machine did, where the system tells them.

    Not the time of day, which changes for a running process when the clock is set.
    """
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        # The name of the program, which may hold anything, ends with the last bracket.
        return float(stat.read_text(errors="replace").rpartition(")")[2].split()[19])
    return psutil.Process(pid).create_time()


def _is_there(pid: int) -> bool:
    """Whether a process of this machine has that number, also one that this user may not look at."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def runs_here(holder: Holder) -> bool | None:
    """Whether the holder's process runs; None where it is not one of this machine, or cannot be seen."""
    here = machine()
    if holder.host != socket.gethostname() or holder.machine != here:
        return None
    if sys.platform == "linux" and not all(here.split("/")):
        # Without /proc two containers of one name look like one machine.
        return None
    try:
        if not _is_there(holder.pid):
            return False
        # A killed process whose parent does not ask after it stays in the list as a zombie.
        if psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE:
            return False
        return started(holder.pid) == holder.started
    except (psutil.Error, OSError, OverflowError):
        # It ended this very moment, or it is hidden (hidepid): then only watching can tell.
        return None


def parse(data: bytes) -> Holder | None:
    """The holder that a lease names; None where it has a form that is not known.

    What a later version adds is passed over.
    """
    try:
        told = json.loads(data)
        known = {one.name: told[one.name] for one in fields(Holder) if one.name in told}
        holder = Holder(**known)
        numbers = (holder.pid, holder.started, holder.renewed)
        texts = (holder.command, holder.host, holder.machine, holder.run)
        sound = all(isinstance(one, int | float) for one in numbers) and isinstance(holder.pid, int)
        return holder if sound and holder.pid > 0 and all(isinstance(one, str) for one in texts) else None
    except (ValueError, TypeError, KeyError):
        return None
