import pytest
import torch
import torch.nn.functional as F

from mgc.models.residual_map_net import ResidualMapNet


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_network_of_the_paper():
    net = ResidualMapNet(10, [513])
    (branch,) = net.branches
    assert [tuple(conv.weight.shape) for conv in branch.children()] == [
        (256, 513, 4),
        (256, 256, 4),
        (256, 256, 4),
    ]
    assert [tuple(layer.weight.shape) for layer in (net.dense1, net.dense2, net.head)] == [
        (300, 512),
        (150, 300),
        (10, 150),
    ]
    assert net.dropout.p == 0.2
    assert net(torch.randn(2, 513, 128)).shape == (2, 10)


@pytest.mark.parametrize("height", [8, 513])
@pytest.mark.parametrize("frames", [1, 3, 128, 1291])
def test_layers_of_any_map(height, frames):
    layers = ResidualMapNet(10, [height], filters=16).features(torch.randn(2, height, frames))
    assert {name: tuple(x.shape) for name, x in layers.items()} == {
        "conv1": (2, 16, frames),
        "conv3": (2, 16, frames),
        "pooled": (2, 32),
        "dense1": (2, 300),
        "dense2": (2, 150),
    }


def test_shortcut_adds_the_first_convolution_to_the_third():
    net = ResidualMapNet(3, [8], filters=4).eval()
    x = torch.randn(2, 8, 20)
    conv1, conv2, conv3 = net.branches[0].children()
    # Valid convolutions over maps padded by hand.
    first = F.relu(conv1(F.pad(x, (1, 2))))
    third = F.relu(conv3(F.pad(F.relu(conv2(F.pad(first, (2, 1)))), (1, 2))))
    layers = net.features(x)
    torch.testing.assert_close(layers["conv1"], first)
    torch.testing.assert_close(layers["conv3"], third)
    pooled = torch.cat([(first + third).amax(2), (first + third).mean(2)], 1)
    torch.testing.assert_close(layers["pooled"], pooled)


def test_first_convolution_sees_four_frames_of_all_features():
    net = ResidualMapNet(3, [8], filters=4).eval()
    x = torch.randn(1, 8, 30)
    before = net.features(x)
    for row in range(8):
        changed = x.clone()
        changed[0, row, 15] += 1
        after = net.features(changed)
        moved = (after["conv1"] - before["conv1"]).abs().amax((0, 1)).nonzero().flatten()
        assert moved.min() >= 13
        assert moved.max() <= 16
        assert len(moved) > 0
        moved = (after["conv3"] - before["conv3"]).abs().amax((0, 1)).nonzero().flatten()
        assert moved.min() >= 10
        assert moved.max() <= 20


def test_each_map_has_a_branch():
    net = ResidualMapNet(10, [513, 8], filters=16).eval()
    stft, music = torch.randn(2, 513, 12), torch.randn(2, 8, 12)
    layers = net.features(stft, music)
    assert layers["conv1"].shape == (2, 32, 12)
    assert layers["pooled"].shape == (2, 64)
    torch.testing.assert_close(layers["conv1"][:, 16:], net.branches[1](music)[0])
    other = net.features(stft, music + 1)
    assert torch.equal(other["conv3"][:, :16], layers["conv3"][:, :16])
    assert not torch.equal(net(stft, music), net(stft, music + 1))
    assert not torch.equal(net(stft, music), net(stft + 1, music))


def test_missing_map_raises():
    with pytest.raises(ValueError, match="shorter"):
        ResidualMapNet(10, [513, 8], filters=4)(torch.randn(1, 513, 5))


def test_dropout_acts_in_training_only():
    net = ResidualMapNet(10, [8], filters=16, dropout=0.5)
    x = torch.randn(2, 8, 12)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("heights", [[8], [513, 8]])
def test_network_learns_to_classify_maps(heights):
    net = ResidualMapNet(2, heights, filters=8)
    target = torch.tensor([0, 1] * 8)
    # Classes differ in whether a feature rises and falls within a few frames.
    maps = [torch.randn(16, height, 24) for height in heights]
    maps[-1][:, 3, 6:9] += 4 * target[:, None]
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(*maps), target).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert (net.eval()(*maps).argmax(1) == target).all()
