"""Faults of the machine that a worker runs on, told apart from faults of what it works on.

A full disk or a folder that is gone meets every row alike: as a failed row it would be believed for ever.
"""

import errno
import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from emo.errors import MachineError, one_line

# What an operating system says when it, and not the file asked for, has nothing left.
_EXHAUSTED = {
    errno.EMFILE: "this process has too many files open (ulimit -n)",
    errno.ENFILE: "the machine has too many files open",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.ENOMEM: "the machine has no memory left",
}
_NO_MORE_FILES = {errno.EMFILE, errno.ENFILE}
# What a container may use of the CPUs: microseconds of so many.
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# The device is lost to the process that used it; another process starts anew.
_LOST_DEVICE = ("CUDA error:", "CUDA driver error:")


class DeviceLostError(MachineError):
    """A GPU that answers no more in this process."""


def cpus() -> int:
    """The CPUs that this process may use: those of the machine, or the share of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _CPU_QUOTA.read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(1, allowed)


def machine_fault(error: BaseException) -> MachineError | None:
    """The error as one of the machine, in one line; None where it is about what was worked on."""
    if isinstance(error, MachineError):
        return error
    if _is_of_ffmpeg(error) and getattr(error, "errno", None) not in _NO_MORE_FILES:
        return None
    what = _fault(error)
    if what is not None:
        return MachineError(f"{what} ({one_line(error)})")
    if isinstance(error, RuntimeError) and str(error).startswith(_LOST_DEVICE):
        return DeviceLostError(one_line(error).partition(". ")[0])
    return None


def raise_fault_of_machine(error: BaseException) -> None:
    """Raise MachineError where the error is the machine's; does nothing otherwise."""
    fault = machine_fault(error)
    if fault is not None:
        raise fault from error


def _is_of_ffmpeg(error: BaseException) -> bool:
    """FFmpeg borrows the codes of the system to say what is wrong with a file."""
    return type(error).__module__.partition(".")[0] == "av"


def _fault(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "the process has no memory left"
    if isinstance(error, ImportError):
        return "the code of this process cannot be read, or is not installed whole"
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return "the machine starts no more threads for this process"
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if error.errno in _EXHAUSTED:
        return _EXHAUSTED[error.errno]
    if error.errno == errno.ENOENT and error.filename is None:
        # An error about a file names it.
        return "the current folder of this process, or the folder for temporary files, is gone"
    if isinstance(error.filename, str) and _in_unusable_temporary_folder(error.filename):
        return "the folder for temporary files cannot be used"
    return None


def _in_unusable_temporary_folder(name: str) -> bool:
    # Only where the folder itself is at fault: a source may lie in it.
    folder = tempfile.tempdir
    return folder is not None and Path(folder) in Path(name).parents and not os.access(folder, os.W_OK)
