"""Which exports were made of an OUT, so that clips that are to be forgotten leave them too."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from emo.store.storage import Storage

FOLDER = "exports"


@dataclass(frozen=True)
class Asked:
    """format: a name of the registry, or the place of a class; media: whether files go along; reviewed: only
    clips that people agree on; min_agreement: of machine labels those whose voters agree that far, 0 to 1.
    """

    format: str
    media: bool = False
    reviewed: bool = False
    min_agreement: float | None = None


def note(source: Storage, target: Storage, asked: Asked) -> None:
    """Write down that an export is made, before anything is written to its place."""
    digest = hashlib.sha256(f"{asked.format}\0{target.url}".encode("utf-8", "replace")).hexdigest()[:16]
    told = {"to": target.url, **asdict(asked), "exported_at": datetime.now(UTC).isoformat(timespec="seconds")}
    source.write(f"{FOLDER}/{digest}.json", json.dumps(told, ensure_ascii=False, indent=1).encode())
