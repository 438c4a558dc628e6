"""In which encoding a text without a mark is written: told by what its letters would be in each.

Detectors that are trained on pages are wrong on every second short subtitle (charset-normalizer 3.5 on 192
sentences of one line: 48 % right). One line is what a clip has, so every encoding in use is tried, and the
likeliest reading is taken: how common its letters are in the language, whether capitals begin words, whether
scripts mix within one.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# So many bytes of the lines that are not plain ASCII decide; the rest is read like them.
_SAMPLE_BYTES = 3_000

# What no text holds; U+001C to U+001F among them, which Python takes for white space.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")

_UNICODE_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Encodings that switch between alphabets by escape sequences, all of them in seven bits.
_ESCAPES = ((b"\x1b$", "iso2022_jp_2"), (b"\x1b(", "iso2022_jp_2"), (b"\x1b$)C", "iso2022_kr"))
_HIGH = re.compile(rb"[\x80-\xff]")
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}")

# Before anything is read: how likely an encoding or a language is beside the commonest ones, as a logarithm.
_PRIOR = {
    "is": -2.0, "vi": -1.0,
    "big5hkscs": -0.5, "big5": -0.6, "euc_jp": -1.0, "cp949": -0.3, "cp1251": -0.1, "koi8_r": -0.5, "koi8_u": -1.0,
    "cp866": -3.0, "iso8859_5": -3.0, "iso8859_7": -2.0, "iso8859_2": -2.0, "cp1257": -2.0, "cp1258": -3.0,
    "cp1250": -0.7, "cp1253": -0.7, "cp1254": -0.7, "cp1255": -0.7, "cp1256": -0.7, "cp874": -0.7,
}  # fmt: skip
# A language that the source names is likelier by so much.
_NAMED = 4.0
# Below this mean, per character, no reading is one: the bytes are no text. Texts come to 0.01 and more, and
# where a character has two bytes to 0.0012; bytes drawn at random to a tenth of that.
_HOPELESS = math.log(1.5e-3)
_HOPELESS_WIDE = math.log(2.5e-4)

_WIDE = {"zh", "ja", "ko"}
_PUNCTUATION = "’“”–—…«»‘„‚•¿¡·、。，？！：；「」『』（）《》～〜．・♪―‥ー　©®°£€§"
_COMMON = 0.01
_RARE = 1e-4
_ODD = 1e-7


@dataclass(frozen=True)
class Decoded:
    """A text and the encoding that it was read in; guessed: nothing in the file names that encoding.

    lost: how many bytes could not be read.
    """

    text: str
    encoding: str
    guessed: bool
    lost: int = 0


def decode(data: bytes, language: str | None = None) -> Decoded | None:
    """The text of a file of any encoding in use, or None where it is no text.

    language: ISO 639-1 of what is probably said, where the source names one.
    """
    found = _by_mark(data) or _utf8(data, language) or _seven_bits(data)
    if found is None:
        found = _likeliest(data, language)
    if found is None or CONTROL.search(found.text):
        return None
    return found


def _by_mark(data: bytes) -> Decoded | None:
    """Unicode that says so itself, by a byte order mark or by the zeros of its first characters."""
    for mark, encoding in _UNICODE_MARKS:
        if data.startswith(mark):
            return _lenient(data, encoding, guessed=False)
    sample = data[: 16 * _SAMPLE_BYTES]
    if b"\x00" not in sample:
        return None
    zeros = [sample[place::4].count(0) for place in range(4)]
    quarter = max(1, len(sample) // 4)
    if len(data) % 4 == 0 and zeros[2] + zeros[3] >= 1.8 * quarter:
        return _lenient(data, "utf-32-le", guessed=False)
    if len(data) % 4 == 0 and zeros[0] + zeros[1] >= 1.8 * quarter:
        return _lenient(data, "utf-32-be", guessed=False)
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if min(even, odd) * 8 > max(even, odd):
        return None
    return _lenient(data, "utf-16-be" if even > odd else "utf-16-le", guessed=False)


def _lenient(data: bytes, encoding: str, guessed: bool) -> Decoded:
    text = data.decode(encoding, "replace")
    return Decoded(text.replace("\ufffd", ""), encoding, guessed, text.count("\ufffd"))


def _utf8(data: bytes, language: str | None) -> Decoded | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _damaged_utf8(data)
    if b"\x1b" in data or _HZ.search(data):
        return None
    # Two characters of GB18030 can be two of UTF-8: 谢谢 is лл. Nobody says that.
    if 0 < len(data) - len(text) < 6 and all(ord(letter) < 0x800 for letter in text):
        other = _likeliest(data, language)
        if other is not None and not _pronounceable(text) and _wide_only(other.text):
            return other
    return Decoded(text, "utf-8", guessed=False)


def _pronounceable(text: str) -> bool:
    words = re.findall(r"[^\W\d_]+", text)
    return all(
        word.isascii() or re.search(r"(?i)[aeiouyаеёиоуыэюяіїєαεηιουωάέήίόύώ]", _bare(word)) for word in words
    )


def _bare(word: str) -> str:
    return "".join(
        letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter)
    )


def _wide_only(text: str) -> bool:
    return all(letter.isascii() or unicodedata.east_asian_width(letter) in "WF" for letter in text)


def _damaged_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with some bytes that are none: surrogates in pairs, a cut, or pieces of Windows-1252 in it."""
    try:
        text = data.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")
        return Decoded(text, "utf-8", guessed=False)
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(not letter.isascii() for letter in text) - broken
    if whole < 3 * broken:
        return None
    pieces = data.decode("utf-8", "surrogateescape")
    # One byte after plain ASCII is a letter of Windows-1252; what follows another character is cut.
    mended = re.sub(r"(?<![^\x00-\x7f])[\udca0-\udcff](?![^\x00-\x7f])", _windows, pieces)
    mended = re.sub(r"[\udc80-\udcff]", "", mended)
    return Decoded(mended, "utf-8", guessed=True, lost=broken)


def _windows(byte: re.Match[str]) -> str:
    return bytes([ord(byte[0]) - 0xDC00]).decode("cp1252")


def _seven_bits(data: bytes) -> Decoded | None:
    if _HZ.search(data) and max(data) < 0x80:
        return _lenient(data, "hz", guessed=True)
    for escape, encoding in reversed(_ESCAPES):
        if escape in data:
            try:
                return Decoded(data.decode(encoding), encoding, guessed=True)
            except UnicodeDecodeError:
                continue
    return None


@dataclass(frozen=True)
class _Language:
    name: str
    encodings: tuple[str, ...]
    chances: Mapping[str, float]


@cache
def _languages() -> tuple[_Language, ...]:
    lines = files("emo.media").joinpath("letters.tsv").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        if line.startswith("#"):
            continue
        name, encodings, letters = line.split("\t")
        found.append(_Language(name, tuple(encodings.split(",")), _chances(name, letters)))
    return tuple(found)


def _chances(language: str, letters: str) -> Mapping[str, float]:
    """How often each letter comes, from the order of them: the commonest n times as often as the n-th."""
    ordered = list(dict.fromkeys(letters))
    # Frequencies of letters fall more slowly at the top than those of words.
    alphabet = len(ordered) > 20
    offset = 30 if language in _WIDE else (4 if alphabet else 1)
    weights = [1 / (place + offset) for place in range(len(ordered))]
    known = {"zh": 0.75, "ja": 0.9, "ko": 0.85}.get(language, 0.95)
    return {letter: known * weight / sum(weights) for letter, weight in zip(ordered, weights, strict=True)}


def _likeliest(data: bytes, named: str | None) -> Decoded | None:
    sample, whole = _sample(data)
    named = (named or "").partition("-")[0].lower()
    best, best_score, least = None, -math.inf, 0.0
    for encoding, languages in _by_encoding().items():
        text = _sampled(sample, encoding, whole)
        if text is None or CONTROL.search(text):
            continue
        for language in languages:
            score = _score(text, language) + _PRIOR.get(encoding, 0.0) + _PRIOR.get(language.name, 0.0)
            score += _NAMED * (language.name == named)
            if score > best_score:
                best, best_score = encoding, score
                foreign = sum(not letter.isascii() for letter in text)
                least = foreign * (_HOPELESS_WIDE if language.name in _WIDE else _HOPELESS)
    # A prior is no reason to take a text for none.
    if best is None or best_score < least + min(_PRIOR.values()):
        return None
    return _lenient(data, best, guessed=True)


def _sample(data: bytes) -> tuple[bytes, bool]:
    """The first of the lines with bytes beyond ASCII, and whether the last of them is whole."""
    taken: list[bytes] = []
    size = end = 0
    while size < _SAMPLE_BYTES and (high := _HIGH.search(data, end)):
        # A very long line begins shortly before its first such byte; what follows ASCII begins a character.
        begin = max(end, data.rfind(b"\n", 0, high.start()) + 1, high.start() - 20)
        end = min(
            len(data) if (newline := data.find(b"\n", high.end())) < 0 else newline, begin + _SAMPLE_BYTES
        )
        taken.append(data[begin:end])
        size += end - begin
    return b"\n".join(taken), size < _SAMPLE_BYTES


@cache
def _by_encoding() -> Mapping[str, tuple[_Language, ...]]:
    found: dict[str, tuple[_Language, ...]] = {}
    for language in _languages():
        for encoding in language.encodings:
            found[encoding] = (*found.get(encoding, ()), language)
    return found


def _sampled(sample: bytes, encoding: str, whole: bool) -> str | None:
    """The sample in an encoding, or None where more than a byte in a hundred is none of it."""
    text = sample.decode(encoding, "replace")
    if not whole:
        text = text.rstrip("\ufffd")
    lost = text.count("\ufffd")
    return None if not text or lost * 100 > sum(byte >= 0x80 for byte in sample) else text


def _score(text: str, language: _Language) -> float:
    """The logarithm of how likely the letters beyond ASCII are, one by one, in their places."""
    wide = language.name in _WIDE
    return sum(
        math.log(_chance(letter, before, after, language, wide))
        for before, letter, after in _in_place(text)
        if not letter.isascii()
    )


def _in_place(text: str) -> Iterator[tuple[str, str, str]]:
    return zip(" " + text[:-1], text, text[1:] + " ", strict=True)


def _chance(letter: str, before: str, after: str, language: _Language, wide: bool) -> float:
    if letter in _PUNCTUATION:
        within = before.isascii() and before.isalpha() and after.isascii() and after.isalpha()
        return 0.05 if letter == "’" and within else _COMMON
    small = "ı" if letter == "İ" else letter.lower()
    chance = language.chances.get(small)
    if chance is None:
        chance = _unlisted(letter, language.name)
    if wide:
        beside = sum(other.isascii() and other.islower() for other in (before, after))
        return chance * 0.02**beside
    if letter != small and before.isalpha():
        # A capital within a word, where the word is not written in capitals.
        chance *= 0.8 if before.isupper() else 0.005
    elif letter != small:
        chance *= 0.5 if after.isupper() else 0.1
    elif before.isalpha() and before.isupper() and len(after) and after.isupper():
        chance *= 0.005
    latin = "LATIN" in _script(small)
    for other in (before, after):
        if other.isalpha():
            if latin and not other.isascii():
                chance *= 0.1
            elif not latin and other.isascii():
                chance *= 0.005
    return chance


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "")


@cache
def _unlisted(letter: str, language: str) -> float:
    """A letter that is not among the commonest, or no letter at all."""
    if not unicodedata.category(letter).startswith(("L", "M")):
        # Private use above all: what one encoding has no character for.
        return _ODD if unicodedata.category(letter) in {"Co", "Cn", "Cc", "Cf"} else 1e-5
    levels = {"zh": ("gb2312", 0xB0, 0xD7), "ja": ("euc_jp", 0xB0, 0xCF), "ko": ("euc_kr", 0xB0, 0xC8)}
    if language not in levels:
        return _RARE if _script(letter).startswith(("LATIN", "CYRILLIC", "GREEK", "THAI", "ARABIC")) else _ODD
    if letter.isascii() or "HALFWIDTH" in _script(letter):
        return 1e-5
    for encoding, first, last in (levels[language], ("big5", 0xA4, 0xC6)):
        code = letter.encode(encoding, "ignore")
        # The first level of each standard holds what is in use.
        if len(code) == 2 and first <= code[0] <= last and (encoding != "big5" or language == "zh"):
            return 7e-5
    return 1e-6
