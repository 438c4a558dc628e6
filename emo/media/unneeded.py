"""Which streams say what frames no other frame needs: these can be left out, and the rest stays the same.

H.264 marks every unit (nal_ref_idc, ITU-T H.264 7.4.1). HEVC marks the pictures that no picture of the same
sub-layer needs (ITU-T H.265 7.4.2.2); one of a higher sub-layer may need them, so that the mark counts where
the stream has a single one. VP9 marks none: each frame takes motion and probabilities from the one before it.
"""

from collections.abc import Iterator
from typing import Any

_START_CODE = b"\x00\x00\x01"
# Types of units from here on hold no part of a picture.
_NO_PICTURE = 32
# Where the record of MP4 and Matroska says how long the lengths of units are (ISO/IEC 14496-15 8.3.3.1.2).
_LENGTHS_AT = 21


def may_skip(decoder: Any, packet: Any) -> bool:
    """Whether this packet leaves it open that the decoder (codec context of PyAV) skips what nobody needs."""
    if decoder.name == "hevc":
        return sub_layer(packet, decoder.extradata or b"") == 0
    return marks_all(decoder)


def marks_all(decoder: Any) -> bool:
    """Whether each packet of this codec says by itself that no other frame needs it."""
    return bool(decoder.name == "h264")


def sub_layer(packet: bytes, extradata: bytes) -> int:
    """TemporalId of the picture in an HEVC packet, 0 where the stream has a single sub-layer."""
    data = bytes(packet)
    # A length of 256 to 511 looks like a start code: what the file says of itself decides.
    is_record = extradata[:1] == b"\x01" and len(extradata) > _LENGTHS_AT
    units = _after_lengths(data, (extradata[_LENGTHS_AT] & 3) + 1) if is_record else _after_start_codes(data)
    # Units of parameters and of delimiters come before the picture, and may say another one.
    found = (data[at + 1] & 7 for at in units if at + 1 < len(data) and data[at] >> 1 & 63 < _NO_PICTURE)
    return max(0, next(found, 1) - 1)


def _after_start_codes(data: bytes) -> Iterator[int]:
    at = data.find(_START_CODE)
    while at >= 0:
        yield at + 3
        at = data.find(_START_CODE, at + 3)


def _after_lengths(data: bytes, length: int) -> Iterator[int]:
    at = 0
    while at + length < len(data):
        yield at + length
        at += length + int.from_bytes(data[at : at + length], "big")
