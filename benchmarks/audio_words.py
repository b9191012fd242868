"""Audio words: codebooks against scikit-learn, encoding and training against the limit.

    python benchmarks/audio_words.py                     # a million vectors, one thread
    python benchmarks/audio_words.py --vectors 100000 --device cuda

Codebooks: time and mean squared distance of scikit-learn's KMeans and MiniBatchKMeans, of Lloyd's
algorithm on all vectors and on 256 a centre (what ``kcnn`` does by default), all of them measured
on all vectors. Encoding: tracks per second from audio to words, beside the Fourier transforms
alone, which are the limit. Training: tracks per second of a step of the network from words, beside
its matrix products alone.

Times are CPU times of one thread (on a GPU, of the clock), so that other programs matter little.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans

from mgc.features.audio_words import AudioWords, SegmentVectors
from mgc.features.codebook import fit_codebook, nearest_centre
from mgc.models.kcnn import KCNN

SECONDS = 30


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


def codebooks(count: int, width: int, words: int, device: torch.device) -> None:
    """Compare ways of clustering vectors."""
    generator = torch.Generator().manual_seed(0)
    # Whitened vectors of music are no blobs: overlapping groups of different sizes.
    means = 0.7 * torch.randn(1000, width, generator=generator)
    group = (1000 * torch.rand(count, generator=generator) ** 2).long()
    vectors = means[group] + torch.randn(count, width, generator=generator)
    array, there = vectors.numpy(), vectors.to(device)
    some = there[torch.randperm(count, generator=generator)[: 256 * words].to(device)]
    cpu = torch.device("cpu")
    found: dict[str, np.ndarray | torch.Tensor] = {}

    def peer(name: str, learner: KMeans | MiniBatchKMeans) -> Callable[[], None]:
        def run() -> None:
            found[name] = learner.fit(array).cluster_centers_

        return run

    def ours(name: str, data: torch.Tensor) -> Callable[[], None]:
        def run() -> None:
            found[name] = fit_codebook(data, words).centres

        return run

    jobs = {
        "scikit-learn KMeans": (peer("scikit-learn KMeans", KMeans(words, n_init=1)), cpu),
        "scikit-learn MiniBatchKMeans": (
            peer("scikit-learn MiniBatchKMeans", MiniBatchKMeans(words, n_init=1)),
            cpu,
        ),
        "ours, all vectors": (ours("ours, all vectors", there), device),
        "ours, 256 a word": (ours("ours, 256 a word", some), device),
    }
    print(f"Codebooks of {words} words, {count} vectors of {width} numbers:")
    base = None
    for name, (job, where) in jobs.items():
        spent = seconds(job, where)
        centres = torch.as_tensor(found[name], dtype=torch.float32, device=device)
        parts = [
            (x - centres[nearest_centre(x, centres)]).square().sum(1) for x in there.split(65536)
        ]
        base = base or spent
        print(f"  {name:30} {spent:8.2f} s {base / spent:7.1f} x   distance "
              f"{torch.cat(parts).mean():.3f}", flush=True)  # fmt: skip


def encoding(device: torch.device, batch: int) -> AudioWords:
    """Compare encoding with its Fourier transforms."""
    audio = 0.1 * torch.randn(batch, SECONDS * 22050, device=device)
    words = AudioWords(SegmentVectors(), 256).to(device)
    words.fit({n: x.flatten(0, 1).cpu() for n, x in words.segments.join(audio).items()})
    spectrum = words.segments.bands.spectrum
    with torch.inference_mode():
        words(audio)
        whole = seconds(lambda: words(audio), device, 3)
        limit = seconds(lambda: spectrum(audio), device, 3)
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
    codebooks(args.vectors, args.width, args.words, device)


if __name__ == "__main__":
    main()
