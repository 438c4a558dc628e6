"""Waiting for code that may never answer, such as a decoder that hangs or a client without a time limit."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, function: Callable[[], T]) -> T | None:
    """What a function returns or raises, or None where it takes longer; its thread is then left behind."""
    result: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        try:
            result.append(function())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    return result[0] if result else None
