import numpy as np
import pytest
import torch
from scipy.signal import find_peaks as scipy_find_peaks

from mgc.errors import MgcError
from mgc.features.roughness import Roughness, dissonance, find_peaks, sum_over_pairs


def sines(*frequencies, sample_rate=22050, length=1024, amplitude=1.0):
    time = torch.arange(length, dtype=torch.float64) / sample_rate
    return sum(
        amplitude * torch.sin(2 * torch.pi * f * time + i) for i, f in enumerate(frequencies)
    )


def magnitude(audio):
    window = torch.hamming_window(len(audio), periodic=False, dtype=torch.float64)
    return torch.fft.rfft(audio * window).abs().float()[None, None]


def roughness(*frequencies, length=8192, **settings):
    audio = sines(*frequencies, length=length)
    return Roughness(22050, length, **settings)(magnitude(audio)).item()


@pytest.mark.parametrize("low", [100.0, 440.0, 4000.0])
def test_dissonance_is_largest_about_a_quarter_of_the_critical_bandwidth_apart(low):
    intervals = torch.linspace(0, 5000, 500001, dtype=torch.float64)
    curve = dissonance(torch.tensor(low, dtype=torch.float64), low + intervals)
    # d/dx (exp(-3.51 x) - exp(-5.75 x)) = 0
    x = np.log(5.75 / 3.51) / (5.75 - 3.51)
    largest = intervals[curve.argmax()].item()
    assert largest == pytest.approx(x / 0.24 * (0.0207 * low + 18.96), abs=0.02)
    # Zwicker and Terhardt's critical bandwidth
    bandwidth = 25 + 75 * (1 + 1.4 * (low / 1000) ** 2) ** 0.69
    assert 0.1 < largest / bandwidth < 0.3
    assert curve.max().item() == pytest.approx(np.exp(-3.51 * x) - np.exp(-5.75 * x))
    assert curve[0] == 0
    assert curve[-1] < 1e-6


@pytest.mark.parametrize("low", [440.0, 1000.0, 2000.0])
def test_two_sines_are_roughest_at_the_interval_of_the_curve(low):
    largest = 0.918 * (0.0207 * low + 18.96)
    intervals = np.arange(0.5, 4, 0.25)
    values = [roughness(low, low + largest * i) for i in intervals]
    assert intervals[np.argmax(values)] == pytest.approx(1, abs=0.25)
    assert values[4:] == sorted(values[4:], reverse=True)


def test_two_sines_have_the_dissonance_of_the_pair():
    # Sines at the centres of bins: one of amplitude 1 reaches half the sum of the window.
    low, high = (bin_ * 22050 / 8192 for bin_ in (372, 390))
    height = torch.hamming_window(8192, periodic=False).sum().item() / 2
    expected = height**2 * dissonance(torch.tensor(low), torch.tensor(high)).item()
    assert roughness(low, high) == pytest.approx(expected, rel=1e-3)


def test_one_sine_and_silence_are_not_rough():
    assert roughness(1000) == 0
    assert Roughness(22050, 1024)(torch.zeros(2, 3, 513)).tolist() == [[0] * 3] * 2


def test_mean_is_the_sum_over_the_number_of_pairs():
    chord = (440, 466, 1000, 1060)
    assert roughness(*chord, reduction="sum") == pytest.approx(6 * roughness(*chord))


def test_peaks_equal_scipy():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.standard_normal((300, 257)), 1)
    spectra = np.abs(np.concatenate([rng.standard_normal((300, 257)), smooth])).astype(np.float32)
    for prominence in (0.01, 0.5, 2.0):
        found = find_peaks(torch.from_numpy(spectra.T.copy()), torch.full((600,), prominence))
        for row, spectrum in zip(found.T.numpy(), spectra, strict=True):
            expected = scipy_find_peaks(spectrum, prominence=prominence)[0]
            np.testing.assert_array_equal(np.flatnonzero(row), expected)


@pytest.mark.parametrize("bins", [3, 4, 5, 8, 9])
def test_spectra_of_few_bins(bins):
    spectra = np.random.default_rng(bins).random((50, bins), np.float32)
    found = find_peaks(torch.from_numpy(spectra.T.copy()), torch.full((50,), 0.1))
    for row, spectrum in zip(found.T.numpy(), spectra, strict=True):
        expected = scipy_find_peaks(spectrum, prominence=0.1)[0]
        np.testing.assert_array_equal(np.flatnonzero(row), expected)


@pytest.mark.parametrize("partials", [1, 2, 3, 5, 16, 24])
def test_all_pairs_are_added_once(partials):
    rng = np.random.default_rng(0)
    amplitudes = torch.from_numpy(rng.random((partials, 5)))
    frequencies = torch.from_numpy(np.sort(rng.uniform(50, 2000, (partials, 5)), 0))
    expected = torch.zeros(5, dtype=torch.float64)
    for i in range(partials):
        for j in range(i + 1, partials):
            pair = dissonance(frequencies[i], frequencies[j])
            expected += amplitudes[i] * amplitudes[j] * pair
    torch.testing.assert_close(sum_over_pairs(amplitudes, frequencies), expected)


def test_frames_of_any_number_of_peaks():
    spectra = np.zeros((40, 513))
    rng = np.random.default_rng(0)
    for count, spectrum in enumerate(spectra):
        at = np.sort(rng.permutation(np.arange(2, 510, 3))[:count])
        spectrum[at] = rng.uniform(0.5, 1, count)
        spectrum[at + 1] = spectrum[at] * rng.uniform(0, 0.9, count)
    rng.shuffle(spectra)

    expected = []
    for spectrum in spectra:
        peaks = scipy_find_peaks(spectrum, prominence=0.01 * spectra.max())[0]
        before, peak, after = spectrum[peaks - 1], spectrum[peaks], spectrum[peaks + 1]
        shift = 0.5 * (after - before) / (2 * peak - before - after)
        height, frequency = peak + 0.25 * (after - before) * shift, (peaks + shift) * 22050 / 1024
        low, high = np.triu_indices(len(peaks), 1)
        curve = dissonance(torch.from_numpy(frequency[low]), torch.from_numpy(frequency[high]))
        expected.append((height[low] * height[high] * curve.numpy()).sum() / max(len(low), 1))

    values = Roughness(22050, 1024)(torch.from_numpy(spectra)[None])
    np.testing.assert_allclose(values[0], expected, rtol=1e-6)


def test_chunks_do_not_change_the_result(monkeypatch):
    spectra = torch.rand(2, 9, 129)
    module = Roughness(22050, 256)
    whole = module(spectra)
    monkeypatch.setattr("mgc.features.roughness.CPU_FRAMES", 4)
    monkeypatch.setattr("mgc.features.roughness.CPU_PAIRS", 1 << 10)
    torch.testing.assert_close(module(spectra), whole)


@pytest.mark.parametrize("settings", [{"contrast": 0}, {"reduction": "max"}])
def test_invalid_settings_raise(settings):
    with pytest.raises(MgcError, match=next(iter(settings))):
        Roughness(22050, 1024, **settings)
