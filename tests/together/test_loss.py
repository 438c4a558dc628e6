"""The contrastive losses of MPUC against their formulas, written out clip by clip."""

import math

import pytest
import torch

from emo.together.loss import published, symmetric

TAU = 0.07


def drawn(*shape, seed=0):
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1
    )


def plain_symmetric(z):
    modalities, clips, _ = z.shape
    total, pairs = 0.0, 0
    for m in range(modalities):
        for n in range(m + 1, modalities):
            pairs += 1
            for one, other in ((m, n), (n, m)):
                for i in range(clips):
                    alike = [float(z[one, i] @ z[other, j]) / TAU for j in range(clips)]
                    total -= (alike[i] - math.log(sum(map(math.exp, alike)))) / (2 * clips)
    return total / pairs


def plain_published(z):
    modalities, _, clips, _ = z.shape
    total = 0.0
    for m in range(modalities):
        for n in range(modalities):
            if m == n:
                continue
            for v in range(2):
                for i in range(clips):
                    below = sum(
                        math.exp(float(z[m, v, i] @ z[n, w, j]) / TAU)
                        for w in range(2)
                        for j in range(clips)
                        if (w, j) != (v, i)
                    )
                    positive = float(z[m, v, i] @ z[n, 1 - v, i]) / TAU
                    total -= 0.5 * (positive - math.log(below)) / (2 * clips)
    return total / (modalities * (modalities - 1))


@pytest.mark.parametrize("modalities", [2, 3])
def test_both_are_their_formulas(modalities):
    assert float(symmetric(drawn(modalities, 5, 4))) == pytest.approx(
        plain_symmetric(drawn(modalities, 5, 4))
    )
    views = drawn(modalities, 2, 5, 4)
    assert float(published(views)) == pytest.approx(plain_published(views))


def test_where_all_are_equal_nothing_can_be_told():
    equal = drawn(1, 1, 4).expand(3, 6, 4)
    assert float(symmetric(equal)) == pytest.approx(math.log(6))
    assert float(published(equal[:, None].expand(3, 2, 6, 4))) == pytest.approx(math.log(2 * 6 - 1) / 2)


def test_the_order_of_modalities_does_not_matter_and_each_learns():
    for loss, z in ((symmetric, drawn(3, 5, 4)), (published, drawn(3, 2, 5, 4))):
        assert float(loss(z)) == pytest.approx(float(loss(z[[2, 0, 1]])))
        z.requires_grad_()
        loss(z).backward()
        assert all(bool(one.abs().max() > 0) for one in z.grad)


def test_clips_that_go_together_cost_less_than_shuffled_ones():
    one = drawn(2, 8, 6)
    both = torch.stack([one, one])
    shuffled = torch.stack([one, one.roll(3, dims=1)])
    assert float(published(both)) < float(published(shuffled))
    assert float(symmetric(both[:, 0])) < float(symmetric(shuffled[:, 0]))


def test_one_view_is_no_pair_of_views():
    with pytest.raises(ValueError, match="expected two views"):
        published(drawn(2, 1, 5, 4))
