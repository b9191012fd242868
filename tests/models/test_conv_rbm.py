"""The machine against plain NumPy, against all its states, and against planted patterns."""

import itertools

import numpy as np
import pytest
import torch

from mgc.models import conv_rbm
from mgc.models.conv_rbm import ConvRBM

KINDS = ("binary", "gaussian")


def make_rbm(kind, visible=3, hidden=4, width=3):
    torch.manual_seed(0)
    rbm = ConvRBM(visible, hidden, width, kind)
    for parameter in rbm.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return rbm


def make_sequences(kind, *lengths, visible=3):
    """Sequences with nonzero padding, so that reading it changes the results."""
    generator = torch.Generator().manual_seed(1)
    shape = len(lengths), visible, max(lengths)
    draw = torch.rand if kind == "binary" else torch.randn
    return draw(shape, generator=generator), torch.tensor(lengths)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hidden_means(v, weight, bias):
    """Probabilities of the hidden units of one sequence, (positions, hidden)."""
    width = weight.shape[2]
    windows = [v[:, t : t + width] for t in range(v.shape[1] - width + 1)]
    return np.array([sigmoid((weight * w).sum((1, 2)) + bias) for w in windows])


def update_by_numpy(rbm, sequences, lengths, states, sparsity=None, cost=0.0):
    """The textbook update, a sequence at a time without padding: data minus reconstruction."""
    weight, c, b = (p.detach().numpy() for p in (rbm.weight, rbm.hidden_bias, rbm.visible_bias))
    width = rbm.width
    update = [np.zeros_like(weight), np.zeros_like(c), np.zeros_like(b)]
    data = [v[:, :n].numpy() for v, n in zip(sequences, lengths, strict=True) if n >= width]
    positive = [hidden_means(v, weight, c) for v in data]
    if sparsity:
        together = np.concatenate(positive)
        rank = np.argsort(np.argsort(together, 0), 0) / (len(together) - 1)
        biased = (1 - cost) * together + cost * rank ** (1 / sparsity - 1)
        positive = np.split(biased, np.cumsum([len(h) for h in positive])[:-1])
    for v, h, state in zip(data, positive, states, strict=True):
        fantasy = np.tile(b[:, None], (1, v.shape[1]))
        for t, row in enumerate(state):
            fantasy[:, t : t + width] += np.einsum("k,kvw->vw", row, weight)
        if rbm.kind == "binary":
            fantasy = sigmoid(fantasy)
        negative = hidden_means(fantasy, weight, c)
        for sign, vis, hid in ((1, v, h), (-1, fantasy, negative)):
            for t, row in enumerate(hid):
                update[0] += sign * row[:, None, None] * vis[None, :, t : t + width]
            update[1] += sign * hid.sum(0)
            # The visible bias of a Gaussian unit moves to the data's mean the same way.
            update[2] += sign * vis.sum(1)
    return update


def sampled_states(rbm, sequences, lengths, seed):
    """The hidden states that the RBM samples, from the same random numbers."""
    with torch.no_grad():
        hidden = rbm(sequences)
        torch.manual_seed(seed)
        states = torch.rand(hidden.shape) < hidden
    counts = [n - rbm.width + 1 for n in lengths.tolist()]
    return [s[:, :n].T.numpy().astype(float) for s, n in zip(states, counts, strict=True) if n > 0]


@pytest.mark.parametrize("sparsity", [None, 0.1])
@pytest.mark.parametrize("lengths", [(9, 9, 9), (9, 5, 3, 2)], ids=["whole", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_update_equals_numpy(kind, lengths, sparsity):
    rbm, (v, length) = make_rbm(kind), make_sequences(kind, *lengths)
    cost = 0.3 if sparsity else 0.0
    expected = update_by_numpy(rbm, v, length, sampled_states(rbm, v, length, 7), sparsity, cost)
    torch.manual_seed(7)
    step = rbm.contrastive_divergence(v, length, sparsity, cost)
    step.loss.backward()
    assert step.positions == sum(max(0, n - 2) for n in lengths)
    for parameter, update in zip(
        (rbm.weight, rbm.hidden_bias, rbm.visible_bias), expected, strict=True
    ):
        np.testing.assert_allclose(-parameter.grad.numpy(), update, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_ignored(kind):
    rbm, (v, length) = make_rbm(kind), make_sequences(kind, 8, 6, 2)
    other = v.clone()
    for item, n in enumerate(length):
        other[item, :, n:] = 100
    torch.testing.assert_close(rbm.free_energy(v, length), rbm.free_energy(other, length))
    assert rbm.free_energy(v, length)[2] == 0
    alone = torch.cat([rbm.free_energy(v[i : i + 1, :, :n], n[None]) for i, n in enumerate(length)])
    torch.testing.assert_close(rbm.free_energy(v, length), alone)
    measures = []
    for sequences in (v, other):
        torch.manual_seed(3)
        rbm.zero_grad()
        step = rbm.contrastive_divergence(sequences, length, 0.1, 0.5)
        step.loss.backward()
        measures += [(step.error, step.activation, rbm.weight.grad.clone())]
    torch.testing.assert_close(*measures)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_without_any_window_changes_nothing(kind):
    rbm, (v, length) = make_rbm(kind), make_sequences(kind, 2, 1)
    step = rbm.contrastive_divergence(v, length, 0.1, 0.5)
    step.loss.backward()
    assert step.positions == 0
    assert step.error == step.activation == 0
    assert all(not parameter.grad.any() for parameter in rbm.parameters())


def all_states(units):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)))


def test_free_energy_is_the_sum_over_all_hidden_states():
    rbm = make_rbm("binary", visible=2, hidden=2, width=2)
    (v, length) = make_sequences("binary", 3, visible=2)
    energies = []
    for state in all_states(4).reshape(-1, 2, 2):  # two maps at two positions
        inputs = rbm.inputs(v)[0]
        energies.append(-(state * inputs).sum() - (rbm.visible_bias[:, None] * v[0]).sum())
    expected = -torch.logsumexp(-torch.stack(energies), 0)
    torch.testing.assert_close(rbm.free_energy(v, length)[0], expected)


def log_likelihood(rbm, data, beats):
    """Mean log probability of the data, by the sum over all visible states."""
    visible = rbm.weight.shape[1]
    states = all_states(visible * beats).reshape(-1, visible, beats)
    with torch.no_grad():
        partition = torch.logsumexp(-rbm.free_energy(states, torch.full((len(states),), beats)), 0)
        energy = rbm.free_energy(data, torch.full((len(data),), beats))
    return float(-energy.mean() - partition)


def test_log_likelihood_rises():
    """On sequences sampled from another RBM, whose likelihood is the upper limit."""
    teacher = make_rbm("binary", visible=2, hidden=3, width=3)
    torch.nn.init.normal_(teacher.weight, std=1.5)
    states = all_states(10).reshape(-1, 2, 5)
    with torch.no_grad():
        probability = (-teacher.free_energy(states, torch.full((1024,), 5))).softmax(0)
    data = states[torch.multinomial(probability, 400, replacement=True)]
    rbm = ConvRBM(visible=2, hidden=6, width=3, kind="binary")
    optimizer = torch.optim.SGD(rbm.parameters(), 0.05)
    history = [log_likelihood(rbm, data, 5)]
    for step in range(1, 201):
        optimizer.zero_grad()
        divergence = rbm.contrastive_divergence(data, torch.full((400,), 5))
        (divergence.loss / divergence.positions).backward()
        optimizer.step()
        if step % 50 == 0:
            history.append(log_likelihood(rbm, data, 5))
    ceiling = log_likelihood(teacher, data, 5)
    # At first all 1024 sequences are about equally probable.
    assert history[0] == pytest.approx(-10 * np.log(2), abs=0.1)
    assert all(later > earlier for earlier, later in itertools.pairwise(history))
    assert history[-1] > history[0] + 0.6 * (ceiling - history[0])


def planted(kind, patterns, tracks=64, beats=64):
    """Noise with randomly placed patterns that do not overlap."""
    rng = np.random.default_rng(0)
    visible, width = patterns.shape[1:]
    v = (
        rng.random((tracks, visible, beats)) < 0.05
        if kind == "binary"
        else rng.normal(0, 0.5, (tracks, visible, beats))
    )
    v = v.astype(np.float32)
    for track in v:
        t = int(rng.integers(0, 8))
        while t + width <= beats:
            pattern = patterns[rng.integers(len(patterns))]
            track[:, t : t + width] = (
                np.maximum(track[:, t : t + width], pattern)
                if kind == "binary"
                else track[:, t : t + width] + pattern
            )
            t += width + int(rng.integers(0, 8))
    return torch.from_numpy(v)


@pytest.mark.parametrize(("kind", "lr"), [("binary", 0.5), ("gaussian", 0.02)])
def test_filters_find_planted_patterns(kind, lr):
    rng = np.random.default_rng(2)
    patterns = (rng.random((3, 12, 8)) < 0.2).astype(np.float32)
    if kind == "gaussian":
        patterns = rng.normal(0, 1, (3, 12, 8)).astype(np.float32)
    v = planted(kind, patterns)
    torch.manual_seed(0)
    rbm = ConvRBM(12, 10, 8, kind, activation=0.05)
    length = torch.full((16,), v.shape[2])
    optimizer = torch.optim.SGD(rbm.parameters(), lr, momentum=0.5)
    start = match(rbm.weight.detach().numpy(), patterns)
    for step in range(200):
        optimizer.zero_grad()
        divergence = rbm.contrastive_divergence(v[step % 4 :: 4], length, 0.05, 0.5)
        (divergence.loss / divergence.positions).backward()
        optimizer.step()
    found = match(rbm.weight.detach().numpy(), patterns)
    assert (start < 0.5).all()
    assert (found > 0.75).all()


def match(filters, patterns):
    """Best correlation of each pattern with a filter, at any shift of up to three beats."""
    best = []
    for pattern in patterns:
        scores = []
        for shift, f in itertools.product(range(-3, 4), filters):
            a, b = pattern[:, max(0, shift) :], f[:, : 8 - abs(shift)]
            if shift < 0:
                a, b = pattern[:, :shift], f[:, -shift:]
            scores.append(np.corrcoef(a.ravel(), b[:, : a.shape[1]].ravel())[0, 1])
        best.append(max(scores))
    return np.array(best)


def test_hidden_units_reach_their_sparsity():
    """Ranking a subset of the positions is enough."""
    v = torch.rand(64, 12, 64, generator=torch.Generator().manual_seed(0))
    assert conv_rbm.MAX_RANKED < 64 * 57
    torch.manual_seed(0)
    rbm = ConvRBM(12, 10, 8, "binary")
    optimizer = torch.optim.SGD(rbm.parameters(), 0.5)
    for _ in range(200):
        optimizer.zero_grad()
        divergence = rbm.contrastive_divergence(v, torch.full((64,), 64), 0.1, 0.5)
        (divergence.loss / divergence.positions).backward()
        optimizer.step()
    assert float(divergence.activation) == pytest.approx(0.1, abs=0.03)
