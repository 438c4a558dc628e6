"""English word forms from a stem and a suffix: spelling only.

Which suffixes a word takes is written beside the word (fear takes -ful, not -less), because a rule that
guesses them makes words that mean something else.
"""

import re

from emo.errors import InputError

_CONSONANT_Y = re.compile(r"[^aeiou]y$")
_CONSONANT_LE = re.compile(r"[^aeiou]le$")
_HISSING = re.compile(r"(s|x|z|ch|sh)$")


def _ly(stem: str) -> str:
    if _CONSONANT_LE.search(stem):  # humble, humbly
        return stem[:-1] + "y"
    if stem.endswith("ll"):  # dull, dully
        return stem + "y"
    if stem.endswith("ic"):  # ecstatic, ecstatically
        return stem + "ally"
    return (stem[:-1] + "i" if _CONSONANT_Y.search(stem) and len(stem) > 3 else stem) + "ly"  # shyly


def _ness(stem: str) -> str:
    return (stem[:-1] + "i" if _CONSONANT_Y.search(stem) and len(stem) > 3 else stem) + "ness"


def _s(stem: str) -> str:
    if _CONSONANT_Y.search(stem):
        return stem[:-1] + "ies"
    return stem + ("es" if _HISSING.search(stem) else "s")


def _ed(stem: str) -> str:
    if stem.endswith("e"):
        return stem + "d"
    return (stem[:-1] + "i" if _CONSONANT_Y.search(stem) else stem) + "ed"


def _ing(stem: str) -> str:
    if stem.endswith("ie"):
        return stem[:-2] + "ying"
    return (stem[:-1] if stem.endswith("e") and not stem.endswith(("ee", "oe", "ye")) else stem) + "ing"


_SUFFIXES = {
    "ly": _ly,
    "ness": _ness,
    "s": _s,
    "ed": _ed,
    "ing": _ing,
    "ingly": lambda stem: _ing(stem) + "ly",
}


def inflect(stem: str, suffix: str) -> str:
    """The form of `stem` with one of the suffixes ly, ness, s, ed, ing, ingly.

    Consonants are never doubled: such forms (panicking, regretted) are written out in the word list.
    Raises InputError for any other suffix.
    """
    try:
        return _SUFFIXES[suffix](stem)
    except KeyError:
        raise InputError(f"unknown suffix {suffix!r}; expected one of: {', '.join(_SUFFIXES)}") from None


def expand(headword: str, notation: str) -> list[str]:
    """All forms that one entry of the word list stands for.

    `happier` is itself, `+ly+ness` the headword with each suffix, `joy+s` the stem joy and joys.
    """
    stem, *suffixes = notation.split("+")
    forms = [stem] if stem else []
    return forms + [inflect(stem or headword, suffix) for suffix in suffixes]
