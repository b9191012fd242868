import pytest
import torch

from mgc.models.vgg import VGGNet, VGGTagger


def test_shapes_of_the_released_network() -> None:
    """96 × 1360 → 48 × 340 → 16 × 85 → 8 × 17 → 4 × 4 → 1 × 1 (Choi et al. 2017)."""
    outputs = VGGNet(50).eval().forward_blocks(torch.randn(1, 96, 1360))
    shapes = [tuple(x.shape[2:]) for x in outputs]
    assert shapes == [(48, 340), (16, 85), (8, 17), (4, 4), (1, 1)]
    assert all(x.shape[1] == 32 for x in outputs)


def test_number_of_weights() -> None:
    """Five blocks of 32 channels and 50 tags: the layers of the released weight file."""
    convolutions = (1 * 9 + 1) * 32 + 4 * (32 * 9 + 1) * 32
    norms, head = 5 * 2 * 32, 33 * 50
    assert sum(p.numel() for p in VGGNet(50).parameters()) == convolutions + norms + head


@pytest.mark.parametrize("seconds", [0.1, 1, 3, 29, 40])
def test_any_length(seconds: float) -> None:
    model = VGGTagger(num_classes=4, sample_rate=12_000, channels=4).eval()
    audio = torch.randn(2, int(seconds * 12_000))
    assert model(audio).shape == (2, 4)
    features = model.features(audio)
    assert list(features) == [f"block{i}" for i in range(1, 6)]
    assert all(x.shape == (2, 4) and x.isfinite().all() for x in features.values())


def test_features_are_the_averages_of_each_block() -> None:
    model = VGGTagger(num_classes=4, sample_rate=12_000, channels=4).eval()
    audio = torch.randn(2, 24_000)
    last = model.features(audio)["block5"]
    torch.testing.assert_close(model.net.head(last), model(audio))


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("norm", ["batch", "clip"])
def test_overfits_a_few_clips(task: str, norm: str) -> None:
    torch.manual_seed(0)
    model = VGGTagger(num_classes=3, task=task, sample_rate=8000, channels=8, norm=norm)
    audio = torch.randn(6, 8000) * torch.linspace(0.1, 1, 8000) ** torch.arange(6)[:, None]
    target = {
        "multiclass": torch.arange(6) % 3,
        "multilabel": (torch.arange(18).reshape(6, 3) % 2).float(),
        "regression": torch.randn(6, 3),
    }[task]
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.loss(model(audio), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def test_clip_norm_is_independent_of_the_batch() -> None:
    model = VGGTagger(num_classes=4, sample_rate=8000, channels=4, norm="clip")
    audio = torch.randn(3, 8000)
    torch.testing.assert_close(model(audio)[:1], model(audio[:1]))
