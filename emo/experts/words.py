"""The words expert: what the transcript says about the speaker's state, in English and Chinese. A baseline.

It counts two things as evidence: an emotion word that the speaker says of themself ("I am so scared"), and a
phrase that people use when they feel something and do not name it ("how dare you"; `phrases.tsv`). What is
denied, wished, asked, told of an earlier time or said of somebody else is no evidence. It hears no irony and
knows no context.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, ClassVar

from emo import vocabulary
from emo.errors import InputError
from emo.experts import measuring, protocol
from emo.experts.protocol import TRANSCRIPT, Card, Clip, Description
from emo.vocabulary import STANCE, Word

VERSION = "3"


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LANGUAGES = _set("und en eng english zh zho chi cmn yue chinese")
_OF_THEMSELF = "says of themself"
_NAMED, _PHRASE = 1.0, 0.7  # how much evidence weighs
_MOST_STATES = 3
_LEAST_SHARE = 0.5  # of the weight of the strongest state

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile(r"[a-z]+(?:['-][a-z]+)*")
_OTHER_SCRIPT = re.compile(r"[\u0370-\u06ff\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\uac00-\ud7af]")
_MARKUP = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_SENTENCE = re.compile(r"[^.!?。\n]+[.!?。\n]*")
_CLAUSE = re.compile(r"[,;:、()\[\]\"“”—–]|\s-\s|\b(?:but|because|although|though|while)\b")

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
_POLITE_AFTER_AFRAID = _set("that so not i we you he she it there it's that's your the this they i'm we're")
_UNHAPPY_WITHOUT = _set("happy glad pleased satisfied amused thrilled")
_CHINESE_UNHAPPY_WITHOUT = _set("高兴 开心 快乐 满意 愉快 痛快 快活")
_ASKING = re.compile(r"\b(am|do|did|should|can|could|would|will|why|how come) (i|we)\b")

# Words that hold an emotion word by accident across their edge: 觉得|意外, 表情|意味着.
_CHINESE_PLAIN = _set(
    "觉得 显得 变得 值得 懂得 获得 取得 不得不 表情 剧情 事情 加深 来自 亲自 公平 共同 不同 相同 注意 "
    "意味 意味着 意思 意见 同意 情况 动作 不仅 不但 不禁 不由得 不断 不久 不过 不错 没事 没关系 "
    "意外发生 出意外 意外事故 有没有 是不是 高兴地 人物 自然 自己 平时 平常 关心"
)
# In talk these are manners, tastes or something asked: 不好意思, 我喜欢吃辣的, 放心.
_CHINESE_OTHER_USES = _set(
    "不好意思 喜欢 不喜欢 希望 放心 认真 安静 小心 舒服 不舒服 辛苦 随便 奇怪 好奇 自信 坚定 坚强 "
    "热情 积极 温柔 善良 冷静 平静 严肃 客气 抱歉 对不起 感谢 谢谢 欢迎 愿意 不愿意 关心 关注 照顾 "
    "尊重 相信 怀疑 信任 支持 理解 同情 可爱 幽默 努力 勇敢 老实 聪明 清楚 明白 糊涂 疑问 困难 痛 疼 "
    "忙 轻松 稳定 正常 正经 认同 满足 舍不得 想念 在乎 不在乎"
)
_CHINESE_CAUSED = re.compile(
    r"(让|令|叫|使)(我|人)(们)?(感到|觉得)?(很|非常|真|太|好|这么|特别|十分|有点|更)?$"
)
_CHINESE_SELF = re.compile(r"我们?|咱们?|俺|本人")
_CHINESE_OTHERS = re.compile(
    r"[你您他她它](们|俩)?|大家|别人|人家|人们|([我咱](们)?的?)?(妈妈?|爸爸?|哥哥?|姐姐?|弟弟?|妹妹?|爷爷|奶奶|儿子|"
    r"女儿|孩子|朋友|老公|老婆|丈夫|妻子|老板|经理|同事|老师|同学|家人|先生|小姐|医生|警察|客人|观众|对方|那(个)?人)"
)
_CHINESE_NEGATION = re.compile(
    r"(不|没|没有|别|未|无|毫不|不再|不要|不用|不必|不是|一点也不|一点都不|并不|并没有|从不|从没)"
    r"(是|会|再|太|很|那么|这么|怎么|感到|觉得|有|曾|够|那|算|什么|能)*$"
)
_CHINESE_UNREAL = re.compile(
    r"希望|但愿|愿|祝|以为|想要|是否|是不是|会不会|假装|不要|何必|怎么会|哪里|才会|就会|免得|省得"
)
_CHINESE_REPORTED = re.compile(r"[你您他她](们)?(是|还|真|都|就|总)?(说|以为|觉得|认为|当|嫌)(我|咱|俺)")
_CHINESE_CONDITION = re.compile(r"如果|要是|假如|假使|倘若|万一|只要|除非|即使|就算|哪怕|的话|不管|无论")
_CHINESE_EARLIER = re.compile(r"当时|那时|以前|曾经|昨天|去年|小时候|过去|上次|从前")
_CHINESE_DEGREE = re.compile(
    r"(很|好|真|真的|太|挺|超|超级|非常|特别|十分|实在|有点|有点儿|有些|这么|那么|最|更|多么|多|可)(是)?$"
)
_POLITE_CHINESE = re.compile(r"(很|非常|真|太)?(高兴|荣幸)(认识|见到|为|能|和|与|地|的)")
_CHINESE_ALSO = re.compile(r"^(也|还|又|都|而且|并且|更)")


@dataclass(frozen=True)
class Evidence:
    """One thing that was said: `act` is what the speaker does with it, in words that follow "The speaker"."""

    word: str
    quote: str
    act: str
    weight: float


@dataclass(frozen=True)
class Reading:
    """What a transcript holds.

    evidence: in the order of the text; denied: emotions that the speaker denies; not_counted: how many
    emotion words are said of somebody else, asked or wished.
    """

    evidence: tuple[Evidence, ...]
    denied: tuple[str, ...]
    not_counted: int

    def states(self) -> list[str]:
        """The states that the evidence supports, one per cluster, the strongest first, at most three."""
        weights: dict[str, float] = defaultdict(float)
        names: dict[str, str] = {}
        for item in sorted(self.evidence, key=lambda item: -item.weight):
            cluster = vocabulary.cluster_of(item.word) or item.word
            weights[cluster] += item.weight
            names.setdefault(cluster, item.word)
        top = max(weights.values(), default=0.0)
        kept = [cluster for cluster, weight in weights.items() if weight >= _LEAST_SHARE * top]
        return [names[cluster] for cluster in sorted(kept, key=lambda cluster: -weights[cluster])][
            :_MOST_STATES
        ]


class WordsExpert(measuring.MeasuringExpert):
    """Reads the transcript; sees and hears nothing."""

    Settings: ClassVar[type[protocol.Settings]] = measuring.Settings

    def __init__(self, settings: Any) -> None:
        self.card = Card(name=settings.name, modalities=(TRANSCRIPT,), model="word-lists", revision=VERSION)
        _phrases()
        _longest_form()
        _segmenter()

    @classmethod
    def reads_transcript(cls, settings: Any) -> bool:
        return True

    def describe_one(self, clip: Clip) -> Description:
        if clip.transcript is None or not clip.transcript.strip():
            return Description(
                "There is no transcript, so nothing is known of what is said.", degraded=(TRANSCRIPT,)
            )
        return Description(describe_transcript(clip.transcript, clip.language))


def normalise(transcript: str) -> str:
    """Lower case, full-width marks as ASCII, markup of subtitle formats taken out."""
    text = unicodedata.normalize("NFKC", _MARKUP.sub(" ", transcript)).lower()
    return re.sub(r"[^\S\n]+", " ", text.replace("’", "'").replace("‘", "'")).strip()


def read(transcript: str) -> Reading:
    """What the transcript says of the speaker's state, from emotion words and from phrases."""
    text = normalise(transcript)
    found: list[tuple[int, Evidence]] = []
    spans: list[tuple[int, int]] = []
    for act, word_of_phrase, pattern in _phrases():
        for match in pattern.finditer(text):
            if _is_not_meant(act, _sentence_before(text, match.start())):
                continue
            quote = " ".join(match.group().split()).strip(" .,!?。[]()")
            found.append((match.start(), Evidence(word_of_phrase, quote, act, _PHRASE)))
            spans.append(match.span())
    denied: list[str] = []
    not_counted = 0
    for place, form, verdict in _named(text):
        if any(start <= place < end for start, end in spans):
            continue  # the phrase has said it: "I'm so sorry", "don't be afraid"
        word = vocabulary.forms()[form]
        if verdict == "self":
            found.append((place, Evidence(word.headword, form, _OF_THEMSELF, _NAMED)))
        elif verdict == "denied" and form in _UNHAPPY_WITHOUT | _CHINESE_UNHAPPY_WITHOUT:
            found.append((place, Evidence("unhappy", f"not {form}", _OF_THEMSELF, _PHRASE)))
        elif verdict == "denied":
            denied.append(form)
        else:
            not_counted += 1
    found.sort(key=lambda item: item[0])
    return Reading(tuple(evidence for _, evidence in found), tuple(dict.fromkeys(denied)), not_counted)


def _sentence_before(text: str, place: int) -> str:
    """What stands before a place in its sentence."""
    start = max(text.rfind(mark, 0, place) for mark in ".!?。\n")
    return text[start + 1 : place]


# Acts that tell of the state that the speaker is in: somebody else's is not theirs.
_OWN_ACTS = frozenset(
    (
        "says how they are",
        "says that they will not stop",
        "tells of a success",
        "asks what to do",
        "says that they cannot go on",
        "cannot wait for something",
        "says that it fell short",
        "calls for help",
        "says that it went well in the end",
        "says that it is too much",
    )
)
_JUDGING_ACTS = frozenset(("calls something good", "calls something foul", "laughs", "praises somebody"))
_UNLESS_REGRET = "says what should have been otherwise"
_CONDITION = re.compile(r"\b(if|unless|when|whenever|whether|in case|suppose|pretend)\b")
_DENIED_BEFORE = re.compile(r"(\b(not|never|hardly|no)|n't)( \w+)?\s*$|(不|没|没有|不是|不算|不太)$")
_REPORTED = re.compile(
    r"\b(you|he|she|they|who|everyone|people|mom|dad|\w+s) (just |always |never )?"
    r"(say|says|said|think|thinks|thought|tells?|told|asked|called|yelled)\b"
)


def _is_not_meant(act: str, before: str) -> bool:
    """Whether a phrase after `before`, the beginning of its sentence, is not the speaker's own, or not so."""
    if act == _UNLESS_REGRET:
        return False
    if _CONDITION.search(before) or _CHINESE_CONDITION.search(before):
        return True
    if act in _JUDGING_ACTS and _DENIED_BEFORE.search(before):
        return True
    if act not in _OWN_ACTS:
        return False
    clause = re.split("[,;:、]", before)[-1]
    return bool(_REPORTED.search(before)) or _chinese_subject(clause) == "other"


def describe_transcript(transcript: str, language: str | None) -> str:
    """The transcript's evidence in words, and the state that it suggests, if any."""
    text = normalise(transcript)
    han, latin, other = (len(kind.findall(text)) for kind in (_HAN, _LATIN, _OTHER_SCRIPT))
    code = re.split(r"[-_]", language.lower())[0] if language else ""
    if (code and code not in _LANGUAGES) or other > han + latin:
        named = f" ({language})" if code and code not in _LANGUAGES else ""
        return f"The transcript is in a language{named} that was not read: only English and Chinese are."
    if not han and not latin:
        return "The transcript has no words in it."
    reading = read(transcript)
    sentences = [_form(text, han, latin, code)]
    groups: dict[str, list[str]] = defaultdict(list)
    for item in reading.evidence:
        if item.quote not in groups[item.act]:
            groups[item.act].append(item.quote)
    for act, quotes in groups.items():
        sentences.append(f'The speaker {act}: "{" ... ".join(quotes)}".')
    if reading.denied:
        sentences.append(f'The speaker says of themself, only to deny it: "{" ... ".join(reading.denied)}".')
    if reading.not_counted:
        amount = "1 emotion word" if reading.not_counted == 1 else f"{reading.not_counted} emotion words"
        sentences.append(f"Not counted: {amount}, said of somebody else, asked or wished.")
    states = reading.states()
    if not states:
        sentences.append("The words alone show no clear emotion.")
        return " ".join(sentences)
    named_states = states[0] if len(states) == 1 else f"{', '.join(states[:-1])} and {states[-1]}"
    article = "an" if named_states[0] in "aeiou" else "a"
    mean = sum(vocabulary.valence(state) or 0.0 for state in states) / len(states)
    scale = f"mean valence {mean:+.1f} on a scale from -1 to 1"
    sentences.append(f"The words suggest {article} {named_states} state ({scale}).")
    return " ".join(sentences)


def _form(text: str, han: int, latin: int, code: str) -> str:
    parts = []
    if latin:
        words = "1 word" if latin == 1 else f"{latin} words"
        parts.append(f"{words} in English" if code else f"{words} in Latin letters (read as English)")
    if han:
        parts.append(f"{han} Chinese character" + "s" * (han != 1))
    marks = [
        f"{count} {name} mark" + "s" * (count != 1)
        for name, count in (("exclamation", text.count("!")), ("question", text.count("?")))
        if count
    ]
    ending = f", with {' and '.join(marks)}" if marks else ""
    return f"The transcript has {' and '.join(parts)}{ending}."


def _named(text: str) -> Iterator[tuple[int, str, str]]:
    """Each emotion word: its place, its form, and whose it is: `self`, `denied` (of the self) or `other`."""
    for sentence in _SENTENCE.finditer(text):
        start = sentence.start()
        clauses: list[tuple[int, str]] = []
        last = 0
        for cut in _CLAUSE.finditer(sentence.group()):
            clauses.append((start + last, sentence.group()[last : cut.start()]))
            last = cut.end()
        clauses.append((start + last, sentence.group()[last:]))
        asked = sentence.group().rstrip().endswith("?")
        before = ""
        for place, clause in clauses:
            yield from _named_english(place, clause, asked)
            yield from _named_chinese(place, clause, before, asked)
            before += clause


def _named_english(place: int, clause: str, asked: bool) -> Iterator[tuple[int, str, str]]:
    matches = list(_LATIN.finditer(clause))
    tokens = [match.group() for match in matches]
    asked = asked or bool(_ASKING.search(clause))
    index = 0
    while index < len(tokens):
        form, size = _form_at(tokens, index)
        if form and not _used_otherwise(tokens, index, index + size, form):
            verdict = _whose_english(tokens, index, index + size, vocabulary.forms()[form], form, asked)
            if verdict:
                yield place + matches[index].start(), form, verdict
        index += size


def _form_at(tokens: list[str], index: int) -> tuple[str | None, int]:
    """The longest form of the vocabulary that starts here, and how many words it takes."""
    for size in range(min(_longest_form(), len(tokens) - index), 0, -1):
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


def _whose_english(
    tokens: list[str], first: int, after: int, word: Word, form: str, asked: bool
) -> str | None:
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


def _named_chinese(place: int, clause: str, before: str, asked: bool) -> Iterator[tuple[int, str, str]]:
    if not _HAN.search(clause):
        return
    forms = vocabulary.forms()
    edges = _word_edges(clause)
    index = 0
    while index < len(clause):
        size = 1
        if _HAN.match(clause[index]):
            for length in range(min(_longest_form(), len(clause) - index), 1, -1):
                piece = clause[index : index + length]
                if piece in _CHINESE_PLAIN or (piece in forms and {index, index + length} <= edges):
                    size = length
                    break
        piece = clause[index : index + size]
        if size > 1 and piece in forms and piece not in _CHINESE_PLAIN:
            verdict = _whose_chinese(clause, index, index + size, before, forms[piece], asked)
            if verdict:
                yield place + index, piece, verdict
        index += size


def _word_edges(clause: str) -> set[int]:
    """Where a word of Chinese may begin or end: a form that cuts across them is another word's part."""
    edges = {0}
    for _, _, end in _segmenter().tokenize(clause, HMM=False):
        edges.add(end)
    return edges


@cache
def _segmenter() -> Any:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # it writes how long its dictionary took to standard error
    jieba.initialize()
    return jieba


def _whose_chinese(clause: str, first: int, after: int, before: str, word: Word, asked: bool) -> str | None:
    left, right = clause[:first], clause[after:]
    form = clause[first:after]
    if re.match(r"的\s*[\u4e00-\u9fff]", right):
        return None  # it describes a thing: 高兴的事
    if form in _CHINESE_OTHER_USES or _POLITE_CHINESE.search(clause):
        return None
    if "被" in left or right.startswith("吧"):
        return "other"  # 我被人讨厌, and what is asked of somebody
    subject = "self" if _CHINESE_CAUSED.search(left) else _chinese_subject(left)
    strong = bool(_CHINESE_DEGREE.search(left) or _CHINESE_CAUSED.search(left))
    said_of_self = subject == "self" and (strong or re.search(r"(我|我们|感到|觉得|心里|心情)$", left))
    if (form in word.everyday or word.kind == STANCE) and not said_of_self:
        return None
    if subject is None and _CHINESE_ALSO.match(left.strip()):
        subject = _chinese_subject(before)
    if subject == "other" or (subject is None and (asked or right.strip().endswith(("吗", "么")))):
        return "other"
    if _CHINESE_CONDITION.search(before + clause) or _CHINESE_UNREAL.search(left):
        return "other"
    if _CHINESE_REPORTED.search(left):
        return "other"  # 你以为我怕: what another takes them to feel
    if _CHINESE_EARLIER.search(before + clause):
        return "other"
    if _CHINESE_NEGATION.search(left):
        # 别生气, "do not be angry", is said to somebody else.
        return "denied" if subject == "self" or not re.search(r"(别|不要)\S{0,2}$", left) else "other"
    if subject is None and not strong and left.strip():
        return "other"  # of whom or what it is said cannot be told
    return "self"


def _chinese_subject(left: str) -> str | None:
    """Whom the last pronoun before the word names: `self`, `other`, or None without one."""
    last: tuple[int, str] | None = None
    for match in _CHINESE_SELF.finditer(left):
        last = (match.end(), "self")
    for match in _CHINESE_OTHERS.finditer(left):
        if last is None or match.end() > last[0]:
            last = (match.end(), "other")
    return last[1] if last else None


@cache
def _longest_form() -> int:
    """The most words of an English form and the most characters of a Chinese one, whichever is larger."""
    return max(len(form) if _HAN.match(form) else len(form.split()) for form in vocabulary.forms())


@cache
def _phrases() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """act, word and pattern of each line of `phrases.tsv`; raises InputError where it is broken."""
    text = (resources.files(__package__) / "phrases.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    phrases = []
    for row in rows[1:]:
        if len(row) != 3 or vocabulary.base_form(row[1]) != row[1]:
            raise InputError(f"phrases.tsv: expected act, a word of the vocabulary and a pattern, got {row}")
        phrases.append((row[0], row[1], re.compile(row[2])))
    return tuple(phrases)
