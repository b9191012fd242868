import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.ndimage
import soundfile
import torch
from torch import Tensor

from mgc.errors import MgcError
from mgc.features import separation
from mgc.features.separation import HarmonicPercussive, median_filter, separate_audio

RATE = 22050


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    """Four seconds of a chord and drum hits."""
    rng = np.random.default_rng(0)
    time = np.arange(4 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6, 880))
    hits = np.exp(-60 * (time % 0.5)) * rng.standard_normal(len(time))
    return (0.1 * chord + 0.3 * hits).astype(np.float32)


@pytest.fixture(scope="module")
def magnitude(music: np.ndarray) -> np.ndarray:
    return np.abs(librosa.stft(music, n_fft=1024, hop_length=256))


def of_numpy(x: np.ndarray, length: int) -> np.ndarray:
    """Medians along the last dimension, window by window."""
    half = length // 2
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=-1)
    return np.median(windows, axis=-1).astype(x.dtype)


@pytest.mark.parametrize("length", [*range(1, 36, 2), 63, 101])
def test_medians_equal_scipy_exactly(length: int) -> None:
    rng = np.random.default_rng(length)
    for size in (13, 16, 31, 33, 50):
        x = rng.standard_normal((2, size, 5)).astype(np.float32)
        expected = scipy.ndimage.median_filter(x, (1, length, 1), mode="reflect")
        assert torch.equal(
            median_filter(torch.from_numpy(x), length, 1), torch.from_numpy(expected)
        )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_signals_shorter_than_the_filter_are_reflected_repeatedly(size: int) -> None:
    """Like SciPy, which reads out of bounds if the filter is eight times longer."""
    x = np.random.default_rng(size).standard_normal((4, size)).astype(np.float32)
    for length in (9, 15, 31, 33):
        found = median_filter(torch.from_numpy(x), length, -1)
        assert torch.equal(found, torch.from_numpy(of_numpy(x, length)))
        if length // 2 < 4 * size:
            expected = scipy.ndimage.median_filter(x, (1, length), mode="reflect")
            assert torch.equal(found, torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8])
def test_medians_with_ties_in_every_dtype(dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 5, (3, 90)).astype(dtype)
    for length in (5, 21, 31):
        found = median_filter(torch.from_numpy(x), length, 1)
        assert found.dtype == torch.from_numpy(x).dtype
        assert torch.equal(found, torch.from_numpy(of_numpy(x, length)))


def test_any_dimension_and_memory_layout() -> None:
    x = torch.randn(3, 40, 50, 2)
    for dim in range(-4, 4):
        expected = torch.from_numpy(of_numpy(x.movedim(dim, -1).numpy(), 9)).movedim(-1, dim)
        assert torch.equal(median_filter(x, 9, dim), expected)
        assert torch.equal(median_filter(x.mT.contiguous().mT, 9, dim), expected)
        assert torch.equal(
            median_filter(x[:, ::2][:, :, 1:], 9, 3), expected[:, ::2][:, :, 1:]
        ) or (dim not in (3, -1))
    assert median_filter(torch.zeros(2, 0, 3), 9, 1).shape == (2, 0, 3)
    assert torch.equal(
        median_filter(torch.tensor([3.0, 1.0, 2.0]), 3, 0), torch.tensor([3.0, 2, 2])
    )


def test_filtering_in_parts_gives_the_same_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 150, 170)
    whole = median_filter(x, 31, 1), median_filter(x, 31, 2)
    monkeypatch.setattr(separation, "CPU_VALUES", 12_000)
    assert torch.equal(median_filter(x, 31, 1), whole[0])
    assert torch.equal(median_filter(x, 31, 2), whole[1])


def test_infinities_are_sorted_and_nan_affects_only_its_windows() -> None:
    x = torch.randn(100)
    x[10:30], x[40:50] = math.inf, -math.inf
    assert torch.equal(median_filter(x, 17, 0), torch.from_numpy(of_numpy(x.numpy(), 17)))
    x[60] = math.nan
    found = median_filter(x, 17, 0).isnan().nonzero().flatten()
    assert found.tolist() == list(range(52, 69))


@pytest.mark.parametrize("length", [0, -1, 30])
def test_even_lengths_raise(length: int) -> None:
    with pytest.raises(MgcError, match=f"length={length}: must be .*, odd"):
        median_filter(torch.zeros(9), length, 0)
    with pytest.raises(MgcError, match=f"percussive_length={length}: "):
        HarmonicPercussive(percussive_length=length)


@pytest.mark.parametrize(
    ("settings", "librosas"),
    [
        ({}, {}),
        ({"power": 1.0}, {"power": 1.0}),
        ({"power": math.inf}, {"power": np.inf}),
        ({"harmonic_length": 17, "percussive_length": 9}, {"kernel_size": (17, 9)}),
        ({"margin_harmonic": 2.0, "margin_percussive": 5.0}, {"margin": (2.0, 5.0)}),
        (
            {"power": math.inf, "margin_harmonic": 1.5, "margin_percussive": 1.5},
            {"power": np.inf, "margin": 1.5},
        ),
    ],
)
def test_components_equal_librosa(magnitude: np.ndarray, settings: dict, librosas: dict) -> None:
    expected = librosa.decompose.hpss(magnitude, **librosas)
    found = HarmonicPercussive(**settings)(torch.from_numpy(magnitude))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-12)


def test_components_of_real_music_equal_librosa(real_data: Path) -> None:
    for genre in ("metal", "classical", "hiphop"):
        song = real_data / "gtzan_mini" / "genres" / genre / f"{genre}.00000.wav"
        files = [song] if song.exists() else sorted(song.parent.glob("*.wav"))[:1]
        audio, _ = soundfile.read(files[0], 10 * RATE, dtype="float32")
        real = np.abs(librosa.stft(audio))
        found = HarmonicPercussive()(torch.from_numpy(real)[None])
        for ours, theirs in zip(found, librosa.decompose.hpss(real), strict=True):
            assert np.corrcoef(ours[0].flatten(), theirs.flatten())[0, 1] > 0.999
            assert np.abs(ours[0].numpy() - theirs).sum() < 1e-5 * theirs.sum()


def test_soft_masks_add_up_to_1(magnitude: np.ndarray) -> None:
    x = torch.from_numpy(magnitude)
    harmonic, percussive = HarmonicPercussive().masks(x)
    torch.testing.assert_close(harmonic + percussive, torch.ones_like(x))
    assert not HarmonicPercussive().has_residual
    strict = HarmonicPercussive(margin_harmonic=2, margin_percussive=2)
    assert strict.has_residual
    assert (sum(strict.masks(x)) < 1).any()
    for mask in HarmonicPercussive(power=math.inf).masks(x):
        assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_a_tone_is_harmonic_and_a_click_percussive() -> None:
    time = torch.arange(2 * RATE) / RATE
    audio = torch.stack([torch.sin(2 * torch.pi * 1000 * time), torch.zeros(2 * RATE)])
    audio[1, RATE] = 1
    harmonic, percussive, residual = separate_audio(audio, HarmonicPercussive())
    energy = [(part.square().sum(1) / audio.square().sum(1)) for part in (harmonic, percussive)]
    assert energy[0][0] > 0.97
    assert energy[1][0] < 0.01
    assert energy[0][1] < 0.01
    assert energy[1][1] > 0.97
    assert residual.abs().max() < 1e-5


def test_waveforms_equal_those_of_librosas_masks(music: np.ndarray) -> None:
    module = HarmonicPercussive(margin_harmonic=2, margin_percussive=2)
    found = separate_audio(torch.from_numpy(music)[None], module, n_fft=1024, hop_length=200)
    spectrum = librosa.stft(music, n_fft=1024, hop_length=200)
    for ours, part in zip(found, librosa.decompose.hpss(spectrum, margin=2.0), strict=False):
        window = torch.hann_window(1024)
        theirs = torch.istft(torch.from_numpy(part), 1024, 200, window=window, length=len(music))
        torch.testing.assert_close(ours[0], theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(sum(found)[0], torch.from_numpy(music), atol=1e-6, rtol=0)
    assert found[2].square().mean() > 1e-5
    with pytest.raises(MgcError, match="hop_length=513 with n_fft=2048"):
        separate_audio(torch.zeros(1, 4096), module, 2048, 513)


@pytest.mark.parametrize("power", [2.0, math.inf])
@pytest.mark.parametrize("margin", [1.0, 3.0])
def test_masks_of_silence_equal_librosa(power: float, margin: float) -> None:
    quiet = np.zeros((40, 50), dtype=np.float32)
    quiet[:, :10] = 1e-42  # below the least normal number
    settings = {"margin_harmonic": margin, "margin_percussive": margin}
    masks = HarmonicPercussive(power=power, **settings).masks(torch.from_numpy(quiet))
    expected = librosa.decompose.hpss(quiet, power=power, margin=margin, mask=True)
    for ours, theirs in zip(masks, expected, strict=True):
        assert torch.equal(ours, torch.from_numpy(theirs.astype(np.float32)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(magnitude: np.ndarray, dtype: torch.dtype) -> None:
    x = torch.from_numpy(magnitude) / 100
    module = HarmonicPercussive()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, module(x), module(x.clone())))
        mixed = module(x)
    assert all(map(torch.equal, mixed, module(x)))
    found = module(x.to(dtype))
    for half, full in zip(found, module(x.to(dtype).float()), strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(half.float(), full, rtol=3 * torch.finfo(dtype).eps, atol=1e-4)


def test_masks_are_constants_for_gradients(magnitude: np.ndarray) -> None:
    x = torch.from_numpy(magnitude).requires_grad_()
    module = HarmonicPercussive()
    harmonic, percussive = module(x)
    (harmonic + 2 * percussive).sum().backward()
    masks: tuple[Tensor, Tensor] = module.masks(x)
    torch.testing.assert_close(x.grad, masks[0] + 2 * masks[1])
    assert not median_filter(x, 31, -1).requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"power": 0.0}, r"power=0\.0: must be a number greater than 0"),
        ({"margin_harmonic": 0.5}, "margin_harmonic=0.5: must be a number from 1"),
        ({"margin_percussive": math.nan}, "margin_percussive=nan: must be a number from 1"),
        ({"harmonic_length": 30}, "harmonic_length=30: .* odd"),
    ],
)
def test_invalid_settings_raise(settings: dict, message: str) -> None:
    with pytest.raises(MgcError, match=message):
        HarmonicPercussive(**settings)


@pytest.mark.parametrize("dim", [1, 2])
def test_exported_graph_computes_the_same_median(dim: int) -> None:
    class Median(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return median_filter(x, 7, dim)

    example = (torch.rand(2, 20, 30),)
    sizes = ({0: torch.export.Dim.DYNAMIC, dim: torch.export.Dim.DYNAMIC},)
    graph = torch.export.export(Median(), example, dynamic_shapes=sizes).module(check_guards=False)
    x = torch.rand(3, *((4, 30) if dim == 1 else (20, 4)))
    assert torch.equal(graph(x), median_filter(x, 7, dim))
