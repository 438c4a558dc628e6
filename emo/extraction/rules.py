"""The rule-based extractor: which emotions a description ascribes to the person, in English or Chinese.

Every emotion word of the vocabulary is a candidate. The words around it decide what it weighs: nothing where
it is denied, wished, feigned, somebody else's or the mood of a scene; more where it is felt, shown or
concluded. The labels are the headwords of the clusters that weigh enough beside the heaviest one, heaviest
first. There is no default: a text that ascribes no emotion gives an empty list.

Labels are English headwords for Chinese text too, so that voters in both languages agree where they mean the
same, and the metrics of the field, which know English only, can be taken. What a text lists as an emotion
("emotional state is a, b and c") and the vocabulary does not know stays as it was written.

Longer than most files here: a weight makes sense only beside the rule that uses it.
"""

import hashlib
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

from emo import vocabulary
from emo.answers import read_answer
from emo.extraction.cues import Cues, cues_of
from emo.extraction.parsing import list_in
from emo.extraction.scored import judged
from emo.vocabulary import STANCE, Entry
from emo.vocabulary.degrees import without_degree

# What one mention weighs, by what stands before it, and where in the text. Round numbers on purpose: on the
# real texts of the benchmark most of them can be halved or doubled without moving F by more than 0.02.
_FELT, _SHOWN, _NAMED = 1.0, 0.8, 0.5
_STANCE = 0.5  # "confident", "stern": manner as often as emotion
_HEDGED = 0.8
_EVIDENCE, _CONCLUSION = 0.5, 3.0  # before and after the "we can infer" of a sentence
_CLOSING, _CLOSING_SENTENCES = 1.5, 2  # descriptions end with what they make of it all
_LISTED = 1.0

_CLUSTER_SHARE = 0.3  # of the heaviest cluster
_WORD_SHARE = 1 / 3  # of the heaviest word of its cluster
_MOST_LABELS = 6

_REACH = 10  # words before a mention that can govern it
_REACH_OF_INFERENCE = 2
_REACH_OF_VANISHING = 2  # words after a mention: "her anger has disappeared"
_LIST_WORDS = 2  # an unknown item of an explicit list that is longer is part of a sentence
_JOIN_REACH = 5  # words between two members of one enumeration

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
_ENGLISH_TOKEN = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*|(?<!\d)\.|\.(?!\d)|[!?;:,()/&\n]")
_SENTENCE_END = frozenset(".!?;。\n")
_QUOTED = re.compile(
    r'"([^"\n]{0,600})"|“([^“”]{0,600})”|「([^「」]{0,600})」|『([^『』]{0,600})』|«([^«»]{0,600})»'
    r"|(?<!\w)['‘]([^\n]{1,300}?)['’](?!\w)"
)
_SPEECH_BEFORE = re.compile(
    r"(?:\b(?:says?|said|saying|reads?|subtitles?|lines?|words?|asks?|asked|states?|shouts?|whispers?)"
    r"|[:说道喊问]|字幕|内容|台词|文字)[\s,:]*$"
)
_BARE_LENGTH = 400  # characters; a longer text is no list of labels


def _version() -> str:
    """A digest of all that decides the labels, so that a changed rule or word never keeps the old name."""
    digest = hashlib.sha256()
    for package, name in (
        ("emo.extraction", "rules.py"),
        ("emo.extraction", "parsing.py"),
        ("emo.extraction", "scored.py"),
        ("emo.answers", "__init__.py"),
        ("emo.answers", "refusals.py"),
        ("emo.answers", "thinking.py"),
        ("emo.answers", "english.yaml"),
        ("emo.answers", "chinese.yaml"),
        ("emo.extraction", "cues.py"),
        ("emo.extraction", "english.yaml"),
        ("emo.extraction", "chinese.yaml"),
        ("emo.vocabulary", "forms.py"),
        ("emo.vocabulary", "degrees.py"),
        ("emo.vocabulary", "no_label.py"),
        ("emo.vocabulary", "no_label.yaml"),
        ("emo.vocabulary", "clusters.tsv"),
        ("emo.vocabulary", "words.tsv"),
    ):
        digest.update((resources.files(package) / name).read_bytes())
    return digest.hexdigest()[:8]


RULES_VERSION = _version()


def extract(text: str, transcript: str | None = None) -> list[str]:
    """The emotions that `text` ascribes to the person, best first, each once; empty where there is none.

    transcript: what the person says, where known; words of it that the text repeats are not ascribed.
    """
    return labels_of(read_answer(text).text or "", transcript)


@dataclass(frozen=True)
class Found:
    """labels: best first, each once; alternatives: groups of labels of which the text means one."""

    labels: list[str]
    alternatives: tuple[tuple[str, ...], ...] = ()


def labels_of(description: str, transcript: str | None = None) -> list[str]:
    """The same for a text that was read already (`read_answer`): without thoughts and courtesies."""
    return read_description(description, transcript).labels


def read_description(description: str, transcript: str | None = None) -> Found:
    """The same with the alternatives among the labels."""
    text = unicodedata.normalize("NFKC", description).replace("’", "'")
    by_one = judged(text)
    if by_one is None:
        text = text.lower()
        listed = _bare_list(text)
        return listed if listed.labels else _ascribed(text, transcript)
    affirmed = [label for label in map(_known, by_one.labels) if label]
    around = _ascribed(by_one.rest.lower(), transcript) if by_one.rest else Found([])
    labels = list(dict.fromkeys([*affirmed, *around.labels]))[:_MOST_LABELS]
    open_between = (tuple(one for one in group if one in labels) for group in around.alternatives)
    return Found(
        labels,
        tuple(group for group in open_between if len(group) > 1 and set(group).isdisjoint(affirmed)),
    )


def _known(label: str) -> str | None:
    """The headword of a label, or the label itself where the vocabulary knows it not; None for no label."""
    if vocabulary.entry_of_list(label) is not Entry.LABEL:
        return None
    return vocabulary.base_form(label) or label


def _ascribed(text: str, transcript: str | None) -> Found:
    """The emotions that running text ascribes; text: lower case."""
    text = _without_quotes(_without_transcript(text, transcript))
    chinese = len(_CJK.findall(text)) > len(_LATIN_WORD.findall(text))
    if chinese:
        passage = _Passage(_cut_chinese(text), cues_of("chinese"), glue="")
    else:
        passage = _Passage(_cut_english(text), cues_of("english"), glue=" ")
    weights, guesses = passage.weights()
    kept = _heaviest(weights)
    return Found(
        kept, tuple(group for guess in guesses if len(group := tuple(filter(guess.__contains__, kept))) > 1)
    )


def _bare_list(text: str) -> Found:
    """The labels of a text that is nothing but a list of words, at least half of them known; else empty."""
    if len(text) > _BARE_LENGTH:
        return Found([])
    listed = list_in(text)
    items = [vocabulary.normalise(item) for item in listed.labels]
    bases = [vocabulary.base_form(item) for item in items]
    if 2 * sum(base is not None for base in bases) < len(items):
        return Found([])
    vague = cues_of("english").vague | cues_of("chinese").vague
    labels = {
        entry: _as_listed(item, base)
        for entry, item, base in zip(listed.labels, items, bases, strict=True)
        if base or vague.isdisjoint(item.split())
    }
    together = (
        tuple(dict.fromkeys(labels[entry] for entry in group if entry in labels))
        for group in listed.alternatives
    )
    return Found(list(dict.fromkeys(labels.values())), tuple(group for group in together if len(group) > 1))


def _as_listed(item: str, base: str | None) -> str:
    """The headword of a listed word; as it was written where it says a degree, or is not known."""
    return base if base is not None and without_degree(item) == item else item


def _without_transcript(text: str, transcript: str | None) -> str:
    """The text without verbatim repeats of what is said; single words are too short to be a repeat."""
    if not transcript:
        return text
    said = unicodedata.normalize("NFKC", transcript).replace("’", "'").lower()
    for part in [said, *re.split(r"[.!?;。\n]", said)]:
        part = part.strip()
        if len(part.split()) >= 3 or len(_CJK.findall(part)) >= 4:
            text = text.replace(part, " ")
    return text


def _without_quotes(text: str) -> str:
    """The text without quoted speech; an emotion word in quotation marks ("a sense of 'joy'") stays."""

    def keep_named_emotion(match: re.Match[str]) -> str:
        inner = next(group for group in match.groups() if group is not None)
        named = vocabulary.base_form(inner) is not None
        return (
            inner
            if named and not _SPEECH_BEFORE.search(text, max(0, match.start() - 24), match.start())
            else " "
        )

    return _QUOTED.sub(keep_named_emotion, text)


@cache
def _phrases() -> dict[str, list[list[str]]]:
    """First word -> what starts with it and counts as one word, in English, longest first."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    for phrase in {*vocabulary.forms(), *cues_of("english").words()}:
        parts = phrase.split()
        if len(parts) > 1:
            found[parts[0]].append(parts)
    return {first: sorted(phrases, key=len, reverse=True) for first, phrases in found.items()}


def _cut_english(text: str) -> list[str]:
    """Words and punctuation; a form of several words is one token, an unknown compound is taken apart."""
    tokens: list[str] = _ENGLISH_TOKEN.findall(text)
    forms, phrases = vocabulary.forms(), _phrases()
    cut: list[str] = []
    done = 0
    for at in [at for at, token in enumerate(tokens) if token in phrases or "-" in token]:
        if at < done:
            continue
        token, size, words = tokens[at], 0, []
        for parts in phrases.get(token, ()):
            if tokens[at : at + len(parts)] == parts:
                size, words = len(parts), [" ".join(parts)]
                break
        if not size and "-" in token and token not in forms:
            size, words = 1, token.split("-")
        if size:
            cut += tokens[done:at] + words
            done = at + size
    return cut + tokens[done:]


@cache
def _chinese_words() -> tuple[frozenset[str], dict[str, tuple[int, ...]]]:
    """The words that Chinese text is cut into, and for each first character their lengths, longest first."""
    known = {form for form in vocabulary.forms() if _CJK.match(form)} | cues_of("chinese").words()
    lengths: dict[str, set[int]] = defaultdict(set)
    for word in known:
        if len(word) > 1:
            lengths[word[0]].add(len(word))
    return frozenset(known), {first: tuple(sorted(sizes, reverse=True)) for first, sizes in lengths.items()}


def _cut_chinese(text: str) -> list[str]:
    """The longest known word at each place, else one character."""
    known, lengths = _chinese_words()
    cut: list[str] = []
    at = 0
    while at < len(text):
        word = text[at]
        for size in lengths.get(word, ()):
            if text[at : at + size] in known:
                word = text[at : at + size]
                break
        cut.append(word)
        at += len(word)
    return cut


@dataclass(frozen=True)
class _Passage:
    """A text cut into tokens; `glue` joins them again."""

    tokens: list[str]
    cues: Cues
    glue: str

    @cached_property
    def ends(self) -> list[int]:
        """Where sentences end; of several marks in a row the first counts."""
        marks = [at for at, token in enumerate(self.tokens) if token in _SENTENCE_END]
        return [at for at, before in zip(marks, [-1, *marks], strict=False) if at > before + 1]

    def sentence(self, at: int) -> int:
        """The number of the sentence that a token stands in."""
        return bisect_left(self.ends, at)

    @cached_property
    def conclusions(self) -> dict[int, int]:
        """Sentence -> where its conclusion starts."""
        cues = [at for at, token in enumerate(self.tokens) if token in self.cues.concluding]
        return {self.sentence(at): at for at in reversed(cues)}

    @cached_property
    def last_sentence(self) -> int:
        """The last sentence that has words in it."""
        at = len(self.tokens) - 1
        while at > 0 and (self.tokens[at] in _SENTENCE_END or self.tokens[at].isspace()):
            at -= 1
        return self.sentence(at)

    def weights(self) -> tuple[dict[str, float], list[set[str]]]:
        """Label -> what all its mentions weigh together, in the order of their first mention; and the groups
        of labels between which the text leaves it open: it means none of a group elsewhere without doubt.
        """
        forms = vocabulary.forms()
        mentions = [
            at for at, token in enumerate(self.tokens) if token in forms and token not in self.cues.inferring
        ]
        weights: dict[str, float] = defaultdict(float)
        guesses: list[set[str]] = []
        meant: set[str] = set()
        for run in self._runs(mentions):
            ascribed = self._weigh(run)
            for at, weight in ascribed:
                weights[forms[self.tokens[at]].headword] += weight * self._place(at)
            for part in self._alternatives([at for at, _ in ascribed]):
                labels = {forms[self.tokens[at]].headword for at in part}
                if len(labels) > 1:
                    guesses.append(labels)
                else:
                    meant |= labels
        for at, token in enumerate(self.tokens):
            if token in self.cues.list_heads:
                for label in self._listed(at):
                    weights[label] += _LISTED * self._place(at)
        return weights, [guess for guess in _joined(guesses) if guess.isdisjoint(meant)]

    def _alternatives(self, run: Sequence[int]) -> list[list[int]]:
        """The mentions of an enumeration: those that stand with "or" between them together, others alone.

        Of "a, b or c" all three are alternatives; "and" parts them from what stands before it.
        """
        parts: list[list[int]] = []
        either: list[bool] = []
        for at in run:
            between = self.tokens[run[run.index(at) - 1] + 1 : at] if parts else []
            if not parts or not self.cues.both.isdisjoint(between):
                parts.append([at])
                either.append(False)
            else:
                parts[-1].append(at)
                either[-1] = either[-1] or not self.cues.either.isdisjoint(between)
        return [
            piece
            for part, is_open in zip(parts, either, strict=True)
            for piece in ([part] if is_open else [[at] for at in part])
        ]

    def _runs(self, mentions: Sequence[int]) -> list[list[int]]:
        """The mentions in enumerations: "sad, angry and a bit tired" is governed as one."""
        runs: list[list[int]] = []
        for at in mentions:
            last = runs[-1][-1] if runs else -1
            if (
                runs
                and at - last <= _JOIN_REACH + 1
                and self.sentence(last) == self.sentence(at)
                and (at - last > 1 or not self.glue)  # "anger frightens her" is no enumeration
                and self._joins(self.tokens[last + 1 : at])
            ):
                runs[-1].append(at)
            else:
                runs.append([at])
        return runs

    def _joins(self, between: list[str]) -> bool:
        """Whether words make one enumeration of the mentions before and after them."""
        cues = self.cues
        comma = set() if cues.either.isdisjoint(between) else {","}  # Chinese has it between sentences too
        return all(
            token in cues.joins or token in cues.commas or token in cues.either or token in comma
            for token in between
        )

    def _weigh(self, run: list[int]) -> list[tuple[int, float]]:
        """The mentions of one enumeration that are ascribed, each with its weight."""
        forms = vocabulary.forms()
        if self._is_asked(run[0]) or not self.cues.vanished.isdisjoint(
            self.tokens[run[-1] + 1 : run[-1] + 1 + _REACH_OF_VANISHING]
        ):
            return []
        weight, hedged = self._ascription(run[0])
        noun = self._noun_after(run[-1])
        if weight == 0 or (noun in self.cues.scene and weight < _FELT):
            return []
        if noun in self.cues.state:
            weight = _FELT
        words = [(at, forms[self.tokens[at]]) for at in run]
        # An everyday word is an emotion where it is felt, or where it is shown together with one that is.
        beside = any(self.tokens[at] not in word.everyday for at, word in words)
        everyday_counts = weight == _FELT or (weight == _SHOWN and beside)
        if hedged or not self.cues.hedges.isdisjoint(self.tokens[run[0] : run[-1]]):
            weight *= _HEDGED
        return [
            (at, weight * (_STANCE if word.kind == STANCE else 1.0))
            for at, word in words
            if everyday_counts or self.tokens[at] not in word.everyday
        ]

    def _is_asked(self, at: int) -> bool:
        """Whether the sentence is a question."""
        sentence = self.sentence(at)
        return sentence < len(self.ends) and self.tokens[self.ends[sentence]] == "?"

    def _ascription(self, start: int) -> tuple[float, bool]:
        """What the words before a mention make of it: its weight (0: not ascribed), and if it is a guess."""
        cues, forms = self.cues, vocabulary.forms()
        weight, hedged, past_person = _NAMED, False, False
        sentence = self.sentence(start)
        reach = max(start - _REACH, self.ends[sentence - 1] + 1 if sentence else 0)
        at = start - 1
        while at >= reach:
            token = self.tokens[at]
            before = self.tokens[at - 1] if at else ""
            if token in cues.unreal:
                return 0, hedged
            if not past_person:
                if token in cues.negators or token.endswith("n't"):
                    return 0, hedged
                if self._is_somebody_else(token, before):
                    return (weight if self._is_object(at) else 0), hedged
                if token in cues.feeling:
                    weight = _FELT
                elif token in cues.showing or token in cues.inferring:
                    weight = max(weight, _SHOWN)
                hedged = hedged or token in cues.hedges
            if token in cues.persons:
                past_person = True
            elif token in cues.inferring:
                reach = max(reach, at - _REACH_OF_INFERENCE)
            elif token in cues.relatives:
                while at and self.tokens[at - 1] == ",":
                    at -= 1
            elif token in forms:
                if at == start - 1 and self.glue:
                    break
            elif not (
                token in cues.fillers
                or token in cues.feeling
                or token in cues.showing
                or token.endswith("ly")
            ):
                break
            at -= 1
        return weight, hedged

    def _is_somebody_else(self, token: str, before: str) -> bool:
        return token in self.cues.others or before in self.cues.others_after.get(token, ())

    def _is_object(self, at: int) -> bool:
        """Whether the somebody else at `at` is whom the emotion is about ("speaks to the other person")."""
        if self.tokens[at].endswith("'s"):
            return False
        determiners = self.cues.articles | self.cues.others_after.get(self.tokens[at], frozenset())
        at -= 1
        while at >= 0 and self.tokens[at] in determiners:
            at -= 1
        return at >= 0 and self.tokens[at] in self.cues.toward

    def _noun_after(self, end: int) -> str:
        """The word that a mention qualifies, as far as it stands right after it; else an empty string."""
        at = end + 1
        while at < len(self.tokens) and self.tokens[at] in self.cues.skipped:
            at += 1
        return self.tokens[at] if at < len(self.tokens) else ""

    def _place(self, at: int) -> float:
        """The factor for where in the text a mention stands."""
        sentence = self.sentence(at)
        factor = 1.0
        if sentence in self.conclusions:
            factor *= _CONCLUSION if at > self.conclusions[sentence] else _EVIDENCE
        if sentence > self.last_sentence - _CLOSING_SENTENCES:
            factor *= _CLOSING
        return factor

    def _listed(self, head: int) -> list[str]:
        """The items of the list that `head` ("emotional state") opens; empty where it is no plain list."""
        tokens, cues = self.tokens, self.cues
        start = head + 1
        while start < len(tokens) and tokens[start] in cues.list_verbs:
            start += 1
        if start == head + 1 or self._ascription(head)[0] == 0:
            return []
        items: list[list[str]] = [[]]
        for token in tokens[start:]:
            if token in _SENTENCE_END:
                break
            if token in cues.commas or token == ",":
                items.append([])
            elif items[-1] or not (token in cues.fillers or token.endswith("ly")):
                items[-1].append(token)
        labels = []
        for item in filter(None, items):
            label = self.glue.join(item)
            base = vocabulary.base_form(label)
            size = len(item) if self.glue else len(label) / 2
            if base is None and (size > _LIST_WORDS or not cues.persons.isdisjoint(item)):
                return []
            if base is None and not (cues.vague | cues.negators | cues.fillers).isdisjoint(item):
                continue
            labels.append(base or vocabulary.normalise(label))
        return labels


def _joined(groups: list[set[str]]) -> list[set[str]]:
    """The groups, those that share a label made one."""
    joined: list[set[str]] = []
    for group in groups:
        for other in [other for other in joined if not other.isdisjoint(group)]:
            group = group | other
            joined.remove(other)
        joined.append(group)
    return joined


def _heaviest(weights: dict[str, float]) -> list[str]:
    """The labels that weigh enough, heaviest cluster first; a word without a cluster is its own."""
    cluster_of = {label: vocabulary.cluster_of(label) or label for label in weights}
    clusters: dict[str, float] = defaultdict(float)
    heaviest_word: dict[str, float] = defaultdict(float)
    for label, weight in weights.items():
        clusters[cluster_of[label]] += weight
        heaviest_word[cluster_of[label]] = max(heaviest_word[cluster_of[label]], weight)
    least = _CLUSTER_SHARE * max(clusters.values(), default=0.0)
    kept = [
        label
        for label, weight in weights.items()
        if clusters[cluster_of[label]] >= least and weight >= _WORD_SHARE * heaviest_word[cluster_of[label]]
    ]
    # sorted() is stable: of equals the one mentioned first comes first.
    return sorted(kept, key=lambda label: (-clusters[cluster_of[label]], -weights[label]))[:_MOST_LABELS]
