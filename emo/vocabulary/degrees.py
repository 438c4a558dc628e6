"""How much of an emotion a label says, apart from which: "a bit nervous" is "nervous" with a degree."""

import re

# These say how much of any word; the adjectives below only of a word that is known to be an emotion.
_ADVERBS = (
    r"(?:(?:just |only )?a (?:(?:little|tiny|wee|small) bit|bit|little|touch|tad|trifle|lot|shade)(?: of)?|"
    r"kind of|kinda|sort of|somewhat|slightly|mildly|moderately|fairly|rather|quite|pretty|very|really|"
    r"so|too|"
    r"highly|extremely|deeply|intensely|strongly|incredibly|terribly|awfully|truly|genuinely|visibly|clearly|"
    r"obviously|increasingly|utterly|totally|completely|absolutely|particularly|especially|faintly|subtly|"
    r"vaguely|little|bit|more|most|less|feels?|feeling|seems?|seemingly|possibly|probably|perhaps|maybe|likely)"
)
_ADJECTIVES = (
    r"slight|mild|moderate|light|subtle|faint|strong|intense|deep|great|extreme|severe|high|low|profound|immense|"
    r"pure|sheer|genuine|some|minor|heightened|clear|certain|growing"
)
_NOUNS = (
    rf"(?:(?:an? |the )?(?:(?:{_ADJECTIVES}) )?(?:hint|touch|trace|tinge|sense|feeling|degree|level|"
    rf"bit|mix|note|"
    rf"state)s? of|(?:a )?(?:{_ADJECTIVES}))"
)
_CHINESE = (
    r"(?:有一点儿?|有点儿?|有些|一点儿?|一些|稍微|稍稍|稍显|略微|略显|略带|略有|微微|些许|轻微|轻度|中度|十分|非常|很|极其|极度|极为|特别|"
    r"相当|比较|较为|颇为|强烈|深深|深切|一丝|一点点|一种|过于|格外|尤其|无比|感到|觉得|显得|感觉)"
)
_ADVERB = re.compile(rf"^{_ADVERBS}\s+(?=\S)")
_ADJECTIVE = re.compile(rf"^{_NOUNS}\s+(?=\S)")
_HAN_DEGREE = re.compile(rf"^{_CHINESE}的?(?=.)")
_AFTER = re.compile(
    r"(?<=\S)\s+(?:to (?:some|a certain|a small|a great) (?:degree|extent)|a (?:bit|little)|at times|"
    r"somewhat)$"
)
_NOUN_AFTER = re.compile(
    r"(?<=\S)\s+(?:emotion|feeling|mood|sentiment)s?$|(?<=.)(?:的?(?:情绪|心情|情感|感情))$"
)
_BEFORE_KNOWN = (_ADJECTIVE, _HAN_DEGREE)


def without_adverb(label: str) -> str:
    """The label without what says how much of any word ("slightly", "a bit", "kind of")."""
    return _stripped(label, (_ADVERB,))


def without_degree(label: str) -> str:
    """The label without anything that can say a degree, for a look whether the rest is a known emotion."""
    return _NOUN_AFTER.sub("", _stripped(label, (_ADVERB, *_BEFORE_KNOWN)))


def _stripped(label: str, before: tuple[re.Pattern[str], ...]) -> str:
    label = _AFTER.sub("", label)
    while True:
        shorter = label
        for pattern in before:
            shorter = pattern.sub("", shorter)
        if shorter == label:
            return label
        label = shorter
