"""The rule-based extractor: which emotions a description ascribes to the person, in English or Chinese.

Every emotion word of the vocabulary is a candidate. The words around it decide what it weighs: nothing where
it is denied, wished, feigned or somebody else's; much where it is felt, shown or concluded; little where it
qualifies a scene. The labels are the headwords of the clusters that weigh enough beside the heaviest one.
There is no default: a text that ascribes no emotion gives an empty list.

Labels are English headwords for Chinese text too, so that both languages vote for the same labels and the
metrics of the field, which know English only, can be taken; a word that the vocabulary does not know and that
the text lists as an emotion ("emotional state is a, b and c") stays as it was written.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from emo import vocabulary
from emo.extraction.cues import CHINESE, CHINESE_PLAIN_WORDS, ENGLISH, Cues
from emo.vocabulary import STANCE, Word

RULES_VERSION = "1"

P = dict(
    feel=1.0,
    show=0.8,
    manner=0.6,
    none=0.6,
    scene=0.1,
    stance=0.5,
    concl=1.5,
    tail=1.5,
    hedge=0.8,
    tau=0.3,
    minw=0.15,
    cap=6,
    tailn=2,
    rep=1.0,
    ev=0.5,
    inner=0.34,
)

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
_ENGLISH_TOKEN = re.compile(r"[a-z]+(?:['-][a-z]+)*|[.!?;:,()/&\n]")
_SENTENCE_END = frozenset(".!?;。！？；\n")
_QUOTED = re.compile(
    r"\"([^\"\n]{0,600})\"|“([^“”]{0,600})”|「([^「」]{0,600})」|『([^『』]{0,600})』|«([^«»]{0,600})»"
    r"|(?<!\w)['‘]([^\n]{1,300}?)['’](?!\w)"
)
_SPEECH_BEFORE = re.compile(
    r"(?:says?|said|reads?|subtitles?|line|words?|asks?|states?|[:：]|说|道|字幕|内容|台词|文字)[\s,，:：]*$"
)
_REACH = 10


@cache
def _phrases() -> dict[str, list[tuple[str, ...]]]:
    """First word -> the English forms of several words that start with it, longest first."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for form in vocabulary.forms():
        if " " in form:
            parts = tuple(form.split())
            found[parts[0]].append(parts)
    for parts_of in found.values():
        parts_of.sort(key=len, reverse=True)
    return dict(found)


@cache
def _chinese_words() -> tuple[frozenset[str], dict[str, tuple[int, ...]]]:
    """All words that Chinese text is cut into, and for each first character their lengths, longest first."""
    known = {form for form in vocabulary.forms() if _CJK.match(form)} | set(CHINESE_PLAIN_WORDS)
    for value in vars(CHINESE).values():
        for item in value:
            known.update(item if isinstance(item, tuple) else (item,))
    known = {w for w in known if len(w) > 1}
    lengths: dict[str, set[int]] = defaultdict(set)
    for word in known:
        lengths[word[0]].add(len(word))
    return frozenset(known), {first: tuple(sorted(sizes, reverse=True)) for first, sizes in lengths.items()}


def _cut_english(text: str) -> list[str]:
    tokens: list[str] = _ENGLISH_TOKEN.findall(text.lower())
    forms = vocabulary.forms()
    phrases = _phrases()
    cut: list[str] = []
    i = 0
    n = len(tokens)
    while i < n:
        token = tokens[i]
        if token in phrases:
            for parts in phrases[token]:
                if tuple(tokens[i : i + len(parts)]) == parts:
                    cut.append(" ".join(parts))
                    i += len(parts)
                    break
            else:
                cut.append(token)
                i += 1
            continue
        if "-" in token and token not in forms:
            cut.extend(token.split("-"))
        else:
            cut.append(token)
        i += 1
    return cut


def _cut_chinese(text: str) -> list[str]:
    known, lengths = _chinese_words()
    tokens = []
    i = 0
    while i < len(text):
        for size in lengths.get(text[i], ()):
            if (word := text[i : i + size]) in known:
                tokens.append(word)
                i += size
                break
        else:
            tokens.append(text[i])
            i += 1
    return tokens


def _without_quotes(text: str) -> str:
    forms = vocabulary.forms()

    def keep_named_emotion(match: re.Match[str]) -> str:
        inner = next(group for group in match.groups() if group is not None)
        if vocabulary.normalise(inner) in forms and not _SPEECH_BEFORE.search(text[: match.start()][-24:]):
            return inner
        return " "

    return _QUOTED.sub(keep_named_emotion, text)


def extract(text: str, transcript: str | None = None, debug=None) -> list[str]:
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    text = _without_quotes(text)
    chinese = len(_CJK.findall(text)) > len(_LATIN_WORD.findall(text))
    cues = CHINESE if chinese else ENGLISH
    tokens = _cut_chinese(text) if chinese else _cut_english(text)
    forms = vocabulary.forms()
    hits = [i for i, t in enumerate(tokens) if t in forms]
    if not hits:
        return []
    # sentences
    sent = []
    s = 0
    nonempty = False
    for t in tokens:
        sent.append(s)
        if t in _SENTENCE_END:
            if nonempty:
                s += 1
            nonempty = False
        else:
            nonempty = True
    nsent = s + (1 if nonempty else 0)
    # conclusions
    first_cue: dict[int, int] = {}
    for i, t in enumerate(tokens):
        if t in cues.concluding and sent[i] not in first_cue:
            first_cue[sent[i]] = i
    # runs
    runs: list[list[int]] = []
    for i in hits:
        if (
            runs
            and sent[runs[-1][-1]] == sent[i]
            and i - runs[-1][-1] <= 6
            and all(t in cues.joins for t in tokens[runs[-1][-1] + 1 : i])
        ):
            runs[-1].append(i)
        else:
            runs.append([i])
    scores: dict[str, float] = defaultdict(float)
    first: dict[str, int] = {}
    for run in runs:
        kind, hedged, why = _left(tokens, run[0], sent, cues, forms)
        if kind == "denied":
            if debug is not None:
                debug.append((why, [tokens[i] for i in run]))
            continue
        right = _right(tokens, run[-1], sent, cues)
        for k, i in enumerate(run):
            word = forms[tokens[i]]
            everyday = tokens[i] in word.everyday
            if right == "scene" and kind != "feel":
                w = P["scene"]
            else:
                w = max(
                    P[kind], P["feel"] if right == "state" else 0, P["manner"] if right == "manner" else 0
                )
            if everyday:
                solid = any(tokens[j] not in forms[tokens[j]].everyday for j in run)
                if right == "scene" or not (kind == "feel" or right == "state" or (solid and kind == "show")):
                    continue
            if word.kind == STANCE:
                w *= P["stance"]
            if hedged or any(t in cues.hedges for t in tokens[run[0] : run[-1]]):
                w *= P["hedge"]
            si = sent[i]
            if si in first_cue:
                w *= P["concl"] if i > first_cue[si] else P["ev"]
            if si >= nsent - P["tailn"]:
                w *= P["tail"]
            scores[word.headword] += w
            first.setdefault(word.headword, i)
            if debug is not None:
                debug.append((word.headword, round(w, 2), kind, right))
    clusters: dict[str, float] = defaultdict(float)
    for h, w in scores.items():
        clusters[vocabulary.words()[h].cluster] += w
    if not clusters:
        return []
    top = max(clusters.values())
    out = []
    for h in sorted(scores, key=lambda h: (-clusters[vocabulary.words()[h].cluster], -scores[h], first[h])):
        c = clusters[vocabulary.words()[h].cluster]
        best = max(
            scores[x] for x in scores if vocabulary.words()[x].cluster == vocabulary.words()[h].cluster
        )
        if c >= P["tau"] * top and c >= P["minw"] and scores[h] >= P["inner"] * best:
            out.append(h)
    return out[: P["cap"]]


def _left(tokens, start, sent, cues, forms):
    kind = "none"
    hedged = False
    past_person = False
    s = sent[start]
    i = start - 1
    for _ in range(_REACH):
        if i < 0 or sent[i] != s:
            break
        t = tokens[i]
        before = tokens[i - 1] if i else ""
        nxt = tokens[i + 1]
        if t in cues.unreal:
            if (t, before) == ("if", "as"):
                break
            return "denied", False, "unreal"
        if not past_person:
            if (t in cues.negators or t.endswith("n't")) and (t, nxt) not in cues.excused:
                return "denied", False, "neg"
            if (t, before) in cues.negator_pairs:
                return "denied", False, "neg"
            if t in cues.others or (t in cues.others_after and before in cues.others_after[t]):
                j = i - 1
                while j >= 0 and (
                    tokens[j] in ("the", "an", "a")
                    or (t in cues.others_after and tokens[j] in cues.others_after[t])
                ):
                    j -= 1
                if not t.endswith("'s") and j >= 0 and tokens[j] in cues.toward:
                    break
                return "denied", False, "other"
            if kind == "none":
                if t in cues.feeling:
                    kind = "feel"
                elif t in cues.showing:
                    kind = "show"
            if t in cues.hedges:
                hedged = True
        if t in cues.persons:
            past_person = True
        elif not (
            t in cues.fillers or t in cues.feeling or t in cues.showing or t in forms or t.endswith("ly")
        ):
            break
        i -= 1
    return kind, hedged, ""


def _right(tokens, end, sent, cues):
    i = end + 1
    while i < len(tokens) and tokens[i] in cues.skipped:
        i += 1
    if i < len(tokens) and sent[i] == sent[end]:
        t = tokens[i]
        if t in cues.state:
            return "state"
        if t in cues.manner:
            return "manner"
        if t in cues.scene:
            return "scene"
    return None
