"""Compare pretraining steps of the convolutional deep belief network with their convolutions alone.

    python benchmarks/conv_dbn.py [--device cuda] [--tracks 8] [--beats 600]

A step of contrastive divergence needs four convolutions, forward and backward, for the two passes
through the hidden units, and one for the reconstruction. Prints beats per second of training steps
with the optimizer, of the convolutions alone (the upper bound), and the ratio, for the first layers
and the joint layer. The target on a CPU is a ratio of 0.3, because sampling and activations cost as
much as convolutions of 12 inputs.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from mgc.models.conv_dbn import ConvDBNNet
from mgc.models.conv_rbm import ConvRBM

#: Target for the speed relative to the convolutions alone.
MIN_SHARE = 0.3
ROUNDS = 5


def seconds(work: Callable[[], object], device: str) -> float:
    """Return the CPU time of one thread, or the wall time on a GPU."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def convolutions(rbm: ConvRBM, visible: torch.Tensor) -> None:
    """Run two passes with weight gradients, and a reconstruction."""
    hidden = F.conv1d(visible, rbm.weight, rbm.hidden_bias)
    with torch.no_grad():
        fantasy = F.conv_transpose1d(hidden, rbm.weight)
    gradient = torch.ones((), device=visible.device).expand_as(hidden)
    again = F.conv1d(fantasy, rbm.weight, rbm.hidden_bias)
    torch.autograd.backward([hidden, again], [gradient, gradient])


def main() -> None:
    """Measure both alternately and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--beats", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = ConvDBNNet().to(options.device)
    length = torch.full((options.tracks,), options.beats, device=options.device)
    chroma = torch.rand(options.tracks, options.beats, 12, device=options.device)
    timbre = torch.randn(options.tracks, options.beats, 12, device=options.device)
    with torch.no_grad():
        first = net.forward_first(chroma, timbre, length)
    pooled = torch.cat(first[:2], 1)
    inputs = {
        "chroma": (chroma.transpose(1, 2), length),
        "timbre": (timbre.transpose(1, 2), length),
    }
    layers = {"chroma, timbre": inputs, "joint": {"joint": (pooled, first[2])}}
    beats = options.tracks * options.beats
    print(f"{options.tracks} tracks of {options.beats} beats, {options.device}")
    print(f"{'layer':>16} {'beats/s':>10} {'convolutions alone':>19} {'share':>6}")
    for name, machines in layers.items():
        optimizer = torch.optim.SGD(net.parameters(), 0.001)

        def step(machines=machines, optimizer=optimizer, name=name) -> None:
            optimizer.zero_grad()
            if name == "joint":
                with torch.no_grad():
                    net.forward_first(chroma, timbre, length)
            for layer, (visible, count) in machines.items():
                found = net.machine(layer).contrastive_divergence(visible, count, 0.05, 0.1)
                (found.loss / found.positions).backward()
            optimizer.step()

        def limit(machines=machines, optimizer=optimizer, name=name) -> None:
            optimizer.zero_grad()
            if name == "joint":
                with torch.no_grad():
                    net.chroma.inputs(inputs["chroma"][0])
                    net.timbre.inputs(inputs["timbre"][0])
            for layer, (visible, _) in machines.items():
                convolutions(net.machine(layer), visible)

        for work in (step, limit):  # warm up
            work()
        taken = [[seconds(work, options.device) for work in (step, limit)] for _ in range(ROUNDS)]
        ours, alone = (min(times) for times in zip(*taken, strict=True))
        verdict = "" if alone / ours >= MIN_SHARE else f"  below {MIN_SHARE}"
        print(f"{name:>16} {beats / ours:10.0f} {beats / alone:19.0f} {alone / ours:6.2f}{verdict}")


if __name__ == "__main__":
    main()
