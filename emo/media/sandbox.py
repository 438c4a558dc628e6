"""Decoding in a child process, so that a file that crashes, hangs or eats memory costs one row and no more.

The child is a Python of its own, started by exec: it shares no thread, lock or `__main__` with its parent.
It ends with its parent, however that ends, and is replaced after anything bad and after some clips, because
the libraries leak.
"""

import resource
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import psutil

from emo import children
from emo.errors import MachineError, RowError, one_line
from emo.machine import machine_fault, raise_fault_of_machine
from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.partial import Span, Wanted, asking
from emo.media.transcript import Sidecar, SidecarFile, read_file

_START_S = 120.0
# Between two looks at the child's memory; allocating goes at some GB/s at most.
_LOOK_S = 0.025
# The child ends itself this long after a deadline at which nobody killed it.
_GRACE_S = 3.0
_MIB = 2**20
Answer = TypeVar("Answer")


class SandboxError(MachineError):
    """The decoder process cannot be started or watched: no file is at fault."""


@dataclass
class _Child(children.Child):
    chatter: IO[bytes]
    ready: bool = False
    clips: int = 0

    def stop(self) -> None:
        super().stop()
        self.chatter.close()


class Decoder:
    """Decodes files one after the other in a child process. Not for use by two threads at once.

    decode: where the child finds the function (path, settings) -> DecodedClip, as `module:name`;
    clips_per_child: after so many the child is replaced.

    The child is started at once, so that its imports run beside whatever the caller does next.
    """

    def __init__(
        self,
        settings: DecodeSettings,
        decode: str = "emo.media.decode:decode_file",
        clips_per_child: int = 500,
    ) -> None:
        self._settings = settings
        self._function = decode
        self._clips_per_child = clips_per_child
        self._fetch: Callable[[int, int], Span] | None = None
        self._children: list[_Child] = []
        self._finalizer = weakref.finalize(self, _stop_all, self._children)
        self._replace()

    def decode(self, path: str) -> DecodedClip:
        """Decode one local file.

        Raises RowError (codes: `emo.media.decoded.ERRORS`) where the file is at fault, and MachineError
        where this machine is.
        """
        clip = self._ask(path)
        assert isinstance(clip, DecodedClip)
        return clip

    def run(self, task: Callable[[DecodeSettings], Answer]) -> Answer:
        """Call a small value of ours with the settings in the child; it raises what `decode` does."""
        answer: Answer = self._ask(task)
        return answer

    @contextmanager
    def filling(self, fetch: Callable[[int, int], Span]) -> Iterator[None]:
        """While this lasts, a file that is a `Partial` is filled by this function, in this process.

        The time that it takes does not count for the deadline, and what it raises comes out of `run`.
        """
        self._fetch = fetch
        try:
            yield
        finally:
            self._fetch = None

    def read_sidecar(self, file: SidecarFile) -> Sidecar:
        """Read one local subtitle file, within the same bounds; raises RowError and MachineError."""
        sidecar = self._ask(file)
        assert isinstance(sidecar, Sidecar)
        return sidecar

    def _ask(self, task: "_Task") -> Any:
        child = self._ready()
        child.chatter.truncate(0)
        try:
            child.connection.send(task)
            outcome = self._wait(child)
        except BaseException:
            self._replace()
            raise
        child.clips += 1
        if outcome.worn or child.clips >= self._clips_per_child:
            self._replace()
        if isinstance(outcome.result, RowError | MachineError):
            raise outcome.result
        return outcome.result

    def close(self) -> None:
        """End the child."""
        self._finalizer()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _replace(self) -> None:
        _stop_all(self._children)
        self._children.append(_start(self._settings, self._function))

    def _ready(self) -> _Child:
        """The child, once it has imported what it needs."""
        if not self._finalizer.alive:
            raise RuntimeError("the decoder is closed")
        # None is there where the last one could not be replaced. It has nothing to say between two clips, but
        # that it was killed.
        if not self._children or (self._children[0].ready and self._children[0].connection.poll()):
            self._replace()
        child = self._children[0]
        if not child.ready:
            try:
                started = child.connection.poll(_START_S) and child.connection.recv()
            except (EOFError, OSError):
                started = False
            if not started:
                words = children.last_words(child.chatter)
                self._replace()
                raise SandboxError(f"the decoder process does not start: {words or 'no word from it'}")
            child.ready = True
        return child

    def _wait(self, child: _Child) -> "_Outcome":
        """Wait for the reply, and give what the child needs for it; raises RowError."""
        deadline = time.monotonic() + self._settings.deadline_s
        while isinstance(said := self._hear(child, deadline), Wanted):
            if self._fetch is None:
                raise RuntimeError("a file is to be filled, and nobody fills it")
            began = time.monotonic()
            span = self._fetch(said.start, said.end)
            deadline += time.monotonic() - began
            with suppress(OSError):
                # Where the child is dead, the next look says why.
                child.connection.send(span)
        return said

    def _hear(self, child: _Child, deadline: float) -> "_Outcome | Wanted":
        """The next word of the child, with an eye on the clock and on memory."""
        seconds, mebibytes = self._settings.deadline_s, self._settings.memory_mib
        try:
            watched = psutil.Process(child.process.pid)
            while not child.connection.poll(_LOOK_S):
                if time.monotonic() > deadline:
                    raise RowError("timeout", f"decoding took longer than {seconds:g} s")
                if watched.memory_info().rss > mebibytes * _MIB:
                    raise RowError("out_of_memory", f"decoding needed more than {mebibytes} MiB")
            said: _Outcome | Wanted = child.connection.recv()
            return said
        except (EOFError, OSError, psutil.NoSuchProcess) as error:
            # Without a free file handle nobody can look at the child, which is alive.
            raise_fault_of_machine(error)
            raise _cause_of_death(child, self._settings) from None


# A video by its path, a sidecar, or what is called.
_Task = str | SidecarFile | Callable[[DecodeSettings], Any]


@dataclass(frozen=True)
class _Outcome:
    """What the child sends back; worn: it should not be used again."""

    result: Any
    worn: bool


def _stop_all(running: list[_Child]) -> None:
    while running:
        running.pop().stop()


def _start(settings: DecodeSettings, function: str) -> _Child:
    try:
        # Not the standard error of the parent: what FFmpeg says belongs into an error message, if anywhere.
        chatter = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115
        # The folder of the parent may vanish.
        process, ours = children.start(serve, function, said=chatter, folder="/")
    except OSError as error:
        reason = machine_fault(error) or one_line(error)
        raise SandboxError(f"the decoder process does not start: {reason}") from error
    # The child may be dead already; then the first decode says so.
    with suppress(OSError):
        ours.send(settings)
    return _Child(process, ours, chatter)


def _cause_of_death(child: _Child, settings: DecodeSettings) -> RowError:
    code = child.process.wait()
    words = children.last_words(child.chatter)
    if code == -signal.SIGKILL:
        return RowError("out_of_memory", "the decoder process was killed, as a system short of memory does")
    if code == -signal.SIGABRT and "bad_alloc" in words:
        return RowError("out_of_memory", f"decoding needed more than {settings.memory_mib} MiB")
    if code == -signal.SIGALRM:
        return RowError("timeout", f"decoding took longer than {settings.deadline_s:g} s")
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return RowError("decoder_crashed", f"the decoder process died ({how}){': ' if words else ''}{words}")


def serve(descriptor: str, function: str) -> None:
    """The child: decode the paths and read the sidecars that come in until the parent is gone."""
    connection = children.connect(descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_FSIZE, 16 * _MIB)
    with suppress(OSError):
        # Where the machine runs out of memory it is the decoder that goes.
        Path("/proc/self/oom_score_adj").write_text("1000")
    settings: DecodeSettings = connection.recv()
    module, _, name = function.partition(":")
    decode: Callable[[str, DecodeSettings], DecodedClip] = getattr(import_module(module), name)
    _limit(resource.RLIMIT_DATA, _data_bytes() + settings.memory_mib * _MIB)
    threads = threading.active_count()

    def ask(start: int, end: int) -> Span:
        # The parent does not count the time that it takes for this either.
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(Wanted(start, end))
        span: Span = connection.recv()
        signal.setitimer(signal.ITIMER_REAL, left)
        return span

    asking(ask)
    connection.send(True)
    while True:
        try:
            task: _Task = connection.recv()
        except EOFError:
            return
        # Reached only where the parent is gone and a library holds the interpreter's lock, so that the
        # thread above cannot run.
        signal.setitimer(signal.ITIMER_REAL, settings.deadline_s + _GRACE_S)
        result, worn = _attempt(decode, task, settings)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(_Outcome(result, worn or threading.active_count() > threads))


def _attempt(
    decode: Callable[[str, DecodeSettings], DecodedClip], task: _Task, settings: DecodeSettings
) -> tuple[Any, bool]:
    try:
        if isinstance(task, SidecarFile):
            return read_file(task), False
        return decode(task, settings) if isinstance(task, str) else task(settings), False
    except RowError as error:
        return error, False
    except MemoryError:
        return RowError("out_of_memory", f"decoding needed more than {settings.memory_mib} MiB"), True
    except Exception as error:
        return machine_fault(error) or RowError("decode_failed", one_line(error)), True


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _data_bytes() -> int:
    """Private writable memory of this process, which RLIMIT_DATA counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
