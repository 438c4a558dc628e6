"""The sandbox: whatever a decoder does, it costs one call, and nothing stays behind."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from clips import make_clip
from emo.errors import MachineError, RowError
from emo.media.decoded import ERRORS, DecodeSettings
from emo.media.sandbox import Decoder, SandboxError

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeSettings(deadline_s=1.0, memory_mib=300), "misbehaving:by_name") as decoder:
        yield decoder


def process_of(decoder: Decoder) -> int:
    """The process id of the child, which the test function gives as the width."""
    return decoder.decode("fine").width


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("crash", "decoder_crashed"),
        ("exit", "decoder_crashed"),
        ("hang", "timeout"),
        ("hang_with_lock", "timeout"),
        ("grow", "out_of_memory"),
        ("allocate", "out_of_memory"),
        ("abort", "out_of_memory"),
        ("bug", "decode_failed"),
        ("refuse", "truncated"),
    ],
)
def test_what_goes_wrong_has_a_code_and_the_next_call_works(action: str, code: str) -> None:
    # A deadline that only what hangs can reach, however slow the machine is.
    settings = DecodeSettings(deadline_s=1.0 if code == "timeout" else 60.0, memory_mib=300)
    with Decoder(settings, "misbehaving:by_name") as decoder:
        before = process_of(decoder)
        with pytest.raises(RowError) as caught:
            decoder.decode(action)
        after = process_of(decoder)
    assert caught.value.code == code
    assert code in ERRORS
    assert (before == after) == (action == "refuse")
    assert (before == after) or gone(before)


def test_a_crash_names_its_signal(decoder: Decoder) -> None:
    with pytest.raises(RowError, match="SIGSEGV"):
        decoder.decode("crash")


def test_a_child_that_was_killed_from_outside_is_replaced(decoder: Decoder) -> None:
    first = process_of(decoder)
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: gone(first), 5)
    time.sleep(0.2)  # its second thread may end a little later
    assert process_of(decoder) != first


def test_a_child_is_replaced_after_so_many_clips() -> None:
    with Decoder(DecodeSettings(), "misbehaving:by_name", clips_per_child=3) as decoder:
        processes = [process_of(decoder) for _ in range(7)]
    assert len(set(processes[:3])) == len(set(processes[3:6])) == 1
    assert len(set(processes)) == 3


def test_a_child_with_a_thread_left_behind_is_replaced(decoder: Decoder) -> None:
    first = decoder.decode("thread").width
    assert process_of(decoder) != first
    assert wait_until(lambda: gone(first), 5)


def test_close_ends_the_child_and_may_be_repeated(decoder: Decoder) -> None:
    child = process_of(decoder)
    decoder.close()
    assert gone(child)
    decoder.close()
    with pytest.raises(RuntimeError, match="closed"):
        decoder.decode("fine")


def test_a_decoder_that_is_forgotten_takes_its_child_along() -> None:
    decoder = Decoder(DecodeSettings(), "misbehaving:by_name")
    child = process_of(decoder)
    del decoder
    assert wait_until(lambda: gone(child), 5)


def test_a_function_that_cannot_be_imported_is_no_fault_of_a_file() -> None:
    with (
        Decoder(DecodeSettings(), "misbehaving:nothing") as decoder,
        pytest.raises(SandboxError, match="nothing"),
    ):
        decoder.decode("fine")


def test_the_child_is_silent(decoder: Decoder, capfd: pytest.CaptureFixture[str]) -> None:
    decoder.decode("chatter")
    assert capfd.readouterr() == ("", "")


def test_a_decoder_outlives_the_thread_that_made_it() -> None:
    made: list[Decoder] = []
    maker = threading.Thread(target=lambda: made.append(Decoder(DecodeSettings(), "misbehaving:by_name")))
    maker.start()
    maker.join()
    first = process_of(made[0])
    time.sleep(0.2)
    assert process_of(made[0]) == first
    made[0].close()


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
open(sys.argv[2], "a").write("imported\\n")
from emo.media.decoded import DecodeSettings
from emo.media.sandbox import Decoder
decoder = Decoder(DecodeSettings(deadline_s=float(sys.argv[4])), "misbehaving:by_name")
decoder.decode("fine")
print(decoder.decode("fine").width, decoder.decode("main").decoder, flush=True)
try:
    decoder.decode(sys.argv[3])
finally:
    sys.stdin.readline()
"""


@pytest.mark.parametrize("doing", ["fine", "hang", "hang_with_lock"])
def test_kill_9_of_the_parent_leaves_no_child_whatever_it_does(tmp_path: Path, doing: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    # Only a child that holds Python's lock cannot see that its parent is gone; its own alarm ends it.
    deadline_s = 1.0 if doing == "hang_with_lock" else 600.0
    parent = subprocess.Popen(
        [sys.executable, script, HERE, tmp_path / "imports", doing, str(deadline_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child, main = parent.stdout.readline().split(maxsplit=1)
    time.sleep(0.2)
    assert not gone(int(child))
    parent.kill()
    parent.wait()
    assert wait_until(lambda: gone(int(child)), 5 if doing != "hang_with_lock" else 20)
    # The child imported neither the script of the parent nor ran it again.
    assert (tmp_path / "imports").read_text() == "imported\n"
    assert main.strip() == "none"


def test_a_current_folder_that_vanishes_is_no_fault_of_a_file(tmp_path: Path) -> None:
    """As on a node whose agent unpacks the folder of a job anew."""
    video = make_clip(tmp_path / "clip.mp4", seconds=1.0, size=(160, 120))
    program = f"""
import os
os.makedirs({str(tmp_path / "gone")!r}); os.chdir({str(tmp_path / "gone")!r})
from emo.media.decoded import DecodeSettings
from emo.media.sandbox import Decoder
if __name__ == "__main__":
    with Decoder(DecodeSettings(), clips_per_child=1) as decoder:
        decoder.decode({str(video)!r})
        os.rmdir(os.getcwd())
        # By a child from before, and by one that starts there.
        print([decoder.decode({str(video)!r}).width for _ in range(3)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[160, 160, 160]", done.stderr


@contextmanager
def no_more_files(process: int) -> Iterator[None]:
    """As `ulimit -n` does to a process that has what it may have: it can open no other file."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (3, hard))
    yield
    with suppress(ProcessLookupError):
        resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("whose", ["the child", "the worker"])
def test_too_many_open_files_are_said_at_once_and_no_fault_of_a_file(tmp_path: Path, whose: str) -> None:
    video = str(make_clip(tmp_path / "clip.mp4", seconds=1.0, size=(160, 120)))
    before = psutil.Process().children()
    with Decoder(DecodeSettings()) as decoder:
        decoder.decode(video)
        [child] = [process for process in psutil.Process().children() if process not in before]
        process = child.pid if whose == "the child" else os.getpid()
        with no_more_files(process), pytest.raises(MachineError, match="too many files open"):
            decoder.decode(video)
        # With handles it goes on.
        assert decoder.decode(video).width == 160


def test_a_folder_for_temporary_files_that_is_gone_is_no_fault_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SandboxError, match=r"does not start: .*temporary files"):
        Decoder(DecodeSettings())
