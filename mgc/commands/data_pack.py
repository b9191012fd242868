"""``mgc data pack``: decode and resample a data set once."""

import os
from typing import Annotated, Any

from joblib import cpu_count

from mgc import registry
from mgc.core.fingerprint import Check
from mgc.core.ranges import Range, SampleRate, Workers
from mgc.core.slurm import started_by_srun
from mgc.core.terminal import print_line, print_text
from mgc.errors import MgcError


def pack(
    name: str,
    root: str,
    sample_rate: SampleRate | None = None,
    channel: Annotated[int, Range(0, 255)] | None = None,
    workers: Workers | None = None,
    shard: str | None = None,
    data_args: dict[str, Any] | None = None,
    check: Check = "sampled",
) -> None:
    """Decode and resample a data set once, for faster training.

    Audio is resampled into a store in the data set's folder packed/, from which random clips are
    read at memory speed. Training uses it automatically if data.sample_rate and data.channel match.
    An hour of audio takes 2 * 3600 * sample_rate bytes: 159 MB at 22050 Hz. Afterwards, the
    original audio files may be deleted if the data set has lists of its tracks.

    For the Million Song Dataset, the track files are converted to a store of beat-aligned features
    in the folder beats/, which all of its tasks use.

    To resume an interrupted run, or to repack audio files that have changed, run the same command
    again. Several machines with a shared folder split the work with --shard 0/4 to 3/4 (automatic
    with torchrun and srun). Without a shared folder, copy the parts into one folder and run the
    command there again.

    Example: mgc data pack gtzan --root data/gtzan --sample_rate 22050

    Example: mgc data pack msd_genre --root data/msd

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder with the data set.
        sample_rate: Target sample rate in Hz; required for data sets with audio.
        channel: Channel to pack, from 0; by default the mean of all channels.
        workers: Number of processes; by default one per core. 0 uses the main process only.
        shard: Share of this machine, such as 0/4 for the first of four; by default set by torchrun
            or srun, else 0/1.
        data_args: Arguments of the data set, as in --data_args.table tracks.csv.
        check: How to find changed files: sampled compares size and times first, then content; full
            compares the content of all files.
    """
    settings: dict[str, Any] = {}
    if getattr(registry.load("data", name), "kind", None) == "audio":
        if sample_rate is None:
            raise MgcError(f"{name} has audio. Set the sample rate, such as --sample_rate 22050.")
        settings = {"sample_rate": sample_rate, "channel": channel}
    elif sample_rate is not None or channel is not None:
        raise MgcError(f"{name} has no audio. Omit --sample_rate and --channel.")
    module = registry.make_data_module(name, root, data_args, **settings)
    number, count = parse_shard(shard)
    # With a launcher, other processes may still run. An error would make torchrun stop them.
    expected = shard is not None or started_by_srun() or "TORCHELASTIC_RUN_ID" in os.environ
    packed = module.pack(
        cpu_count() if workers is None else min(workers, max(2, cpu_count())),
        (number, count),
        check,
    )
    if not packed.finished and not expected:
        raise MgcError(
            f"{packed.folder}: packed only shard {number}/{count}, because RANK and WORLD_SIZE are "
            "set. Pack the other shards too, or use --shard 0/1 to pack everything."
        )
    if not packed.finished:
        print_text(
            f"Shard {number}/{count} is packed, but other shards are missing: {packed.folder}\n"
            "The last shard creates the store. If shards are on other disks, copy their files into "
            "this folder and run this command again."
        )
        return
    for file, reason in packed.broken.items():
        print_line(f"broken  {file}: {reason}")
    print_line(f"{packed.summary}: {packed.folder}")


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Return this machine's number, from 0, and the number of machines.

    Args:
        shard: Share such as ``0/4``; by default set by torchrun or srun, else ``0/1``.

    Raises:
        MgcError: If ``shard`` has a different format.
    """
    if shard is None:
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if started_by_srun():
            return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
        return 0, 1
    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise MgcError(f"--shard {shard}: expected NUMBER/COUNT, such as 0/4 for the first of 4.")
    return int(first), int(second)
