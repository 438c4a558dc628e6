"""Emotion words of an English transcript: which ones the speaker says of themself.

What is denied, wished, asked, told of an earlier time or said of somebody else is told apart by the words
around it. Forms that people use in talk for something else are no emotion words.
"""

import re
from collections.abc import Iterator

from emo import vocabulary
from emo.vocabulary import STANCE, Word


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


LATIN = re.compile(r"[a-z]+(?:['-][a-z]+)*")
_SELF = _set("i i'm im i've i'll i'd we we're we've we'll we'd me us myself ourselves")
_OTHERS = _set(
    "you you're you've you'll he he's she she's they they're him her his their your them who everyone "
    "everybody nobody someone somebody people"
)
_BE = _set(
    "am is are was were be been being seem seems seemed look looks looked sound sounds feel feels felt "
    "get gets got become becomes became i'm we're you're he's she's they're it's that's"
)
_SELF_BE = _set("i'm im am we're feel feeling felt")
_DEGREE = _set(
    "so very too really quite pretty just a bit little rather truly deeply extremely all still also now "
    "more most absolutely completely totally terribly awfully always kind of such feeling being getting"
)
_DETERMINERS = _set("a an the this that these those my your his her its our their some any no")
_AFTER_STATE = _set(
    "and or about to that for with at of now today tonight right here again too as when i we this in on "
    "by just if since you after before he she they it so all because enough then already yet though"
)
_NEGATORS = _set("not no never neither nor without cannot hardly isnt dont aint nothing")
_EXCUSED = _set("only just merely simply")
_UNREAL = _set(
    "if would could want wanna wish hope pretend unless whether i'd we'd used might may should when whenever "
    "until sometimes usually often ever supposed suppose imagine gonna will i'll we'll"
)
_EARLIER = _set("used ago yesterday once")
_SAYING = _set(
    "say says said saying think thinks thought tell tells told know knows knew believe believes mean means "
    "ask asks asked hear heard figured bet guess hope hopes hoped want wants wanted"
)
# Forms that people use in talk for something else: "I was thinking we could go", "I'm down", "a kind of".
_OTHER_USES = _set(
    "thinking thought thoughts hoping wondering moving moved positive seriously serious down low sick kind "
    "busy rushed torn joking joke jokes humor romance entertainment dedication marvel competitive lazy hurt "
    "hurts determined ready sure concerned interested interest trust trusts open free strong cool nice sweet "
    "fine good comfortable calm quiet patient loaded special right firm certain blue cold warm"
)
_NOUN = re.compile(
    r"(ness|tion|sion|ment|ance|ence|ity|ety|ship|hood|ism|joy|fear|rage|grief|trauma|relief|anger|love|panic|"
    r"pride|guilt|shame|hope|pain|regret|pleasure|envy|awe|fun|stress|passion|worries|fears|joys|sorrows?)$"
)
_NOUN_HOLDERS = _set("feel feeling felt such with in full pure")
_ADJECTIVES_IN_LY = _set("lonely ugly friendly lively silly jolly lovely melancholy unfriendly")
# Said without a subject these are asked of somebody else: "relax!", "enjoy", "never fear".
_ASKED_OF_OTHERS = _set(
    "relax enjoy worry cry love hate calm cheer forgive trust fear sympathize hurry laugh smile admire "
    "appreciate marvel rejoice panic regret pity hope envy despair thank welcome dream hurt freak"
)
_OPENERS = _set(
    "oh yeah yes no well so very really super too how and it's that's this is it ok okay hey god man wow ugh "
    "ah aww aw just kind of a bit little pretty quite hmm um uh gee geez gosh still all more most now"
)
_POLITE_AFTER_AFRAID = _set(
    "that so not i we you he she it there it's that's your the this they i'm we're "
    "you're he's she's they're there's you'll we'll"
)
UNHAPPY_WITHOUT = _set("happy glad pleased satisfied amused thrilled")
_ASKING = re.compile(r"\b(am|do|did|should|can|could|would|will|why|how come) (i|we)\b")


def named(place: int, clause: str, asked: bool) -> Iterator[tuple[int, str, str]]:
    matches = list(LATIN.finditer(clause))
    tokens = [match.group() for match in matches]
    asked = asked or bool(_ASKING.search(clause))
    index = 0
    while index < len(tokens):
        form, size = _form_at(tokens, index)
        if form and not _used_otherwise(tokens, index, index + size, form):
            verdict = _whose(tokens, index, index + size, vocabulary.forms()[form], form, asked)
            if verdict:
                yield place + matches[index].start(), form, verdict
        index += size


def _form_at(tokens: list[str], index: int) -> tuple[str | None, int]:
    """The longest form of the vocabulary that starts here, and how many words it takes."""
    for size in range(min(vocabulary.longest_form(), len(tokens) - index), 0, -1):
        form = " ".join(tokens[index : index + size])
        if form in vocabulary.forms():
            return form, size
    return None, 1


def _used_otherwise(tokens: list[str], first: int, after: int, form: str) -> bool:
    """Whether a form of the vocabulary is, in talk, no word for what the speaker feels now."""
    if form in _OTHER_USES or (form.endswith("ly") and form not in _ADJECTIVES_IN_LY):
        return True
    following = tokens[after] if after < len(tokens) else ""
    if form == "afraid" and following in _POLITE_AFTER_AFRAID and tokens[first - 1] not in _DEGREE:
        return True  # "I'm afraid we are closed", and not "I am so afraid that he comes"
    if form in ("loves", "hates", "enjoys", "likes", "fears", "worries", "adores", "admires", "misses"):
        return True  # with I and we the form has no s
    if form == "sorry":
        return True  # an apology or a way to ask again: the phrases know which
    before = tokens[first - 1] if first else ""
    if before in ("to", "be"):
        return True  # "nothing to worry about", "you would be glad"
    near = [token for token in tokens[max(0, first - 3) : first] if token not in _DEGREE]
    return bool(_NOUN.search(form)) and form != "love" and not (near and near[-1] in _NOUN_HOLDERS)


def _whose(tokens: list[str], first: int, after: int, word: Word, form: str, asked: bool) -> str | None:
    """`self`, `denied`, `other`, or None where the form is not used as an emotion word."""
    near = first - 1
    while near >= 0 and tokens[near] in _DEGREE and tokens[near] not in _DETERMINERS | {"feeling"}:
        near -= 1
    negated_at = near if near >= 0 and _negates(tokens, near) else None
    said_of_self = near >= 0 and (
        tokens[near] in _SELF_BE
        or (negated_at is not None and near > 0 and tokens[near - 1] in _SELF_BE)
        or (near > 0 and tokens[near] in _BE and tokens[near - 1] in _SELF)
    )
    if (form in word.everyday or word.kind == STANCE) and not said_of_self:
        return None
    following = tokens[after] if after < len(tokens) else ""
    before_noun = following and following not in _AFTER_STATE and following not in vocabulary.forms()
    before_noun = before_noun and not following.endswith("ly")
    if before_noun and near >= 0 and tokens[near] in _DETERMINERS and not _be_of_self(tokens[:near]):
        return None
    subject = next((token for token in reversed(tokens[:first]) if token in _SELF | _OTHERS), None)
    if before_noun and not first and (following == "people" or following not in _SELF | _OTHERS):
        return "other"  # "Nervous people make mistakes", and not "Glad you came"
    if subject is None and (
        form in _ASKED_OF_OTHERS or any(token not in _OPENERS for token in tokens[:first])
    ):
        return "other"
    if subject in _OTHERS or (asked and (subject is None or said_of_self)):
        return "other"
    if _is_reported(tokens[:first]) or any(token in _UNREAL for token in tokens[:first]):
        return "other"
    if not _EARLIER.isdisjoint(tokens):
        return "other"
    reach = range(max(0, first - 4), first)
    if any(_negates(tokens, index) for index in reach):
        return None if form.endswith("ier") else "denied"
    return "self"


def _is_reported(tokens: list[str]) -> bool:
    """Whether somebody else is said to say or think what follows: "he thinks I am ..."."""
    return any(
        token in _OTHERS and any(later in _SAYING for later in tokens[index + 1 : index + 4])
        for index, token in enumerate(tokens)
    )


def _be_of_self(tokens: list[str]) -> bool:
    return bool(tokens) and (tokens[-1] in _SELF_BE or (tokens[-1] in _BE and tokens[-2:-1] == ["i"]))


def _negates(tokens: list[str], index: int) -> bool:
    token = tokens[index]
    if token not in _NEGATORS and not token.endswith("n't"):
        return False
    return not (index + 1 < len(tokens) and tokens[index + 1] in _EXCUSED and token == "not")
