"""Which subtitle file belongs to which video: beside it, under the names that players and downloaders use."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from emo.languages import language_of
from emo.media.transcript import SIDECARS
from emo.sources.listing import Listing

# What players read behind the language: `clip.en.sdh.srt`. A forced one holds only what is foreign in a film.
_KINDS = ("sdh", "cc", "hi", "default", "forced")
# What every name of a subtitle file matches, in capital letters too, and hardly another.
_MAY_BE_SIDECAR = rf"(?i)(?:{'|'.join(map(re.escape, SIDECARS))})$"


@dataclass(frozen=True)
class Sidecar:
    """A subtitle file; language: what its name says, None where it says none."""

    uri: str
    language: str | None = None


class Sidecars:
    """The subtitle files of a listing, by the videos that they are of. are_videos: which paths are.

    `clip.srt` and `clip.mp4.srt` belong to `clip.mp4`, and so do `clip.en.srt` and `clip.zh-CN.vtt` unless
    there is a video `clip.en`. several: the videos that have more than one language to choose from.
    """

    def __init__(self, listing: Listing, are_videos: Callable[[pa.Array], pa.Array]) -> None:
        self.several: list[str] = []
        self._plain: dict[str, list[Sidecar]] = {}
        self._spoken: dict[str, list[Sidecar]] = {}
        # Of a million files few or none are looked at one by one.
        maybe = listing.paths.filter(pc.match_substring_regex(listing.paths, _MAY_BE_SIDECAR))
        named = sorted(uri for uri in maybe.to_pylist() if uri.lower().endswith(SIDECARS))
        films = listing.paths.filter(are_videos(listing.paths)).to_pylist() if named else ()
        videos = {name for uri in films for name in (uri, posixpath.splitext(uri)[0])}
        for uri in named:
            base, _ = posixpath.splitext(uri)
            if posixpath.basename(uri).startswith("."):
                continue
            self._plain.setdefault(base, []).append(Sidecar(uri))
            above, language = _named_language(base)
            if language and base not in videos:
                self._spoken.setdefault(above, []).append(Sidecar(uri, language))

    def __bool__(self) -> bool:
        return bool(self._plain)

    def of(self, video: str, language: str | None) -> Sidecar | None:
        """The subtitle file of a video, of this language where it is given; None where there is none."""
        stem = posixpath.splitext(video)[0]
        for files in (self._plain, self._spoken):
            found = [*files.get(stem, ()), *(files.get(video, ()) if video != stem else ())]
            if not found:
                continue
            if len({one.language for one in found}) > 1 and language is None:
                self.several.append(video)
            wanted = [one for one in found if language_of(language or "") == one.language] or found
            return min(wanted, key=_preference)
        return None


def _named_language(base: str) -> tuple[str, str | None]:
    """The name of the video and the language in `clip.en` or `clip.en.sdh`."""
    folder, name = posixpath.split(base)
    parts = name.split(".")
    while len(parts) > 2 and parts[-1].lower() in _KINDS:
        parts.pop()
    language = language_of(parts[-1]) if len(parts) > 1 else None
    return posixpath.join(folder, ".".join(parts[:-1])), language


def _preference(sidecar: Sidecar) -> tuple[bool, int, str]:
    suffix = posixpath.splitext(sidecar.uri)[1].lower()
    return ".forced." in sidecar.uri.lower(), SIDECARS.index(suffix), sidecar.uri
