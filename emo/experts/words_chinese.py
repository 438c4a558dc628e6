"""Emotion words of a Chinese transcript: which ones the speaker says of themself.

A form of the vocabulary counts only where the words of the clause may begin and end there.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from emo import vocabulary
from emo.vocabulary import STANCE, Word


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
UNHAPPY_WITHOUT = _set("高兴 开心 快乐 满意 愉快 痛快 快活")
# Words that hold an emotion word by accident across their edge: 觉得|意外, 表情|意味着.
_PLAIN = _set(
    "觉得 显得 变得 值得 懂得 获得 取得 不得不 表情 剧情 事情 加深 来自 亲自 公平 共同 不同 相同 注意 "
    "意味 意味着 意思 意见 同意 情况 动作 不仅 不但 不禁 不由得 不断 不久 不过 不错 没事 没关系 "
    "意外发生 出意外 意外事故 有没有 是不是 高兴地 人物 自然 自己 平时 平常 关心"
)
# In talk these are manners, tastes or something asked: 不好意思, 我喜欢吃辣的, 放心.
_OTHER_USES = _set(
    "不好意思 喜欢 不喜欢 希望 放心 认真 安静 小心 舒服 不舒服 辛苦 随便 奇怪 好奇 自信 坚定 坚强 "
    "热情 积极 温柔 善良 冷静 平静 严肃 客气 抱歉 对不起 感谢 谢谢 欢迎 愿意 不愿意 关心 关注 照顾 "
    "尊重 相信 怀疑 信任 支持 理解 同情 可爱 幽默 努力 勇敢 老实 聪明 清楚 明白 糊涂 疑问 困难 痛 疼 "
    "肯定 确定 忙 轻松 稳定 正常 正经 认同 满足 舍不得 想念 在乎 不在乎"
)
_CAUSED = re.compile(r"(让|令|叫|使)(我|人)(们)?(感到|觉得)?(很|非常|真|太|好|这么|特别|十分|有点|更)?$")
_SELF = re.compile(r"我们?|咱们?|俺|本人")
_OTHERS = re.compile(
    r"[你您他她它](们|俩)?|大家|别人|人家|人们|([我咱](们)?的?)?(妈妈?|爸爸?|哥哥?|姐姐?|弟弟?|妹妹?|爷爷|奶奶|儿子|"
    r"女儿|孩子|朋友|老公|老婆|丈夫|妻子|老板|经理|同事|老师|同学|家人|先生|小姐|医生|警察|客人|观众|对方|那(个)?人)"
)
_NEGATION = re.compile(
    r"(不|没|没有|别|未|无|毫不|不再|不要|不用|不必|不是|一点也不|一点都不|并不|并没有|从不|从没)"
    r"(是|会|再|太|很|那么|这么|怎么|感到|觉得|有|曾|够|那|算|什么|能)*$"
)
_UNREAL = re.compile(
    r"希望|但愿|愿|祝|以为|想要|是否|是不是|会不会|假装|不要|何必|怎么会|哪里|才会|就会|免得|省得"
)
_REPORTED = re.compile(r"[你您他她](们)?(是|还|真|都|就|总)?(说|以为|觉得|认为|当|嫌)(我|咱|俺)")
CONDITION = re.compile(r"如果|要是|假如|假使|倘若|万一|只要|除非|即使|就算|哪怕|的话|不管|无论")
_EARLIER = re.compile(r"当时|那时|以前|曾经|昨天|去年|小时候|过去|上次|从前")
_DEGREE = re.compile(
    r"(很|好|真|真的|太|挺|超|超级|非常|特别|十分|实在|有点|有点儿|有些|这么|那么|最|更|多么|多|可)(是)?$"
)
_DEGREES = frozenset("太很好真最更挺")
_POLITE = re.compile(r"(很|非常|真|太)?(高兴|荣幸)(认识|见到|为|能|和|与|地|的)")
_ALSO = re.compile(r"^(也|还|又|都|而且|并且|更)")


def named(place: int, clause: str, before: str, asked: bool) -> Iterator[tuple[int, str, str]]:
    if not HAN.search(clause):
        return
    forms = vocabulary.forms()
    edges = _word_edges(clause)
    index = 0
    while index < len(clause):
        size = 1
        if HAN.match(clause[index]):
            for length in range(min(vocabulary.longest_form(), len(clause) - index), 1, -1):
                piece = clause[index : index + length]
                if piece in _PLAIN or (piece in forms and {index, index + length} <= edges):
                    size = length
                    break
        piece = clause[index : index + size]
        if size > 1 and piece in forms and piece not in _PLAIN:
            verdict = _whose(clause, index, index + size, before, forms[piece], asked)
            if verdict:
                yield place + index, piece, verdict
        index += size


def _word_edges(clause: str) -> set[int]:
    """Where a word of Chinese may begin or end: a form that cuts across them is another word's part.

    The segmenter's dictionary holds some words with their degree as one, such as 太高兴: there it is cut off.
    """
    edges = {0}
    for word, start, end in segmenter().tokenize(clause, HMM=False):
        edges.add(end)
        if word[0] in _DEGREES and word[1:] in vocabulary.forms():
            edges.add(start + 1)
    return edges


@cache
def segmenter() -> Any:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # it writes how long its dictionary took to standard error
    jieba.initialize()
    return jieba


def _whose(clause: str, first: int, after: int, before: str, word: Word, asked: bool) -> str | None:
    left, right = clause[:first], clause[after:]
    form = clause[first:after]
    if re.match(r"的\s*[\u4e00-\u9fff]", right):
        return None  # it describes a thing: 高兴的事
    if form in _OTHER_USES or _POLITE.search(clause):
        return None
    if "被" in left or right.startswith("吧"):
        return "other"  # 我被人讨厌, and what is asked of somebody
    subject = "self" if _CAUSED.search(left) else subject_of(left)
    strong = bool(_DEGREE.search(left) or _CAUSED.search(left))
    said_of_self = subject == "self" and (strong or re.search(r"(我|我们|感到|觉得|心里|心情)$", left))
    if (form in word.everyday or word.kind == STANCE) and not said_of_self:
        return None
    if subject is None and _ALSO.match(left.strip()):
        subject = subject_of(before)
    if subject == "other" or (subject is None and (asked or right.strip().endswith(("吗", "么")))):
        return "other"
    if CONDITION.search(before + clause) or _UNREAL.search(left):
        return "other"
    if _REPORTED.search(left):
        return "other"  # 你以为我怕: what another takes them to feel
    if _EARLIER.search(before + clause):
        return "other"
    if _NEGATION.search(left):
        # 别生气, "do not be angry", is said to somebody else.
        return "denied" if subject == "self" or not re.search(r"(别|不要)\S{0,2}$", left) else "other"
    if subject is None and not strong and left.strip():
        return "other"  # of whom or what it is said cannot be told
    return "self"


def subject_of(left: str) -> str | None:
    """Whom the last pronoun before the word names: `self`, `other`, or None without one."""
    last: tuple[int, str] | None = None
    for match in _SELF.finditer(left):
        last = (match.end(), "self")
    for match in _OTHERS.finditer(left):
        if last is None or match.end() > last[0]:
            last = (match.end(), "other")
    return last[1] if last else None
