"""emo: open-vocabulary emotion labelling of video at dataset scale."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emo.store.reading import read as read

__version__ = "0.1.0"
__all__ = ["read"]

# Public name -> its module; imported when it is asked for, so that `import emo` costs nothing.
_PUBLIC = {"read": "emo.store.reading"}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
