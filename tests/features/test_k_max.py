import numpy as np
import pytest
import torch

from mgc.features.k_max import k_max_pool


def loop(values, k, lengths):
    """The definition, value by value; the earlier values in a tie."""
    pooled = np.zeros((*values.shape[:2], k), values.dtype)
    for item, length in enumerate(lengths):
        for channel in range(values.shape[1]):
            series = values[item, channel, :length]
            ranked = sorted(range(length), key=lambda i: (-series[i], i))
            kept = sorted(ranked[:k])
            pooled[item, channel, : len(kept)] = series[kept]
    return pooled


@pytest.mark.parametrize("k", [1, 3, 5, 12])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_definition(k, ties):
    """Lengths below, at and above k, and k above the total length."""
    values = torch.randn(6, 4, 9, generator=torch.Generator().manual_seed(k))
    if ties:
        values = values.round()
    lengths = torch.tensor([9, 1, 2, 5, 3, 9])
    expected = torch.from_numpy(loop(values.numpy(), k, lengths.tolist()))
    assert torch.equal(k_max_pool(values, k, lengths), expected)
    whole = torch.from_numpy(loop(values.numpy(), k, [9] * 6))
    assert torch.equal(k_max_pool(values, k), whole)


def test_ties_at_the_threshold_keep_the_earlier():
    """The order shows which of the equal values was kept."""
    assert k_max_pool(torch.tensor([[[2.0, 5.0, 2.0]]]), 2).tolist() == [[[2, 5]]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """The lowest values of the dtype are kept, padding is not."""
    values = torch.randn(3, 4, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    values[0, :, :28] = torch.finfo(dtype).min
    lengths = torch.tensor([29, 30, 4])
    expected = loop(values.double().numpy(), 5, lengths.tolist())
    pooled = k_max_pool(values, 5, lengths)
    assert pooled.dtype == dtype
    assert torch.equal(pooled.double(), torch.from_numpy(expected))


def test_padding_is_never_kept():
    values = torch.tensor([[[-3.0, -1.0, -2.0, 9.0, 9.0]]])
    assert k_max_pool(values, 2, torch.tensor([3])).tolist() == [[[-1, -2]]]
    assert k_max_pool(values, 4, torch.tensor([3])).tolist() == [[[-3, -1, -2, 0]]]


@pytest.mark.parametrize("k", [2, 8])
def test_gradients(k):
    """Finite differences, smaller than the distances between values."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randperm(2 * 3 * 6, generator=generator).double().view(2, 3, 6)
    values.requires_grad_()
    lengths = torch.tensor([6, 4])
    assert torch.autograd.gradcheck(lambda x: k_max_pool(x, k, lengths).square(), (values,))
    k_max_pool(values, k, lengths).sum().backward()
    assert values.grad.sum(2).tolist() == [[min(k, 6)] * 3, [min(k, 4)] * 3]
    assert values.grad[1, :, 4:].eq(0).all()
