"""Clips that several tests read, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clips import make_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> Callable[..., Path]:
    """clip(name, **options of make_clip): the path of a clip, made the first time it is asked for."""
    made: dict[tuple[str, str], Path] = {}

    def get(name: str, **options: object) -> Path:
        key = (name, repr(sorted(options.items())))
        if key not in made:
            folder = clip_folder / str(len(made))
            folder.mkdir()
            made[key] = make_clip(folder / name, **options)  # type: ignore[arg-type]
        return made[key]

    return get


@pytest.fixture(scope="session")
def plain(clip: Callable[..., Path]) -> Path:
    """H.264 with AAC in MP4, its index in front: 2 s, 25 frames per second, 320 × 240."""
    return clip("plain.mp4", after=("-movflags", "+faststart"))
