"""Codes of languages as files name them: ISO 639-1 (`en`), ISO 639-2 (`eng`), tags of BCP 47 (`zh-CN`)."""

import re

_CODES = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz
ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik
io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml
mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd
se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi
vo wa wo xh yi yo za zh zu
"""
_TWO = frozenset(_CODES.split())
_THREE = {
    "ara": "ar", "chi": "zh", "cmn": "zh", "cze": "cs", "ces": "cs", "dan": "da", "deu": "de", "dut": "nl",
    "ell": "el", "eng": "en", "fas": "fa", "fin": "fi", "fra": "fr", "fre": "fr", "ger": "de", "gre": "el",
    "heb": "he", "hin": "hi", "hun": "hu", "ind": "id", "ita": "it", "jpn": "ja", "kor": "ko", "may": "ms",
    "msa": "ms", "nld": "nl", "nor": "no", "per": "fa", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro",
    "rus": "ru", "spa": "es", "swe": "sv", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip
# Simplified and traditional Chinese, in names of subtitle files only.
_NAMES = {"chs": "zh", "cht": "zh"}
_TAG = re.compile(r"([a-z]{2,3})(?:[-_](?:[a-z]{4}|[a-z]{2}|\d{3}))*")


def iso_639_1(code: str) -> str:
    """The code of two letters for an ISO 639-2 one; any other code, in lower case, as it is."""
    return _THREE.get(code, code)


def language_of(tag: str) -> str | None:
    """The language of a tag, ISO 639-1 where it has such a code: `zh` of `zh-Hans-CN`; None: it is no tag."""
    found = _TAG.fullmatch(tag.lower())
    if not found:
        return None
    code = _NAMES.get(found[1]) or iso_639_1(found[1])
    return code if code in _TWO else None
