"""Following a job of a Ray cluster to its end, whatever happens to the connection meanwhile."""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from emo.errors import EmoError, UnreachableError, one_line
from emo.patience import within
from emo.run.connection import ANSWERS_WITHIN_S
from emo.terminal.progress import duration
from emo.terminal.signals import Terminated

UNREACHABLE, INTERRUPTED = UnreachableError.exit_code, 130

# A job that says nothing for so long is asked whether it is there; a connection may die without a word.
QUIET_S = 120.0
# Between two tries to reach the cluster again.
AGAIN_S = 2.0
# A cluster that does not answer is told of after so many seconds: a dashboard restarts in fewer.
TOLD_AFTER_S = 20.0
# A job that is told to stop has seconds to give its lease back; a pod is killed half a minute after SIGTERM.
STOPS_WITHIN_S = 20.0
# A cluster that has just started may not know its jobs yet.
UNKNOWN_TIMES = 4

T = TypeVar("T")

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class _Unknown(Exception):
    """The cluster answers and knows no such job."""


class Follower:
    """Shows the log of one job, each line once.

    again: the command that follows the job again; patience_s: seconds that a cluster may leave without an
    answer; stop_on_term: whether SIGTERM to this process stops the job; log: where its log goes, None:
    standard output.
    """

    def __init__(
        self,
        client: Any,
        job: str,
        again: str,
        patience_s: float,
        stop_on_term: bool,
        log: TextIO | None = None,
    ) -> None:
        self._client = client
        self._job = job
        self._again = again
        self._patience_s = patience_s
        self._stop_on_term = stop_on_term
        self._log = log or sys.stdout
        # Characters of the log: that were shown, and that the connection of now has sent.
        self._shown = 0
        self._sent = 0
        self._lost_since: float | None = None
        self._told = False
        self._unknown = 0

    def run(self) -> int:
        """Follow the job until it ends; its exit code, UNREACHABLE or INTERRUPTED."""
        while True:
            try:
                code = self._attend()
            except Terminated as signal:
                return self._stop(f"{signal}") if self._stop_on_term else self._leave(f"{signal}")
            except KeyboardInterrupt:
                answer = _ask(self._job)
                if answer == "stop":
                    return self._stop("interrupted")
                code = self._leave("interrupted") if answer == "leave" else None
            if code is not None:
                return code

    def _attend(self) -> int | None:
        """Follow the log for as long as the connection lasts; the exit code of a job that has ended."""
        cause: BaseException | None = None
        quiet = False
        try:
            quiet = asyncio.run(self._tail())
        except _LOST as error:
            cause = error
        try:
            info = _within(self._info)
        except _Unknown:
            return self._gone()
        except _LOST as error:
            return self._wait(error)
        self._unknown = 0
        if info.status in _ENDED:
            self._show_rest()
            return self._end(info)
        if not quiet and (self._lost_since is not None or self._sent):
            self._say_found_again()
        self._lost_since, self._told = None, False
        if cause is not None:
            time.sleep(AGAIN_S)
        return None

    def _say_found_again(self) -> None:
        self._say("the connection was lost and is there again; following the job")
        self._lost_since, self._told = None, False

    async def _tail(self) -> bool:
        """Show the log until the connection ends; whether it was only quiet."""
        self._sent = 0
        lines = self._client.tail_job_logs(self._job)
        try:
            while True:
                text = await asyncio.wait_for(anext(lines), QUIET_S)
                if self._lost_since is not None:
                    self._say_found_again()
                self._show(text)
        except StopAsyncIteration:
            return False
        except TimeoutError:
            return True
        finally:
            await lines.aclose()

    def _show(self, text: str) -> None:
        """A connection sends the log from its beginning."""
        new = text[max(0, self._shown - self._sent) :]
        self._sent += len(text)
        self._shown = max(self._shown, self._sent)
        try:
            print(new, end="", flush=True, file=self._log)
        except OSError as error:
            raise EmoError(
                f"job {self._job} goes on, but its log cannot be shown: {one_line(error)}"
            ) from error

    def _show_rest(self) -> None:
        """What the job said between the last line that came and its end."""
        try:
            log = _within(lambda: self._client.get_job_logs(self._job))
        except _LOST:
            return  # with its node; how the job ended is known all the same
        self._sent = 0
        self._show(log)

    def _info(self) -> Any:
        try:
            return self._client.get_job_info(self._job)
        except RuntimeError as error:
            if "status code 404" in str(error):
                raise _Unknown from error
            raise

    def _gone(self) -> int | None:
        self._unknown += 1
        if self._unknown < UNKNOWN_TIMES:
            time.sleep(AGAIN_S)
            return None
        raise EmoError(
            f"the cluster knows no job {self._job}: it was never there, or went with a head that was started "
            "anew. What was committed stays; the same command, sent again, goes on"
        )

    def _wait(self, error: BaseException) -> int | None:
        """Wait a little for a cluster that does not answer; UNREACHABLE once patience is at its end."""
        now = time.monotonic()
        self._lost_since = now if self._lost_since is None else self._lost_since
        waited = now - self._lost_since
        if waited >= self._patience_s:
            self._say(
                f"the cluster has not answered for {duration(waited)} ({_short(error)}); the job may go on; "
                f"follow it with: {self._again}"
            )
            return UNREACHABLE
        if not self._told and waited >= TOLD_AFTER_S:
            self._told = True
            self._say(f"the cluster does not answer; waiting for up to {duration(self._patience_s)}")
        time.sleep(min(AGAIN_S, max(0.1, self._patience_s - waited)))
        return None

    def _end(self, info: Any) -> int:
        if info.status == "SUCCEEDED":
            return 0
        # The log, which was shown, ends with the same lines.
        message = str(info.message).partition(", last available logs")[0]
        self._say(f"it ended as {info.status}: {message}")
        code = int(info.driver_exit_code or 1)
        return code if code > 0 else 128 - code

    def _stop(self, why: str) -> int:
        try:
            _within(lambda: self._client.stop_job(self._job))
            deadline = time.monotonic() + STOPS_WITHIN_S
            while _within(self._info).status not in _ENDED:
                if time.monotonic() > deadline:
                    self._say(f"{why}; it is being stopped, what it committed stays")
                    return INTERRUPTED
                time.sleep(0.5)
        except _LOST_OR_UNKNOWN as error:
            self._say(f"{why}; it could not be stopped ({_short(error)}); follow it with: {self._again}")
            return UNREACHABLE
        self._show_rest()
        self._say(f"{why}; it is stopped, what it committed stays")
        return INTERRUPTED

    def _leave(self, why: str) -> int:
        self._say(f"{why}; it goes on; stop it with: ray job stop {self._job}; follow it with: {self._again}")
        return INTERRUPTED

    def _say(self, what: str) -> None:
        print(f"emo submit: job {self._job}: {what}", file=sys.stderr, flush=True)


def _lost() -> tuple[type[BaseException], ...]:
    import aiohttp
    from ray.exceptions import RayError

    # RuntimeError and RayError are of Ray's client, OSError and ValueError of the libraries below it.
    return (OSError, RuntimeError, ValueError, RayError, aiohttp.ClientError)


_LOST = _lost()
_LOST_OR_UNKNOWN: tuple[type[BaseException], ...] = (*_LOST, _Unknown)


def _within(ask: Callable[[], T]) -> T:
    """What a request answers; TimeoutError where it takes long, because Ray's client waits for ever."""
    answer = within(ANSWERS_WITHIN_S, ask)
    if answer is None:
        raise TimeoutError(f"no answer within {ANSWERS_WITHIN_S:g} s")
    return answer


def _short(error: BaseException) -> str:
    """The kind of an error of the connection; the rest of it is addresses and objects."""
    return str(error) if isinstance(error, TimeoutError) else type(error).__name__


def _ask(job: str) -> str:
    """What to do: stop, leave, follow. Where nobody can answer, the job is left alone."""
    if not sys.stdin.isatty():
        return "leave"
    try:
        print(
            f"\nJob {job} is running. [s]top it, [l]eave it running, or go on [f]ollowing? ",
            end="",
            flush=True,
        )
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        return "leave"
    return {"s": "stop", "f": "follow"}.get(answer[:1], "leave")
