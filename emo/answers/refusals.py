"""Refusals and courtesies of a language model, in English and Chinese: what is said to the asker.

An answer is read clause by clause. A clause in which the model speaks of itself and declines, excuses itself
or is polite describes nobody, so it is left out; where nothing that describes somebody is left beside a
clause that declines, the answer is a refusal. What a person in the clip says or cannot do is no such clause:
quoted speech is not looked at, and neither is a clause that tells who speaks.

The wordings stand in `english.yaml` and `chinese.yaml`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, cached_property
from importlib import resources

import yaml

from emo import vocabulary

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
# A full stop inside a number or a name of a file ends nothing.
_SENTENCE = re.compile(r"(?:[^.!?。！？;；\n]+|\.(?=\w))*(?:[.!?。！？;；\n]+[\"'”’)*_]*|\Z)")
_ENGLISH_TURNS = ("but", "however", "although", "though", "nevertheless", "nonetheless", "yet", "still")
_CHINESE_TURNS = ("但是", "但", "不过", "然而", "可是")
_TURN = re.compile(
    rf"[,;:，；]?\s*\b(?:{'|'.join(_ENGLISH_TURNS)})\b[\s,]*|[，,；]\s*(?:{'|'.join(_CHINESE_TURNS)})[，,]?",
    re.IGNORECASE,
)
_SUBORDINATE = re.compile(
    r"\s*(?:(?:even )?though|although|while|despite|虽然|尽管)[^,，.。]*[,，]", re.IGNORECASE
)
_LEAD_IN = re.compile(r"[^:：\n]{2,120}[:：](?!\S*//)")
_QUOTED = re.compile(r'"[^"\n]*"|“[^“”\n]*”|「[^「」]*」|『[^『』]*』|«[^«»]*»|‘[^‘’\n]*’(?!\w)')
_CONNECTIVE = re.compile(r"^(?:and|so|also|well|oh|hmm|however|but|therefore|thus|then)\b[,\s]+")
_EMPHASIS = re.compile(r"\*+|__+")
_LATIN_WORD = re.compile(r"[a-z]+")
_EDGE = " \t\r\n*_#>~`-•–—\"'“”‘’()（）[]【】:：,，"
_END = ".!?。！？;；,，~ "


class Clause(Enum):
    """What a clause of an answer is."""

    DECLINES = auto()
    LIMITS = auto()
    EXCUSE = auto()
    COURTESY = auto()
    OTHER = auto()


_TO_THE_ASKER = frozenset({Clause.DECLINES, Clause.LIMITS, Clause.EXCUSE, Clause.COURTESY})
_NO_ANSWER = frozenset({Clause.DECLINES, Clause.LIMITS})


@dataclass(frozen=True)
class Manners:
    """declines: some clause declines; refuses: the answer as a whole does, or is nothing but polite.

    rest: the answer without excuses and courtesies, and without what declines in words of feeling ("I regret
    that"), as it was written where there is none of them.
    """

    declines: bool
    refuses: bool
    rest: str


def manners(text: str) -> Manners:
    """What of an answer is said to the asker, and what is left of it."""
    pieces = _clauses(text)
    kinds = [_kind(piece) for piece in pieces]
    if _TO_THE_ASKER.isdisjoint(kinds):
        return Manners(False, False, text)
    rest = _rest(pieces, kinds, text)
    describes = any(
        kind is Clause.OTHER and _describes(piece) for piece, kind in zip(pieces, kinds, strict=True)
    )
    tells = any(character.isalnum() for character in rest)
    excuses = Clause.EXCUSE in kinds or not _NO_ANSWER.isdisjoint(kinds)
    return Manners(Clause.DECLINES in kinds, not describes if excuses else not tells, rest)


def _rest(pieces: list[str], kinds: list[Clause], text: str) -> str:
    kept = [
        piece
        for piece, kind in zip(pieces, kinds, strict=True)
        if kind not in _TO_THE_ASKER or (kind in _NO_ANSWER and not _names_emotion(piece.lower()))
    ]
    if len(kept) == len(pieces):
        return text
    rest = "".join(kept)
    opening = _TURN.match(rest)
    return (rest[opening.end() :] if opening else rest).strip(" \t\r\n,;:，；：-—")


def _clauses(text: str) -> list[str]:
    """The sentences of a text, parted where "but" and its like or a courteous lead-in part them."""
    marked = _masked(text)
    pieces = []
    for sentence in _SENTENCE.finditer(marked):
        start, end = sentence.span()
        subordinate = _SUBORDINATE.match(marked, start, end)
        if subordinate:
            pieces.append(text[start : subordinate.end()])
            start = subordinate.end()
        lead_in = _LEAD_IN.match(marked, start, end)
        if lead_in and _kind(marked[start : lead_in.end()]) is Clause.COURTESY:
            pieces.append(text[start : lead_in.end()])
            start = lead_in.end()
        turns = _TURN.finditer(marked, start, end) if _may_turn(marked[start:end]) else ()
        for turn in turns:
            if turn.start() > start:
                pieces.append(text[start : turn.start()])
                pieces.append(text[turn.start() : turn.end()])
                start = turn.end()
        if end > start:
            pieces.append(text[start:end])
    return _without_loose_turns(pieces)


def _may_turn(sentence: str) -> bool:
    lower = sentence.casefold()
    return any(word in lower for word in (*_ENGLISH_TURNS, *_CHINESE_TURNS))


def _without_loose_turns(pieces: list[str]) -> list[str]:
    """The pieces with each "but" on the clause that it opens."""
    joined: list[str] = []
    turn = ""
    for piece in pieces:
        if _TURN.fullmatch(piece):
            turn += piece
        else:
            joined.append(turn + piece)
            turn = ""
    return [*joined, turn] if turn else joined


def _masked(text: str) -> str:
    """The text, as long as it was, with a mark for every letter of quoted speech."""
    inner = text.strip()
    if len(inner) > 1 and _QUOTED.fullmatch(inner):
        return text  # the whole answer is in quotation marks: nobody's speech
    return _QUOTED.sub(lambda quoted: "▒" * len(quoted[0]), text)


@dataclass(frozen=True)
class _Wordings:
    """The wordings of one language.

    may_find: whether a clause has a word without which none of the next four finds anything.
    declines, excuse, courtesy: of the model to the asker; limits: what cannot be told, by whom is left open.
    persons, shows: who a description is about, and what can be seen or heard of them; general: about the
    task or about people at large; hedged: what may be; speaks: somebody in the clip says it.
    """

    may_find: Callable[[str], object]
    declines: re.Pattern[str]
    limits: re.Pattern[str]
    excuse: re.Pattern[str]
    courtesy: re.Pattern[str]
    persons: re.Pattern[str]
    shows: re.Pattern[str]
    general: re.Pattern[str]
    hedged: re.Pattern[str]
    speaks: re.Pattern[str]

    @cached_property
    def to_the_asker(self) -> tuple[tuple[Clause, re.Pattern[str]], ...]:
        """What is said to the asker, in the order in which it is looked for."""
        return (
            (Clause.DECLINES, self.declines),
            (Clause.LIMITS, self.limits),
            (Clause.EXCUSE, self.excuse),
            (Clause.COURTESY, self.courtesy),
        )


@cache
def _wordings(language: str) -> _Wordings:
    text = (resources.files(__package__) / f"{language}.yaml").read_text(encoding="utf-8")
    lists: dict[str, str] = yaml.safe_load(text)
    may_find = _may_find(language, lists.pop("needs").split())
    words = {name: re.sub(r"\|\s+", "|", value) for name, value in lists.items() if "\n" not in value}
    patterns = {name: "|".join(value.splitlines()) for name, value in lists.items() if name not in words}
    for name, value in words.items():
        patterns = {key: pattern.replace(f"{{{name}}}", value) for key, pattern in patterns.items()}
        patterns[name] = rf"\b(?:{value})\b" if language == "english" else f"(?:{value})"
    names = [name for name in _Wordings.__dataclass_fields__ if name in patterns]
    return _Wordings(may_find, **{name: re.compile(patterns[name]) for name in names})


def _may_find(language: str, needs: list[str]) -> Callable[[str], object]:
    if language == "chinese":
        return re.compile("|".join(needs)).search
    # Where words stand apart, looking them up is the quicker way.
    behind: dict[str, set[str]] = {}
    for need in needs:
        word, _, then = need.partition(":")
        behind.setdefault(word, set()).update(then.split("|"))

    def may_find(plain: str) -> bool:
        words = _LATIN_WORD.findall(plain)
        if behind.keys().isdisjoint(words):
            return False
        pairs = zip(words, [*words[1:], ""], strict=True)
        return any(word in behind and not behind[word].isdisjoint(("", then)) for word, then in pairs)

    return may_find


def _plain(piece: str) -> str:
    """A clause as the wordings are looked for in it."""
    plain = " ".join(_masked(piece).replace("’", "'").replace("‘", "'").split()).lower()
    opening = _TURN.match(plain)
    plain = re.sub(r"\*+|__+", "", plain[opening.end() :] if opening else plain)
    return plain.strip(_EDGE).rstrip(_END).strip(_EDGE)


def _kind(piece: str) -> Clause:
    plain = _plain(piece)
    if not plain:
        return Clause.OTHER
    wordings = _wordings("chinese" if _CJK.search(plain) else "english")
    plain = _CONNECTIVE.sub("", plain)
    if not wordings.may_find(plain):
        return Clause.OTHER
    for kind, pattern in wordings.to_the_asker:
        if pattern.search(plain):
            return Clause.OTHER if wordings.speaks.search(plain) else kind
    return Clause.OTHER


def _describes(piece: str) -> bool:
    plain = _plain(piece)
    wordings = _wordings("chinese" if _CJK.search(plain) else "english")
    if not wordings.persons.search(plain) or wordings.general.search(plain):
        return False
    if wordings.shows.search(plain):
        return True
    return not wordings.hedged.search(plain) and _names_emotion(plain)


@cache
def _chinese_emotions() -> re.Pattern[str]:
    words = sorted((form for form in vocabulary.forms() if _CJK.match(form)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)))


def _names_emotion(plain: str) -> bool:
    forms = vocabulary.forms()
    if any(word in forms for word in re.findall(r"[a-z]+(?:-[a-z]+)*", plain)):
        return True
    return _chinese_emotions().search(plain) is not None
