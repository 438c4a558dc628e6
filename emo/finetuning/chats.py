"""The chats of very many samples as turns to train on: by columns where emo wrote them, else one by one.

Captions of one prompt have one question, which is looked at once. Of a question and an answer, as
`messages.chat` writes them, the answer is left. Where JSON writes it in one way alone it goes from column to
column as it is, and no row becomes a Python value.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo.arrays import truths
from emo.captions import messages
from emo.captions.messages import Turn
from emo.errors import RowError
from emo.finetuning import prepared, samples
from emo.finetuning.questions import are_asked, asked_as_labelled
from emo.finetuning.settings import Finetune

# What json.dumps writes between question and answer, and behind the answer.
BETWEEN, _END = '"}, {"role": "assistant", "content": "', '"}]'
# Different beginnings that are looked at among some thousand texts; the rest of these texts goes one by one.
_BEGINNINGS = 64
# The answer of a chat that is looked at for the others that have its question.
KNOWN = "She smiles."
# An answer of ASCII in the only form that JSON has for it, without white space at its ends, and without the
# `<` with which the tag of a medium begins.
_INK, _ANY = r'[!#-;=-\[\]-~]|\\["\\b]', r'[ !#-;=-\[\]-~]|\\["\\nrtbf]'
_PLAIN = rf"^(?:{_INK})(?:(?:{_ANY})*(?:{_INK}))?$"


@dataclass(frozen=True)
class _Question:
    """A chat up to the text of its answer: as written, as trained, and where labelling asks."""

    written: str
    trained: str
    labelled: str


@dataclass(frozen=True)
class Trained:
    """turns: the column of that name, see `prepared.turns_text`; system: the system turn of each, null where
    there is none; refused: why, by place; what stands there in the columns means nothing.
    """

    turns: pa.Array
    system: pa.Array
    refused: dict[int, RowError]


class Chats:
    """Makes turns of chats; remembers the questions that it met."""

    def __init__(self, settings: Finetune) -> None:
        self._settings = settings
        self._known: dict[str, _Question | None] = {}

    def trained(self, names: pa.Array, texts: pa.Array, whole: np.ndarray) -> Trained:
        """What is trained of these chats: `messages` of the captions table, strings.

        names: of the samples, strings; whole: bool for each, whether its prompt asks for the whole person. Of
        those some are asked what `emo label` asks (see `questions`).
        """
        asked = np.zeros(len(names), bool)
        asked[whole] = are_asked(names.filter(pa.array(whole)).to_pylist(), self._settings)
        turns = self._by_columns(texts, asked)
        system = pa.repeat(pa.scalar(self._settings.system, pa.string()), len(names))
        refused: dict[int, RowError] = {}
        left = pc.is_null(turns)
        if not pc.any(left).as_py():
            return Trained(turns, system, refused)
        made: list[tuple[str, str | None]] = []
        for place in pc.indices_nonzero(left).to_pylist():
            try:
                made.append(self._one(names[place].as_py(), texts[place].as_py(), bool(asked[place])))
            except RowError as error:
                refused[place] = error
                made.append(("", None))
        turns = pc.replace_with_mask(turns, left, pa.array([one for one, _ in made], pa.string()))
        system = pc.replace_with_mask(system, left, pa.array([one for _, one in made], pa.string()))
        return Trained(turns, system, refused)

    def _by_columns(self, texts: pa.Array, asked: np.ndarray) -> pa.Array:
        """The turns of the chats that are a question and an answer as emo writes them; null for others."""
        found, places = [], []
        for question, of_question in self._by_question(texts):
            some = texts if len(of_question) == len(texts) else texts.take(pa.array(of_question))
            start = len(question.written.encode())
            told = pc.binary_slice(some.cast(pa.binary()), start, -len(_END)).cast(pa.string())
            begun = pc.if_else(pa.array(asked[of_question]), question.labelled, question.trained)
            found.append(pc.binary_join_element_wise(begun, answers(told), '", null]]', ""))
            places.append(of_question)
        if len(found) == 1 and len(found[0]) == len(texts):
            return found[0]
        # A place that nobody has made is one behind them all.
        at = np.full(len(texts), sum(map(len, places)))
        at[np.concatenate([np.zeros(0, int), *places])] = np.arange(sum(map(len, places)))
        return pa.concat_arrays([*found, pa.nulls(1, pa.string())]).take(pa.array(at))

    def _by_question(self, texts: pa.Array) -> Iterator[tuple[_Question, np.ndarray]]:
        """Questions, and the places of the chats that begin with each."""
        ends = truths(pc.ends_with(texts, _END))
        for written, places in by_beginning(texts, ends, self._written):
            question = self._known[written]
            assert question is not None
            yield question, places

    def _written(self, text: str) -> str | None:
        """A chat up to its answer, where it is one as emo writes them."""
        asked, between, _ = text.partition(BETWEEN)
        written = asked + between
        if written not in self._known:
            self._known[written] = self._looked_at(written)
        return written if self._known[written] is not None else None

    def _looked_at(self, written: str) -> _Question | None:
        try:
            chat = json.loads(f"{written}{KNOWN}{_END}")
        except (ValueError, RecursionError):
            return None
        match chat:
            case [
                {"role": "user", "content": str(question)} as first,
                {"role": "assistant", "content": answer} as second,
            ] if len(first) == len(second) == 2 and answer == KNOWN:
                turns = (Turn("user", question), Turn("assistant", KNOWN))
                return _Question(
                    written, self._begun(turns), self._begun(asked_as_labelled(turns, self._settings))
                )
        return None

    def _begun(self, turns: Sequence[Turn]) -> str:
        """The column `turns` up to the text of the answer."""
        sample = samples.from_turns("", turns, self._settings.system, has_media=True)
        return f'[{prepared.turn_text(sample.turns[0])}, ["assistant", "'

    def _one(self, name: str, text: str | None, asked: bool) -> tuple[str, str | None]:
        """The turns and the system turn of any chat; raises RowError."""
        try:
            chat = json.loads(text or "")
        except (ValueError, RecursionError):
            chat = text
        turns: Sequence[Turn] = messages.turns_of(chat)
        turns = asked_as_labelled(turns, self._settings) if asked else turns
        sample = samples.from_turns(name, turns, self._settings.system, has_media=True)
        return prepared.turns_text(sample.turns), sample.system


def by_beginning(
    texts: pa.Array, left: np.ndarray, beginning: Callable[[str], str | None]
) -> Iterator[tuple[str, np.ndarray]]:
    """Beginnings that texts share, and the places of the texts with each, rising.

    left: bool for each, whether it may have one; beginning: that of a text, None where it has none. Not more
    than 64 are looked for.
    """
    left = left.copy()
    for _ in range(_BEGINNINGS):
        found = None
        while found is None and left.any():
            first = int(left.argmax())
            found = beginning(texts[first].as_py())
            left[first] = found is not None
        if found is None:
            return
        here = left & truths(pc.starts_with(texts, found))
        left &= ~here
        yield found, np.flatnonzero(here)


def answers(told: pa.Array) -> pa.Array:
    """Answers (JSON without the quotes) as the column `turns` has them; null where one has to be looked at
    with its chat.
    """
    odd = pc.invert(pc.match_substring_regex(told, _PLAIN)).fill_null(False)
    if not pc.any(odd).as_py():
        return told
    made = [_answer(one) for one in told.filter(odd).to_pylist()]
    return pc.replace_with_mask(told, odd, pa.array(made, pa.string()))


def _answer(told: str) -> str | None:
    try:
        answer = json.loads(f'"{told}"').strip()
        messages.check_characters(answer)
    except ValueError:
        return None
    # One with a tag is refused.
    return prepared.quoted(answer)[1:-1] if answer and "<" not in answer else None
