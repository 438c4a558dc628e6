"""Decode functions that do what broken libraries do; the sandbox under test runs them for real."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

from emo.errors import RowError
from emo.media.decoded import DecodedClip, DecodeSettings


def by_name(path: str, settings: DecodeSettings) -> DecodedClip:
    """Does what the last part of the path says; `fine` gives a clip whose width is the process id."""
    action = path.rpartition("/")[2]
    if action == "crash":
        ctypes.string_at(0)
    elif action == "hang":
        time.sleep(600)
    elif action == "hang_with_lock":
        # Called through PyDLL, so that no other Python thread of the process runs meanwhile.
        ctypes.PyDLL(None).sleep(600)
    elif action == "grow":
        hoard = []
        while True:
            hoard.append(b"x" * 2**24)
            time.sleep(0.005)
    elif action == "allocate":
        bytearray(2**40)
    elif action == "exit":
        os._exit(3)
    elif action == "abort":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()
    elif action == "chatter":
        print("on standard output")
        os.write(2, b"on standard error\n" * 10)
    elif action == "refuse":
        raise RowError("truncated", "half of it is missing")
    elif action == "bug":
        raise ZeroDivisionError("a mistake")
    elif action == "thread":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    elif action == "main":
        return _clip(decoder=str(getattr(sys.modules["__main__"], "__file__", "none")))
    elif action == "pid":
        Path(path).write_text(str(os.getpid()))
        time.sleep(600)
    return _clip()


def _clip(decoder: str = "test") -> DecodedClip:
    return DecodedClip(1.0, os.getpid(), 1, 1.0, (0.0,), (b"jpeg",), None, None, None, decoder)
