import librosa
import numpy as np
import pytest
import soundfile
import torch

from mgc.errors import MgcError
from mgc.features.music_map import (
    MUSIC_FEATURES,
    MusicMap,
    frame_energy,
    zero_crossing_rate,
)

RATE = 22050


@pytest.fixture(scope="module")
def music():
    """Two clips of 3 s: a chord that changes, with noise bursts."""
    rng = np.random.default_rng(0)
    time = np.arange(3 * RATE) / RATE
    clips = []
    for chords in ([(220, 277, 330), (196, 247, 294)], [(262, 330, 392), (175, 220, 262)]):
        clip = 0.05 * np.exp(-8 * (time % 0.5)) * rng.standard_normal(len(time))
        for chord, here in zip(chords, (time < 1.5, time >= 1.5), strict=True):
            for pitch in chord:
                for harmonic in range(1, 8):
                    clip += here * 0.05 / harmonic * np.sin(2 * np.pi * pitch * harmonic * time)
        clips.append(clip)
    return torch.from_numpy(np.stack(clips)).float()


def sine(frequency, amplitude=1.0, samples=RATE):
    return amplitude * torch.sin(2 * torch.pi * frequency * torch.arange(samples) / RATE)[None]


def test_clip_of_three_seconds_gives_the_map_of_the_paper(music):
    module = MusicMap(raw_units=True)
    values = module(music)
    assert values.shape == (2, 8, 128)
    for row, name in enumerate(MUSIC_FEATURES):
        torch.testing.assert_close(values[:, row], module.features(music)[name])
        assert values[:, row].std() > 0


@pytest.mark.parametrize(("frame_length", "hop_length"), [(1024, 512), (1000, 250), (744, 100)])
def test_energy_and_zero_crossings_equal_librosa(music, frame_length, hop_length):
    frames = {"frame_length": frame_length, "hop_length": hop_length, "center": False}
    for clip, energy, rate in zip(
        music.numpy(),
        frame_energy(music, frame_length, hop_length),
        zero_crossing_rate(music, frame_length, hop_length, RATE),
        strict=True,
    ):
        rms = librosa.feature.rms(y=clip, **frames)[0]
        np.testing.assert_allclose(energy, rms**2, rtol=1e-4)
        # librosa counts both directions, per sample.
        expected = librosa.feature.zero_crossing_rate(clip, **frames)[0] * RATE / 2
        np.testing.assert_allclose(rate, expected, rtol=1e-6)


def test_zero_crossing_rate_equals_mirtoolbox():
    """``sum(x(2:end) .* x(1:end-1) < 0) / length * sampling / 2`` of each frame."""
    noise = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    frames = noise[0].unfold(0, 1024, 512)
    crossings = (frames[:, 1:] * frames[:, :-1] < 0).sum(1)
    expected = crossings / 1024 * RATE / 2
    torch.testing.assert_close(zero_crossing_rate(noise, 1024, 512, RATE)[0], expected)


def test_networks_get_the_share_of_the_largest_zero_crossing_rate(music):
    scaled, raw = MusicMap()(music), MusicMap(raw_units=True)(music)
    torch.testing.assert_close(scaled[:, 1], raw[:, 1] / (RATE / 2))
    assert scaled[:, 1].max() < 1 < raw[:, 1].max()
    rows = [0, *range(2, 8)]
    assert torch.equal(scaled[:, rows], raw[:, rows])


def test_map_of_the_middle_equals_the_map_of_a_shorter_clip(music):
    whole = MusicMap(map_seconds=1.0).features(music)
    middle = MusicMap().features(music[:, RATE : 2 * RATE])
    for name in MUSIC_FEATURES:
        if name != "key_clarity":
            torch.testing.assert_close(whole[name], middle[name], msg=name)
    # The key clarity is that of the complete clip.
    clarity = MusicMap().features(music)["key_clarity"]
    torch.testing.assert_close(whole["key_clarity"], clarity[:, : whole["key_clarity"].shape[1]])
    assert (whole["key_clarity"] != middle["key_clarity"]).all()


def test_key_clarity_of_long_clips_has_the_windows_around_the_frames(music):
    """Windows of 2 s start every second, and frames have the nearest one."""
    module = MusicMap(key_window_seconds=2.0, map_seconds=1.0)
    long = torch.cat([music, music.flip(1)], 1)
    windows = module.key_clarity.key_strengths(long).amax(-1)
    # The middle second is 2.5 s to 3.5 s; the windows around 2, 3, 4 s are numbers 1, 2 and 3.
    torch.testing.assert_close(module.features(long)["key_clarity"], windows[:, 2:3].expand(-1, 42))


def test_clips_shorter_than_the_map_are_complete(music):
    torch.testing.assert_close(MusicMap(map_seconds=10)(music), MusicMap()(music))


def test_statistics_of_the_first_version_are_converted(music):
    """Networks of older checkpoints get the zero-crossing rate in their unit."""
    old = MusicMap()
    with torch.no_grad():
        old.mean[1], old.scale[1] = 0.05, 0.02
    state = old.state_dict()
    assert state._metadata[""]["version"] == 2
    state._metadata[""]["version"] = 1
    module = MusicMap()
    module.load_state_dict(state)
    per_sample = module.features(music)["zero_crossing_rate"] * 2 / RATE
    torch.testing.assert_close(module(music)[:, 1], (per_sample - 0.05) / 0.02)
    # A current file is loaded as it is.
    again = MusicMap()
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.scale, module.scale)


def test_flatness_equals_librosa(music):
    module = MusicMap()
    magnitude = module.spectrum(music)[0].sqrt().numpy().T
    expected = librosa.feature.spectral_flatness(S=magnitude)[0]
    np.testing.assert_allclose(module.features(music)["flatness"][0], expected, rtol=1e-3)


def test_sine_has_its_known_energy_and_crossings():
    features = MusicMap().features(sine(1000, amplitude=0.5))
    torch.testing.assert_close(features["energy"], torch.full((1, 42), 0.125), rtol=0.02, atol=0)
    # A sine crosses zero once per period in each direction.
    assert features["zero_crossing_rate"].mean().item() == pytest.approx(1000, rel=0.01)


def test_brightness_is_the_share_of_energy_above_the_cutoff():
    # Amplitudes 2 and 1: a fifth of the energy is in the high tone.
    mix = sine(500, 0.4) + sine(4000, 0.2)
    assert MusicMap().features(mix)["brightness"].mean().item() == pytest.approx(0.2, abs=0.005)
    dark = MusicMap(cutoff_hz=5000).features(mix)["brightness"]
    assert dark.max() < 0.01
    bright = MusicMap(cutoff_hz=100).features(mix)["brightness"]
    assert bright.min() > 0.99


@pytest.mark.parametrize("cutoff_hz", [15000.0, 11025.0])
def test_cutoff_above_half_the_sample_rate_raises(cutoff_hz):
    with pytest.raises(MgcError, match="must be at least 0 and less than 11025 Hz"):
        MusicMap(cutoff_hz=cutoff_hz)
    MusicMap(sample_rate=44100, cutoff_hz=cutoff_hz)


def test_entropy_and_flatness_separate_noise_from_a_sine():
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    of_noise, of_sine = MusicMap().features(noise), MusicMap().features(sine(1000))
    # The magnitudes of noise are Rayleigh distributed: 1 - E[x log(x / E[x])] / (E[x] log 513), and
    # its power exponentially: exp(-Euler's constant).
    x = np.linspace(1e-6, 20, 2_000_001)
    density = x * np.exp(-(x**2) / 2)
    mean = np.sqrt(np.pi / 2)
    divergence = np.trapezoid(density * x / mean * np.log(x / mean), x)
    assert of_noise["entropy"].mean().item() == pytest.approx(
        1 - divergence / np.log(513), abs=0.002
    )
    assert of_noise["flatness"].mean().item() == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    assert of_sine["flatness"].max() < 1e-3
    # A Hamming window's main lobe is 3 bins and its side lobes are weak.
    assert of_sine["entropy"].max() < 0.5


def test_flat_spectrum_has_entropy_and_flatness_1():
    impulse = torch.zeros(1, 1024)
    impulse[0, 512] = 1
    features = MusicMap().features(impulse)
    assert features["entropy"].item() == pytest.approx(1, abs=1e-4)
    assert features["flatness"].item() == pytest.approx(1, abs=1e-4)


def test_minor_second_is_rougher_than_a_fifth():
    module = MusicMap()
    second = module.features(sine(2000, 0.3) + sine(2000 * 2 ** (1 / 12), 0.3))["roughness"]
    fifth = module.features(sine(2000, 0.3) + sine(3000, 0.3))["roughness"]
    assert second.mean() > 20 * fifth.mean()


def test_silence_is_zero_in_every_row():
    audio = torch.zeros(2, 10240)
    audio[1] = 3e-6
    assert MusicMap()(audio).abs().max() == 0


def test_silent_frames_of_music_are_zero_and_the_others_are_not(music):
    audio = music.clone()
    audio[:, RATE:] = 0
    values = MusicMap()(audio)
    assert values[:, :, 45:].abs().max() == 0
    assert (values[:, :, 1:42].amax((0, 2)) > 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e38])
def test_map_of_broken_samples_is_finite(music, value):
    audio = music.clone()
    audio[0, 1000:20000:7] = value
    audio[1] = value
    assert MusicMap()(audio).isfinite().all()


def test_map_of_clipped_and_constant_audio_is_finite(music):
    assert MusicMap()((music * 100).clamp(-1, 1)).isfinite().all()
    assert MusicMap()(torch.ones(1, 4096)).isfinite().all()


@pytest.mark.parametrize("samples", [1024, 1025, 1537, 7 * RATE])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100])
def test_any_length_of_a_frame_or_more_and_any_rate(samples, sample_rate):
    module = MusicMap(sample_rate)
    samples = max(samples, module.spectrum.frame_length)
    audio = torch.randn(1, samples, generator=torch.Generator().manual_seed(0)) / 10
    values = module(audio)
    length, hop = module.spectrum.frame_length, module.spectrum.hop_length
    assert values.shape == (1, 8, 1 + (samples - length) // hop)
    assert values.isfinite().all()


def test_clip_shorter_than_a_frame_raises():
    with pytest.raises(MgcError, match="shorter than one frame"):
        MusicMap()(torch.zeros(1, 1023))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_does_not_change_the_map(music, dtype):
    module = MusicMap()
    with torch.autocast("cpu", dtype=dtype):
        mixed = module(music)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, module(music))


def test_a_clip_does_not_depend_on_the_others(music):
    module = MusicMap()
    torch.testing.assert_close(module(music)[1:], module(music[1:]))


def test_statistics_standardize_each_row_and_are_saved(music):
    module = MusicMap()
    plain = module(music)
    module.fit_statistics([music[:1], music[1:]])
    values = module(music)
    torch.testing.assert_close(values.mean((0, 2)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std((0, 2), correction=0), torch.ones(8), atol=1e-3, rtol=0)

    other = MusicMap()
    assert torch.equal(other(music), plain)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(music), values)
    assert set(module.state_dict()) == {"mean", "scale"}


def test_constant_row_is_not_scaled():
    module = MusicMap()
    module.fit_statistics([torch.zeros(1, 4096)])
    assert module.scale.flatten().tolist() == [1] * 8
    with pytest.raises(MgcError, match="No clips"):
        module.fit_statistics([])


def test_gradient_reaches_the_audio(music):
    audio = music[:, :4096].clone().requires_grad_()
    MusicMap()(audio).sum().backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()


def test_features_of_real_music_agree_with_the_paper(real_data):
    """Metal and classical differ in energy; hip hop has a low key clarity, country a high one."""
    module = MusicMap()
    means = {}
    for genre in ("metal", "classical", "hiphop", "country"):
        files = sorted((real_data / "gtzan_mini" / "genres" / genre).glob("*.wav"))
        clips = [soundfile.read(file, 10 * RATE, dtype="float32")[0] for file in files]
        features = module.features(torch.from_numpy(np.stack(clips)))
        means[genre] = {name: values.mean().item() for name, values in features.items()}
    assert means["metal"]["energy"] > 2 * means["classical"]["energy"]
    assert means["country"]["key_clarity"] > means["hiphop"]["key_clarity"] + 0.1
    assert means["metal"]["brightness"] > means["classical"]["brightness"]
    assert means["metal"]["roughness"] > means["classical"]["roughness"]
