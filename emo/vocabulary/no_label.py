"""What is no label: an entry that says that there is none, that names none, or that is a sentence.

Extraction, fusion and the reading of votes from elsewhere ask here, so that "unknown" is nobody's vote.
"""

import re
from collections.abc import Callable
from enum import Enum, auto
from importlib import resources

import yaml

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_WORDS = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


class Entry(Enum):
    """LABEL; NOTHING: says that there is no emotion, or denies one, or names none; NO_LABEL: is a sentence,
    a number, or no word at all.
    """

    LABEL = auto()
    NOTHING = auto()
    NO_LABEL = auto()


_TABLES: dict[str, str] = yaml.safe_load(
    (resources.files(__package__) / "no_label.yaml").read_text(encoding="utf-8")
)
_EMPTY, _VAGUE, _NOUNS, _NEGATORS, _SENTENCE = (
    frozenset(_TABLES[name].split()) for name in ("empty", "vague", "nouns", "negators", "sentence")
)
_HAN_EMPTY = re.compile(
    r"^(?:无|没有|没|未知|不明|不详|不清楚|不知道|未提及|未提供|未检测到|其他|其它|等|等等|空|否|是|标签|答案|列表|输出|描述|中等|正常|"
    r"(?:无法|不能|难以|未能|无从)(?:判断|确定|识别|得知|推断|判定|分辨|辨别|确认|看出)?|(?:无|没有)明显.*|"
    r"(?:无|没有|未见|缺乏|不确定)(?:特定|明确|任何|特别|具体)?的?(?:情[绪感]|表情|感情)(?:波动|变化|表达|色彩)?|"
    r"(?:情[绪感]|表情|感情|心情)(?:状态)?(?:不明|未知|不详|复杂|不明显|不明确|不确定|稳定|多样|混合)?|"
    r"(?:复杂|混合|多种|各种|不同|某种|其他)的?(?:情[绪感]|感情|心情)?)$"
)
_HAN_DENIAL = re.compile(r"^(?:并?不是|并?没有|毫无|毫不|并未|并非|并不|不再|不太|不会|不像|缺乏|绝不)")
# These also begin words of their own (不甘心): they deny only what is an emotion without them.
_HAN_PREFIX = re.compile(r"^[未无不没非]")
_HAN_SENTENCE = re.compile(
    r"[他她我你您它们这那是]|根据|描述|人物|角色|说话|个人|看起来|看上去|听起来|因为|所以|可能|似乎|视频|情绪状态|表现出|感到|以下|如下|"
    r"分析|好的|当然|答案|文[中本]|表达|显示|包括"
)
# Ties a part of a sentence to the one before it: "也不难过" (nor sad).
_HAN_TIE = re.compile(r"^[也都还又而但却就才](?=.)")
_HAN_LONGEST = 6
_KANA_SENTENCE = re.compile(
    r"(?:ます|です|ました|でした|ません|ている|ていた|ない|なかった|だろう|[いた]だ)$|[はがを]"
)
_KANA_LONGEST = 8
_HANGUL_SENTENCE = re.compile(
    r"(?:습니다|니다|어요|아요|해요|했다|한다|있다|났다|이다|하다)$|(?:[은는이가을를]\s)"
)
_NO_EMOTION = re.compile(r"[なし無]|感情(?:なし|不明)|不明|わからない|없음|알 ?수 ?없음|모름")
_LONGEST = 4  # words


def entry_kind(label: str, known: Callable[[str], bool]) -> Entry:
    """What one entry of a list is; label: normalised; known: whether words are an emotion of the vocabulary,
    in whatever degree.
    """
    if known(label):
        return Entry.LABEL
    words = _WORDS.findall(label)
    if not words or (len(label) == 1 and label.isascii()):  # one letter: an option that was chosen
        return Entry.NO_LABEL if any(letter.isalnum() for letter in label) else Entry.NOTHING
    if label in _EMPTY:
        return Entry.NOTHING
    if _KANA.search(label):
        return _kana(label)
    if _HAN.search(label):
        return _han(label, known)
    if _HANGUL.search(label):
        if _NO_EMOTION.fullmatch(label):
            return Entry.NOTHING
        return Entry.NO_LABEL if _HANGUL_SENTENCE.search(label) or len(words) >= _LONGEST else Entry.LABEL
    return _spaced(label, words, known)


def _spaced(label: str, words: list[str], known: Callable[[str], bool]) -> Entry:
    if label.startswith("non-"):
        return Entry.NOTHING if known(label.removeprefix("non-")) or "emotion" in label else Entry.LABEL
    if len(words) > 1 and words[0] not in _NEGATORS and not _SENTENCE.isdisjoint(words):
        return Entry.NO_LABEL
    if not _NEGATORS.isdisjoint(words[:3]):
        return Entry.NOTHING if len(words) <= _LONGEST + 2 else Entry.NO_LABEL
    if len(words) > _LONGEST:
        return Entry.NO_LABEL
    if not _VAGUE.isdisjoint(words) or (_NOUNS.issuperset(words) and words != ["emotional"]):
        return Entry.NOTHING
    return Entry.LABEL


def _han(label: str, known: Callable[[str], bool]) -> Entry:
    if _HAN_EMPTY.match(label):
        return Entry.NOTHING
    if _HAN_SENTENCE.search(label) or _HAN_TIE.match(label):
        return Entry.NO_LABEL
    if _HAN_DENIAL.match(label) or (_HAN_PREFIX.match(label) and known(label[1:])):
        return Entry.NOTHING
    return Entry.LABEL if len(_HAN.findall(label)) <= _HAN_LONGEST else Entry.NO_LABEL


def _kana(label: str) -> Entry:
    if _NO_EMOTION.fullmatch(label):
        return Entry.NOTHING
    return Entry.NO_LABEL if _KANA_SENTENCE.search(label) or len(label) > _KANA_LONGEST else Entry.LABEL
