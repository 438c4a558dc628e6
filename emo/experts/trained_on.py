"""What a checkpoint was trained on, by its name: few say it in their model card."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

# A published file stands in a folder that says more than its own name.
_PARTS = 2


@cache
def _table() -> dict[str, list[str]]:
    text = (files("emo.experts") / "trained_on.yaml").read_text(encoding="utf-8")
    return {str(mark): sets for mark, sets in yaml.safe_load(text).items()}


def trained_on(*places: str | None, card: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """The data sets that checkpoints at these places were trained on; () where nobody says.

    places: hub ids, folders, files; of each the last two names are looked at. card: the head of the model
    card, whose `datasets` come first.
    """
    told = (card or {}).get("datasets") or []
    told = [told] if isinstance(told, str) else told
    name = " ".join("/".join(re.split(r"[/\\]+", place.rstrip("/"))[-_PARTS:]) for place in places if place)
    found = [mark for mark in _table() if mark in name.lower()]
    # `humanomni` stands in `humanomniv2`, which is another one.
    longest = [mark for mark in found if not any(mark in other for other in found if other != mark)]
    by_name = [data_set for mark in longest for data_set in _table()[mark]]
    return tuple(dict.fromkeys([*map(str, told), *by_name]))
