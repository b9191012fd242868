"""Audio words: codebooks against scikit-learn, encoding and training against the limit.

    python benchmarks/audio_words.py                     # a million vectors, one thread
    python benchmarks/audio_words.py --vectors 100000 --device cuda

Codebooks: time, mean squared distance and largest memory of scikit-learn's KMeans and
MiniBatchKMeans (with its defaults, and with many epochs of large batches, to see how near to KMeans
it gets), of ours on all vectors and on 256 a centre (what ``kcnn`` does by default). Distances are
measured on all vectors; ratios are to KMeans. The limit is the matrix products of distances alone.
Encoding: tracks per second from audio to words, beside the Fourier transforms
alone, which are the limit. Training: tracks per second of a step of the network from words, beside
its matrix products alone.

Times are CPU times of one thread (on a GPU, of the clock), so that other programs matter little.
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

#: Where Linux tells the largest memory of this process.
STATUS = Path("/proc/self/status")


def seconds(job: Callable[[], object], device: torch.device, rounds: int = 1) -> float:
    """Shortest time of a job."""
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


def forget_peak(device: torch.device) -> None:
    """Begin to measure the largest memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """Largest memory since, data and libraries included, in GB; on a CPU on Linux alone."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0]) / 1e9


def codebooks(count: int, width: int, words: int, device: torch.device) -> None:
    """Compare ways of clustering vectors."""
    generator = torch.Generator().manual_seed(0)
    # Whitened vectors of music are no blobs: more groups than words, of different sizes.
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
        "ours, all vectors": (lambda: fit_codebook(there, words).centres, device),
        "  tolerance 1e-3": (lambda: fit_codebook(there, words, tolerance=1e-3).centres, device),
        "ours, 256 a word": (lambda: fit_codebook(some, words).centres, device),
    }
    print(f"Codebooks of {words} words, {count} vectors of {width} numbers:")
    base: tuple[float, float] | None = None
    for name, (job, where) in jobs.items():
        found: list[np.ndarray | torch.Tensor] = []
        forget_peak(where)
        spent = seconds(lambda job=job, found=found: found.append(job()), where)  # type: ignore[misc]
        memory = peak(where)
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
    print(f"  limit: ours, all vectors, makes the matrix products of {passes:.1f} passes; they "
          f"alone take {limit:.2f} s", flush=True)  # fmt: skip


def encoding(device: torch.device, batch: int) -> AudioWords:
    """Compare encoding with its Fourier transforms."""
    audio = 0.1 * torch.randn(batch, SECONDS * 22050, device=device)
    words = AudioWords(SegmentVectors(), 256).to(device)
    words.fit({n: x.flatten(0, 1).cpu() for n, x in words.segments.join(audio).items()})
    spectrum = words.segments.bands.spectrum
    with torch.inference_mode():
        words(audio)
        whole = seconds(lambda: words(audio), device, 3)
        # One by one on a CPU, which is faster there, as encoding does it.
        parts = audio.split(1 if device.type == "cpu" else batch)
        limit = seconds(lambda: [spectrum(part) for part in parts], device, 3)
    print(f"Encoding tracks of {SECONDS} s: {batch / whole:.0f} tracks/s; Fourier transforms alone "
          f"{batch / limit:.0f}, so {limit / whole:.0%} of the limit", flush=True)  # fmt: skip
    return words


def training(words: AudioWords, device: torch.device, batch: int) -> None:
    """Compare a step of training with its matrix products."""
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
        f"{most:.0f}, so {limit / whole:.0%} of the limit",
        flush=True,
    )


def main() -> None:
    """Run all."""
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
