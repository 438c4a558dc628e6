"""The reconstruction of MODA's duplex attention: its formulas, and what it leaves alone."""

import math

import pytest
import torch

from emo.engines.duplex_attention import DuplexAttention, Marks, Places

HEADS, WIDTH, TOKENS = 2, 3, 7


def by_loops(given, fuser, media, words):
    """K(n) + [K(n), K(n) ‖G(m)‖] W, number by number: one row, one head, one token after the other."""
    rows, tokens, _ = given.shape
    changed, fuser = given.clone(), fuser.detach()
    for row in range(rows):
        for head in range(HEADS):
            key = [given[row, t, head * WIDTH : (head + 1) * WIDTH].tolist() for t in range(tokens)]
            for side, (own, partner) in enumerate(((media, words), (words, media))):
                gram = [[0.0] * WIDTH for _ in range(WIDTH)]
                for i in range(WIDTH):
                    for j in range(WIDTH):
                        for t in range(tokens):
                            if partner[row, t]:
                                gram[i][j] += key[t][i] * key[t][j]
                    length = math.sqrt(sum(value * value for value in gram[i]))
                    gram[i] = [value / length if length else 0.0 for value in gram[i]]
                for t in range(tokens):
                    if not own[row, t]:
                        continue
                    aligned = [sum(key[t][i] * gram[i][j] for i in range(WIDTH)) for j in range(WIDTH)]
                    for j in range(WIDTH):
                        both = key[t] + aligned
                        more = sum(both[i] * float(fuser[side, i, j]) for i in range(2 * WIDTH))
                        changed[row, t, head * WIDTH + j] += more
    return changed


@pytest.fixture
def module():
    made = DuplexAttention(WIDTH)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(torch.randn(value.shape))
    return made


@pytest.fixture
def given():
    torch.manual_seed(1)
    keys = torch.randn(2, TOKENS, HEADS * WIDTH)
    media = torch.zeros(2, TOKENS, dtype=torch.bool)
    words = media.clone()
    media[0, 1:4], words[0, 0], words[0, 4:6] = True, True, True
    media[1, 2], words[1, 3:7] = True, True
    return keys, media, words


@pytest.mark.parametrize("which", ["keys", "values"])
def test_it_is_its_formula_number_by_number(module, given, which):
    keys, media, words = given
    expected = by_loops(keys, getattr(module, which), media, words)
    assert torch.allclose(module(keys, which, media, words), expected, atol=1e-5)


def test_it_changes_nothing_before_it_is_trained_and_can_be_trained_then(given):
    keys, media, words = given
    made = DuplexAttention(WIDTH)
    assert torch.equal(made(keys, "keys", media, words), keys)
    made(keys, "keys", media, words).square().sum().backward()
    assert (made.keys.grad.abs().amax(dim=(1, 2)) > 0).all(), "both sides have a gradient"
    assert made.values.grad is None


def test_media_hear_of_words_and_words_of_media_and_nothing_else_moves(module, given):
    keys, media, words = given
    plain = module(keys, "keys", media, words)
    for own, partner in ((media, words), (words, media)):
        other = torch.where(partner[..., None], keys * torch.tensor([2.0, 1, 1] * HEADS), keys)
        moved = (module(other, "keys", media, words) - plain).abs().amax(-1) > 1e-6
        assert moved[own].all()
    outside = ~(media | words)
    assert torch.equal(plain[outside], keys[outside])
    other = keys.clone()
    other[outside] += 1
    assert torch.equal(module(other, "keys", media, words)[~outside], plain[~outside])
    other = keys.clone()
    other[1] += 1
    assert torch.equal(module(other, "keys", media, words)[0], plain[0])


def test_without_one_of_both_a_modality_has_no_partner(module, given):
    keys, media, words = given
    alone = module(keys, "keys", torch.zeros_like(media), words)
    fused = by_loops(keys, module.keys, torch.zeros_like(media), words)
    assert torch.allclose(alone, fused, atol=1e-5)
    assert alone.isfinite().all()


@pytest.mark.parametrize(
    ("ids", "media", "words"),
    [
        # system, media, question, end of turn, answer, filling
        ([1, 9, 2, 7, 7, 3, 9, 4, 9, 0], "...##.....", "###..#...."),
        # media in a later turn belong to no prompt; nor does what follows the first
        ([7, 1, 9, 2, 9, 7, 3, 9, 0, 0], "#.........", ".#........"),
        # filled up on the left
        ([0, 0, 1, 7, 3, 9, 4, 9, 5, 6], "...#......", "..#.#....."),
        # no media, and a turn that does not end
        ([1, 2, 3, 9, 4, 9, 0, 0, 0, 0], "..........", ".........."),
        ([1, 7, 3, 4, 5, 6, 1, 2, 3, 4], "..........", ".........."),
    ],
)
def test_a_prompt_ends_where_the_turn_with_its_media_does(ids, media, words):
    places = Places(Marks(media=(7, 8), end=9, filling=0))
    places.read(torch.tensor([ids]))
    assert [
        "".join(".#"[one] for one in mask[0].int().tolist()) for mask in (places.media, places.words)
    ] == [
        media,
        words,
    ]
    places.read(torch.tensor([[7]]))
    assert (places.media, places.words) == (None, None), "a token that is written"
