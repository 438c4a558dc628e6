"""Labels of the turns of dialogues by the reconstruction of Broad Mamba, trained on gold.

As with `judge.smoothing`, no clip gets a label that none of its own voters gave: the other turns decide
which of them count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from emo.errors import InputError
from emo.evaluation.overlap import Labels
from emo.vocabulary.meaning import meaning

_STEPS = 80
_RATE = 1e-2
_DECAY = 1e-2
_AS_GOOD = 0.5  # of the likeliest class: what is at least so likely is a label too


@dataclass(frozen=True)
class Turn:
    """One clip of a dialogue. given: expert -> class -> the share of its samples that gave it; words: class
    -> the word that most voters gave for it; again: whether the turn before is of the same speaker."""

    video_id: str
    given: Mapping[str, Mapping[str, float]]
    words: Mapping[str, str]
    again: bool


def dialogues_of(votes: pa.Table, turns: pa.Table) -> dict[str, list[Turn]]:
    """The turns of each dialogue in order; votes: a votes table; turns: as of `emo.dialogues.in_dialogues`.

    A turn without votes keeps its place.
    """
    given: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    samples: Counter[tuple[str, str]] = Counter()
    words: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    rows = votes.select(["video_id", "expert", "labels"]).to_pylist()
    for row in rows:
        samples[row["video_id"], row["expert"]] += 1
        for label in dict.fromkeys(row["labels"] or ()):
            words[row["video_id"]][meaning(label)][label] += 1
        given[row["video_id"]][row["expert"]].update({meaning(label) for label in row["labels"] or ()})
    found: dict[str, list[Turn]] = defaultdict(list)
    speakers: dict[str, str | None] = {}
    order = turns.select(["dialogue_id", "turn", "speaker", "video_id"]).to_pylist()
    for row in sorted(order, key=lambda row: (row["dialogue_id"], row["turn"])):
        clip, dialogue = row["video_id"], row["dialogue_id"]
        shares = {
            expert: {what: number / samples[clip, expert] for what, number in counts.items()}
            for expert, counts in given.get(clip, {}).items()
        }
        spoken = {
            what: min(all_of, key=lambda word: (-all_of[word], word)) for what, all_of in words[clip].items()
        }
        again = row["speaker"] is not None and speakers.get(dialogue) == row["speaker"]
        speakers[dialogue] = row["speaker"]
        found[dialogue].append(Turn(clip, shares, spoken, again))
    return found


def trained_labels(
    dialogues: Mapping[str, Sequence[Turn]], gold: Labels, left_out: Sequence[set[str]], seed: int = 0
) -> list[dict[str, list[str]]]:
    """For each set of dialogues the labels of its clips by a module that was trained on all others' gold.

    The classes are emo's clusters in gold. An empty set is trained on everything, and gives the labels of all
    clips. Raises InputError where gold has fewer than two classes.
    """
    import torch

    from emo.evaluation import broad_mamba

    names = list(dialogues)
    wanted = {clip: {meaning(label) for label in labels} for clip, labels in gold.items() if labels}
    clips = {turn.video_id for turns in dialogues.values() for turn in turns}
    classes = sorted(set().union(*(wanted[clip] for clip in wanted.keys() & clips)))
    if len(classes) < 2:
        raise InputError(f"the gold of these dialogues has {len(classes)} classes; expected at least 2")
    experts = sorted({one for turns in dialogues.values() for turn in turns for one in turn.given})
    shape = (len(names), max(map(len, dialogues.values())))
    given = torch.zeros(len(experts), *shape, len(classes) + 2)
    there, spoke = torch.zeros(shape, dtype=torch.bool), torch.zeros(len(experts), *shape, dtype=torch.bool)
    target, own = torch.zeros(*shape, len(classes)), torch.zeros(*shape, len(classes), dtype=torch.bool)
    number = {name: place for place, name in enumerate(classes)}
    for row, name in enumerate(names):
        for column, turn in enumerate(dialogues[name]):
            there[row, column] = True
            given[:, row, column, -1] = float(turn.again)
            for place, expert in enumerate(experts):
                shares = {
                    number[what]: share
                    for what, share in turn.given.get(expert, {}).items()
                    if what in number
                }
                spoke[place, row, column] = bool(shares)
                given[place, row, column, -2] = float(bool(shares))
                for at, share in shares.items():
                    given[place, row, column, at] = share
                    own[row, column, at] = True
            truth = wanted.get(turn.video_id, set())
            for one in truth:
                target[row, column, number[one]] = 1 / len(truth)
    results = []
    for fold in left_out:
        inside = torch.tensor([name in fold for name in names])
        torch.manual_seed(seed)
        model = broad_mamba.BroadMamba(len(experts), len(classes) + 2, len(classes))
        optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
        taught = ~inside & (target.sum((1, 2)) > 0)
        if not taught.any():
            raise InputError("there is no dialogue with gold beside those that are left out")
        for _ in range(_STEPS):
            scores, alone, _ = model(given[:, taught], there[taught], spoke[:, taught])
            cost = broad_mamba.loss(scores, alone, target[taught], spoke[:, taught])
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
        with torch.no_grad():
            shares = model(given, there, spoke)[0].softmax(-1).masked_fill(~own, 0).numpy()
        results.append(
            {
                turn.video_id: _labels(shares[row, column], classes, turn)
                for row, name in enumerate(names)
                if name in fold or not fold
                for column, turn in enumerate(dialogues[name])
            }
        )
    return results


def _labels(shares: np.ndarray, classes: Sequence[str], turn: Turn) -> list[str]:
    """The words of the likely classes among those that its own voters gave, best first."""
    best = float(shares.max())
    order = np.argsort(-shares, kind="stable")
    return [
        turn.words[classes[place]]
        for place in order
        if shares[place] > 0 and shares[place] >= _AS_GOOD * best
    ]
