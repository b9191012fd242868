"""Measure the audio words of KCNN: fitting codebooks, encoding, training.

    python benchmarks/audio_words.py                     # a million vectors, one thread
    python benchmarks/audio_words.py --vectors 100000 --device cuda

* Codebooks: time, mean squared distance and peak memory of scikit-learn's KMeans and
  MiniBatchKMeans (defaults, and many epochs of large batches), and of mgc on all vectors and on 256
  per centre (default of ``kcnn``). Distances are over all vectors, ratios relative to KMeans. The
  lower bound is the time of the matrix products of distances.
* Encoding: tracks per second from audio to words. The upper bound are the Fourier transforms alone.
* Training: tracks per second of a training step on words. The upper bound are its matrix products.

Reports CPU time of one thread, which other programs hardly affect, or wall time on a GPU.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch.utils.flop_counter import FlopCounterMode

from mgc.features.audio_words import AudioWords, SegmentVectors
from mgc.features.codebook import fit_codebook, nearest_centre
from mgc.models.kcnn import KCNN

SECONDS = 30

#: Peak memory of this process on Linux.
STATUS = Path("/proc/self/status")


def seconds(job: Callable[[], object], device: torch.device, rounds: int = 1) -> float:
    """Return the shortest time of several runs."""
    times = []
    for _ in range(rounds):
        if device.type == "cuda":
            torch.cuda.synchronize()
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        start = clock()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times)


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Return peak memory in GB, including data and libraries; NaN on CPUs without Linux."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0]) / 1e9


def codebooks(count: int, width: int, words: int, device: torch.device) -> None:
    """Compare clustering algorithms."""
    generator = torch.Generator().manual_seed(0)
    # Like whitened vectors of music, these form no clear clusters: more groups than words.
    means = 0.7 * torch.randn(1000, width, generator=generator)
    group = (1000 * torch.rand(count, generator=generator) ** 2).long()
    vectors = means[group] + torch.randn(count, width, generator=generator)
    array, there = vectors.numpy(), vectors.to(device)
    some = there[torch.randperm(count, generator=generator)[: 256 * words].to(device)]
    cpu = torch.device("cpu")

    def peer(learner: KMeans | MiniBatchKMeans) -> np.ndarray:
        return learner.fit(array).cluster_centers_

    jobs: dict[str, tuple[Callable[[], np.ndarray | torch.Tensor], torch.device]] = {
        "scikit-learn KMeans": (lambda: peer(KMeans(words, random_state=0)), cpu),
        "scikit-learn MiniBatchKMeans": (lambda: peer(MiniBatchKMeans(words, random_state=0)), cpu),
        "  30 epochs of batches of 16384": (
            lambda: peer(
                MiniBatchKMeans(
                    words, random_state=0, max_iter=30, batch_size=16384, max_no_improvement=None
                )
            ),
            cpu,
        ),
        "mgc, all vectors": (lambda: fit_codebook(there, words).centres, device),
        "  tolerance 1e-3": (lambda: fit_codebook(there, words, tolerance=1e-3).centres, device),
        "mgc, 256 per word": (lambda: fit_codebook(some, words).centres, device),
    }
    print(f"Codebooks of {words} words, {count} vectors of {width} dimensions:")
    base: tuple[float, float] | None = None
    for name, (job, where) in jobs.items():
        found: list[np.ndarray | torch.Tensor] = []
        reset_peak_memory(where)
        spent = seconds(lambda job=job, found=found: found.append(job()), where)  # type: ignore[misc]
        memory = peak_memory(where)
        centres = torch.as_tensor(found[0], dtype=torch.float32, device=device)
        parts = [
            (x - centres[nearest_centre(x, centres)]).square().sum(1) for x in there.split(65536)
        ]
        distance = float(torch.cat(parts).mean(dtype=torch.float64))
        base = base or (spent, distance)
        print(f"  {name:31} {spent:8.2f} s {base[0] / spent:7.1f} x   distance {distance:8.3f} "
              f"{distance / base[1]:7.4f} x   peak {memory:5.2f} GB", flush=True)  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        fit_codebook(there, words)
    rows = 4096 if device.type == "cpu" else count
    right, out = there[:words].T.contiguous(), there.new_empty(rows, words)

    def products() -> None:
        for part in there.split(rows):
            torch.mm(part, right, out=out[: len(part)])

    passes = counter.get_total_flops() / (2 * count * width * words)
    limit = passes * seconds(products, device, 3)
    print(f"  lower bound of mgc, all vectors: the matrix products of {passes:.1f} passes take "
          f"{limit:.2f} s", flush=True)  # fmt: skip


def encoding(device: torch.device, batch: int) -> AudioWords:
    """Compare encoding with its Fourier transforms alone."""
    audio = 0.1 * torch.randn(batch, SECONDS * 22050, device=device)
    words = AudioWords(SegmentVectors(), 256).to(device)
    words.fit({n: x.flatten(0, 1).cpu() for n, x in words.segments.join(audio).items()})
    spectrum = words.segments.bands.spectrum
    with torch.inference_mode():
        words(audio)
        whole = seconds(lambda: words(audio), device, 3)
        # Encoding processes tracks one by one on a CPU, where this is faster.
        parts = audio.split(1 if device.type == "cpu" else batch)
        limit = seconds(lambda: [spectrum(part) for part in parts], device, 3)
    print(f"Encoding tracks of {SECONDS} s: {batch / whole:.0f} tracks/s; Fourier transforms alone "
          f"{batch / limit:.0f} tracks/s ({limit / whole:.0%})", flush=True)  # fmt: skip
    return words


def training(words: AudioWords, device: torch.device, batch: int) -> None:
    """Compare a training step with its matrix products alone."""
    tables = {n: (words.size, w) for n, w in words.segments.dimensions.items()}
    net = KCNN(10, tables).to(device)
    length = torch.randint(100, 161, (batch,), device=device)
    some = {n: torch.randint(words.size, (batch, 161), device=device) for n in tables}
    optimizer = torch.optim.SGD(net.parameters(), 0.02)

    def step() -> None:
        optimizer.zero_grad()
        net(some, length).square().sum().backward()
        optimizer.step()

    width = 5 * sum(w for _, w in tables.values())
    left = torch.randn(batch * 161, width, device=device)
    right = torch.randn(width, 500, device=device)
    out = torch.randn(batch * 161, 500, device=device)

    def products() -> None:
        left @ right
        left.T @ out
        out @ right.T

    step()
    whole, limit = seconds(step, device, 5), seconds(products, device, 5)
    rate, most = batch / whole, batch / limit
    print(
        f"Training from words, batches of {batch}: {rate:.0f} tracks/s; matrix products alone "
        f"{most:.0f} tracks/s ({limit / whole:.0%})",
        flush=True,
    )


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    words = encoding(device, args.batch)
    for batch in (1, args.batch):
        training(words, device, batch)
    with threadpool_limits(args.threads):
        codebooks(args.vectors, args.width, args.words, device)


if __name__ == "__main__":
    main()
