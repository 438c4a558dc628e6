"""Which split a clip belongs to: decided for whole videos, so that no video is on both sides."""

import hashlib
import re
from collections.abc import Mapping

SPLITS = ("train", "validation", "test")
# The dialogue of MELD (dia12_utt3) and of IEMOCAP (Ses01F_impro01_F000). Else, as in CH-SIMS and most
# folders, the clips of one video share the part before the last slash.
VIDEO_OF = r"(.*\bdia\d+(?=_utt\d+\Z)|.*\bSes\d\d[FM]_\w+(?=_[FM]\d{3}\Z)|.+(?=/[^/]*\Z)).*"


def video_of(video_id: str, pattern: str = VIDEO_OF) -> str:
    """The video that a clip was cut from: what the pattern's group finds in the whole id, else the id."""
    found = re.fullmatch(pattern, video_id)
    return found[1] if found else video_id


def split_of(video: str, shares: Mapping[str, float]) -> str:
    """The split of a video; shares: of each of SPLITS, summing to 1.

    Decided by a hash of the video's name alone: it stays when other videos come or go.
    """
    digest = hashlib.sha256(f"split\0{video}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split in SPLITS[:-1]:
        place -= shares[split]
        if place < 0:
            return split
    # The shares may miss 1 by a rounding error: the last split that has any takes the rest.
    return next(split for split in reversed(SPLITS) if shares[split] > 0)
