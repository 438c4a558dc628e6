"""How much a generated text has in common with a reference: BLEU-4 and ROUGE-L.

BLEU: Papineni et al., ACL 2002, over the whole set, four orders, without smoothing. ROUGE-L: Lin, 2004, F1 of
the longest common subsequence, averaged over texts. A word is a run of letters and digits in lower case; a
Chinese character is a word of its own.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_WORDS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+(?:'\w+)?")
ORDERS = 4


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return _WORDS.findall(text.lower())


def bleu_parts(prediction: str, reference: str) -> np.ndarray:
    """What one text adds to BLEU: float64 (2 + 2 * ORDERS): words of both sides, then hits and n-grams."""
    said, wanted = words_of(prediction), words_of(reference)
    parts: list[float] = [len(said), len(wanted)]
    for order in range(1, ORDERS + 1):
        have, want = _grams(said, order), _grams(wanted, order)
        parts += [(have & want).total(), have.total()]
    return np.array(parts, dtype=float)


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + order]) for at in range(len(words) - order + 1))


def bleu(parts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """BLEU-4, 0 to 1, of texts: parts (2 + 2 * ORDERS, n), weights (..., n); gives (...)."""
    sums = weights @ parts.T
    said, wanted = sums[..., 0], sums[..., 1]
    hits, grams = sums[..., 2::2], sums[..., 3::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(hits / grams).mean(axis=-1))
        brevity = np.minimum(1.0, np.exp(1 - wanted / said))
        found = precision * brevity
    return np.where((hits > 0).all(axis=-1), found, 0.0)


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L F1, 0 to 1."""
    said, wanted = words_of(prediction), words_of(reference)
    common = _longest_common(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, compared in enumerate(other, start=1):
            above = row[place]
            row[place] = before + 1 if word == compared else max(above, row[place - 1])
            before = above
    return row[-1]
