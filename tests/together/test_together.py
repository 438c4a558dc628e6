"""Which clips' face, voice and words go together is learned without labels, and told where it is known."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

import classifier_checkpoints
import synthetic_clips
from emo import experts
from emo.cli import main
from emo.config import validate
from emo.errors import InputError
from emo.experts.protocol import Card, Description
from emo.jobs import together
from emo.jobs.describe import rows_of
from emo.review.queue import MISMATCH, Candidate, queue
from emo.run.committing import commit
from emo.run.session import session
from emo.store import committed
from emo.store.storage import Storage
from emo.store.tables import DESCRIPTIONS, TOGETHER
from emo.together.projectors import Vectors, score
from ingested import commit_clips

N = 240
SENSES = (("face", "seen", 24), ("voice", "heard", 20), ("words", "said", 16))


def made_up(related=True, wrong=0, noise=0.3, seed=0):
    """Three senses of a common mood; of the first `wrong` clips the words are those of other clips."""
    random = np.random.default_rng(seed)
    mood = random.normal(size=(N, 6))
    found = []
    for name, sense, size in SENSES:
        of = mood if related else random.normal(size=mood.shape)
        if name == "words" and wrong:
            of = np.concatenate([np.roll(of[:wrong], 1, axis=0), of[wrong:]])
        basis = random.normal(size=(6, size))
        views = np.stack([of @ basis + noise * random.normal(size=(N, size)) for _ in range(2)], axis=1)
        found.append(Vectors(name, sense, views.astype(np.float32), np.ones(N, dtype=bool)))
    return found


FOLD = np.arange(N) % 2


@pytest.mark.parametrize("loss", ["symmetric", "published"])
def test_clips_whose_words_are_those_of_others_score_lower(loss):
    found = score(made_up(wrong=24), FOLD, loss)
    assert found.tells
    assert found.clips == N
    wrong, right = found.score[:24], found.score[24:]
    # How often a wrong clip is below a right one.
    assert (wrong[:, None] < right[None]).mean() > 0.9


def test_senses_that_have_nothing_to_do_with_each_other_tell_nothing():
    assert not any(score(made_up(related=False, seed=seed), FOLD).tells for seed in range(2))


def test_a_clip_with_one_sense_has_no_score_and_changes_nothing_for_itself():
    vectors = made_up()
    vectors[0].there[:3] = False
    vectors[1].there[:2] = False
    found = score(vectors, FOLD)
    assert np.isnan(found.score).tolist() == [True, True] + [False] * (N - 2)
    assert found.clips == N - 2


def test_scores_repeat_and_what_a_clip_is_scored_by_was_not_learned_on_its_part():
    vectors = made_up()
    before = score(vectors, FOLD).score
    np.testing.assert_array_equal(before, score(vectors, FOLD).score)
    for one in vectors:
        one.views[FOLD == 1] = np.random.default_rng(3).normal(size=one.views[FOLD == 1].shape)
    # The other part teaches nonsense now, so these are scored by nonsense.
    after = score(vectors, FOLD).score
    assert before[FOLD == 0].mean() > 4 * abs(after[FOLD == 0].mean())


def test_too_few_senses_or_clips_are_said():
    one = made_up()[0]
    with pytest.raises(InputError, match=r"two different senses; there are those of face \(seen\)"):
        score([one], FOLD)
    few = [Vectors(v.expert, v.sense, v.views[:150], v.there[:150]) for v in made_up()]
    with pytest.raises(InputError, match="75 clips of one half"):
        score(few, FOLD[:150])


# Over an OUT.

MODALITIES = {"face": ("faces",), "voice": ("audio",), "words": ("transcript",)}


def out_of(tmp_path, vectors):
    """An OUT whose experts kept these vectors, each clip a recording of its own."""
    out = str(tmp_path / "out")
    storage, clips = Storage(out), [f"r{number:03d}/clip" for number in range(N)]
    commit_clips(storage, "0", clips)
    config = validate({"experts": [{"kind": "words", "name": name} for name in MODALITIES]}, "a test")
    for settings, one in zip(config.experts, vectors, strict=True):
        card = Card(settings.name, MODALITIES[settings.name], "a test")
        kept = [
            [Description("text", labels=(), vectors=tuple(map(tuple, view)) if there else None)]
            for view, there in zip(one.views.tolist(), one.there, strict=True)
        ]
        commit(storage, DESCRIPTIONS, "0", rows_of(clips, kept, settings, card, "0"))
    return out, config


def test_the_table_has_a_row_for_every_clip_and_orders_the_review(tmp_path):
    vectors = made_up(wrong=24)
    vectors[0].there[-1] = vectors[1].there[-1] = False
    out, config = out_of(tmp_path, vectors)
    with session(config, out, "together", None) as current:
        done = together.run(current, "symmetric")
    assert (done.clips, done.experts) == (N - 1, ["face", "voice", "words"])
    rows = committed.read_newest(Storage(out), TOGETHER.name, TOGETHER, TOGETHER.schema.names).to_pylist()
    assert len(rows) == N
    assert rows[-1]["score"] is None
    assert rows[-1]["experts"] == ["words"]
    candidates = [Candidate(row["video_id"], None, None, (), row["score"]) for row in rows]
    asked = [one.video_id for one in queue(MISMATCH, candidates, 24)]
    assert sum(name < "r024" for name in asked) > 15
    assert "r239/clip" not in [one.video_id for one in queue(MISMATCH, candidates, N)]


def test_the_command_says_what_the_control_found(tmp_path, capsys):
    out, config = out_of(tmp_path, made_up())
    with session(config, out, "label", None):
        pass
    assert main(["together", "--out", out, "--loss", "published", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clips"], told["experts"]) == (N, ["face", "voice", "words"])
    assert told["nearer"] > 0.9
    rows = committed.read_newest(Storage(out), TOGETHER.name, TOGETHER, ["loss", "nearer"]).to_pylist()
    assert {(row["loss"], row["nearer"]) for row in rows} == {("published", told["nearer"])}


def test_nothing_is_written_where_a_score_would_say_nothing(tmp_path):
    out, config = out_of(tmp_path, made_up(related=False))
    with session(config, out, "together", None) as current, pytest.raises(InputError, match="say nothing"):
        together.run(current, "symmetric")
    assert not committed.files(Storage(out), TOGETHER.name)


def test_the_views_are_the_means_of_both_halves():
    lists = pa.array(
        [[[1.0, 2.0]], [[0.0, 0.0], [4.0, 8.0]], [[3.0, 0.0], [6.0, 3.0], [0.0, 6.0]]],
        pa.list_(pa.list_(pa.float32())),
    )
    np.testing.assert_allclose(
        together._views(lists, "x"), [[[1, 2], [1, 2]], [[0, 0], [4, 8]], [[4.5, 1.5], [3, 4.5]]]
    )
    with pytest.raises(InputError, match="2 different lengths"):
        together._views(pa.array([[[1.0]], [[1.0, 2.0]]], pa.list_(pa.list_(pa.float32()))), "x")


@pytest.mark.parametrize("sees", ["frames", "audio", "transcript"])
def test_a_classifier_keeps_what_its_last_layer_reads(tmp_path, sees):
    folder = classifier_checkpoints.MAKERS[sees](tmp_path / "model")
    entry = {"name": "small", "kind": "classifier", "sees": sees, "model": str(folder)}
    clips = synthetic_clips.mixed(3)
    plain = experts.load(experts.settings_of(entry)).describe(clips)
    keeping = experts.load(experts.settings_of({**entry, "keep_vectors": True}))
    found = keeping.describe(clips)
    for (without,), (with_them,) in zip(plain, found, strict=True):
        assert without.vectors is None
        assert without.text == with_them.text
    inputs = keeping._ask(clips[0]).inputs
    [answer] = keeping._classifier.answers(inputs[:1])
    # The layer makes the very scores of them.
    scores = keeping._classifier._last(torch.tensor(answer.vector)).detach()
    shares = torch.sigmoid(scores) if keeping._classifier.several else torch.softmax(scores, -1)
    np.testing.assert_allclose(shares.numpy(), answer.probabilities, atol=1e-5)
    assert len(found[0][0].vectors) == len(inputs)
