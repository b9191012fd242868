"""``mgc plot components``: plot harmonic and percussive components of a song."""

from pathlib import Path
from typing import Annotated, Literal

from mgc.core.ranges import (
    Decibels,
    FrameLength,
    Hertz,
    HopLength,
    Margin,
    MaskPower,
    MedianLength,
    Range,
    Seconds,
)
from mgc.core.terminal import print_line
from mgc.core.writing import writes_file
from mgc.errors import MgcError


@writes_file("out")
def plot_components(
    song: str,
    out: str = "components.png",
    start: Annotated[float, Range(0, 86400)] = 0.0,
    seconds: Seconds = 30.0,
    n_fft: FrameLength = 2048,
    hop_length: HopLength = 512,
    harmonic_length: MedianLength = 31,
    percussive_length: MedianLength = 31,
    power: MaskPower = 2.0,
    margin_harmonic: Margin = 1.0,
    margin_percussive: Margin = 1.0,
    scale: Literal["linear", "log"] = "log",
    f_min: Hertz = 50.0,
    f_max: Hertz | None = None,
    top_db: Decibels = 80.0,
) -> None:
    """Plot spectrograms of a song and of its harmonic and percussive components.

    With margins greater than 1 or hard masks, the residual is plotted too.

    Example: mgc plot components song.wav --out components.png --start 30 --seconds 10

    Args:
        song: Audio file. Its channels are averaged.
        out: Image file to write: .png, .pdf or .svg.
        start: Start of the excerpt in seconds.
        seconds: Length of the excerpt in seconds.
        n_fft: Length of a frame in samples.
        hop_length: Distance between two frames in samples.
        harmonic_length: Length of the median filter along time, in frames; odd.
        percussive_length: Length of the median filter along frequency, in bins; odd.
        power: Exponent of the soft masks; inf gives hard masks.
        margin_harmonic: Minimum ratio of harmonic to percussive magnitude for the harmonic mask, at
            least 1.
        margin_percussive: Minimum ratio of percussive to harmonic magnitude for the percussive
            mask, at least 1.
        scale: Scale of the frequency axis.
        f_min: Lowest frequency of a logarithmic axis in Hz; a linear axis starts at 0.
        f_max: Highest frequency in Hz; by default half of the sample rate.
        top_db: Range of the colours in decibels.

    Raises:
        MgcError: If the song cannot be read or a setting is out of range.
    """
    import torch

    from mgc.core.writing import replacing
    from mgc.data import audio
    from mgc.features.component_plot import draw_components
    from mgc.features.separation import HarmonicPercussive
    from mgc.features.spectrogram import check_band, check_frames

    separation = HarmonicPercussive(
        harmonic_length, percussive_length, power, margin_harmonic, margin_percussive
    )
    file_format = Path(out).suffix.lower().removeprefix(".")
    if file_format not in ("png", "pdf", "svg"):
        raise MgcError(f"--out {out}: the name must end in .png, .pdf or .svg.")
    check_frames(n_fft, hop_length)
    info = audio.probe(song)
    rate = info.sample_rate
    if start >= info.seconds:
        raise MgcError(
            f"{song} is {info.seconds:.1f} s long and has no audio in the {seconds:g} s from "
            f"{start:g} s on. Change --start or --seconds."
        )
    check_band(rate, f_min, f_max)
    f_max = f_max or rate / 2
    samples = torch.from_numpy(audio.read(song, rate, round(start * rate), round(seconds * rate)))
    magnitude = torch.stft(
        samples,
        n_fft,
        hop_length,
        window=torch.hann_window(n_fft),
        pad_mode="constant",
        return_complex=True,
    ).abs()
    harmonic, percussive = separation(magnitude)
    shown = {"original": magnitude, "harmonic": harmonic, "percussive": percussive}
    if separation.has_residual:
        shown["residual"] = magnitude - harmonic - percussive
    # The lower bound keeps silence finite.
    reference = max(magnitude.max().item(), 1e-5)
    decibels = {
        name: (20 * torch.log10(values / reference)).clamp(min=-top_db).numpy()
        for name, values in shown.items()
    }
    figure = draw_components(
        decibels,
        title=Path(song).name,
        sample_rate=rate,
        hop_length=hop_length,
        start=start,
        f_min=f_min if scale == "log" else 0.0,
        f_max=f_max,
        scale=scale,
        top_db=top_db,
    )
    with replacing(out) as partial:
        figure.savefig(partial, dpi=120, format=file_format)
    print_line(f"Written to {out}")
