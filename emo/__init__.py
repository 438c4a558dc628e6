"""emo: open-vocabulary emotion labelling of video at dataset scale.

`label` labels videos, `read` gives the labels; `extract`, `judge` and `evaluate` do one thing each with what
is at hand. A new expert is written with `Expert`, `Clip` and `Description`. docs/python.md shows them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emo.api import cluster as cluster
    from emo.api import evaluate as evaluate
    from emo.api import extract as extract
    from emo.api import judge as judge
    from emo.api import label as label
    from emo.experts.protocol import Clip as Clip
    from emo.experts.protocol import Description as Description
    from emo.experts.protocol import Expert as Expert
    from emo.store.reading import read as read

__version__ = "0.1.0"
__all__ = ["Clip", "Description", "Expert", "cluster", "evaluate", "extract", "judge", "label", "read"]

# Public name -> its module; imported when it is asked for, so that `import emo` costs nothing.
_PUBLIC = {
    **dict.fromkeys(("label", "judge", "extract", "evaluate", "cluster"), "emo.api"),
    **dict.fromkeys(("Expert", "Clip", "Description"), "emo.experts.protocol"),
    "read": "emo.store.reading",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
