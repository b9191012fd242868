"""``mgc data pack``: decode a data set once."""

import os
from typing import Any

from joblib import cpu_count

from mgc.commands.data_module import find_data_module, make_data_module
from mgc.errors import MgcError

#: From here on, numbers of SLURM's steps are those of a batch script or an interactive shell
#: (``SLURM_MAX_NORMAL_STEP_ID`` in slurm.h), of which there is one however many tasks there are.
SPECIAL_STEPS = 0xFFFFFFF0


def pack(
    name: str,
    root: str,
    sample_rate: int | None = None,
    channel: int | None = None,
    workers: int | None = None,
    shard: str | None = None,
    data_args: dict[str, Any] | None = None,
) -> None:
    """Decode a data set once, so that training need not.

    Audio is resampled into a store in the folder packed/ of the data set, from which random clips
    are read at memory speed. Training takes it by itself where data.sample_rate and data.channel
    are the same. An hour of audio takes 2 * 3600 * sample_rate bytes: 159 MB at 22050 Hz. The
    original audio files may be removed afterwards where the data set's lists tell its tracks.

    Track files of the Million Song Dataset become beat-aligned features in the folder beats/, one
    store for all of its tasks.

    Run it again after an interruption, and it goes on where it stopped; or after audio files have
    changed, and it packs those parts anew. Several machines that share the folder share the work
    with --shard 0/4 to 3/4 (torchrun and srun set it by themselves); without a shared folder, bring
    the parts into one folder and run it there once more.

    Example: mgc data pack gtzan --root data/gtzan --sample_rate 22050

    Example: mgc data pack msd_genre --root data/msd

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder with the data set.
        sample_rate: Rate that audio is resampled to, in Hz; needed where there is audio.
        channel: Number of the channel to pack, from 0; by default the mean of all channels.
        workers: Processes that decode; by default one per core, 0 for none but this one.
        shard: Share of this machine, such as 0/4 for the first of four; by default what torchrun or
            srun says, or all of it.
        data_args: Arguments of the data set, as in --data_args.table tracks.csv.
    """
    settings: dict[str, Any] = {}
    if find_data_module(name).kind == "audio":
        if sample_rate is None:
            raise MgcError(f"{name} has audio: give the rate to train at, as --sample_rate 22050.")
        settings = {"sample_rate": sample_rate, "channel": channel}
    elif sample_rate is not None or channel is not None:
        raise MgcError(f"{name} has no audio: leave out --sample_rate and --channel.")
    module = make_data_module(name, root, data_args, **settings)
    number, count = parse_shard(shard)
    # Where a launcher runs the others, this process may well end before them, and not in error:
    # torchrun would stop them all.
    expected = shard is not None or _in_srun() or "TORCHELASTIC_RUN_ID" in os.environ
    packed = module.pack(cpu_count() if workers is None else workers, (number, count))
    if not packed.finished and not expected:
        raise MgcError(
            f"{packed.folder}: only share {number}/{count} is packed, as RANK and WORLD_SIZE in "
            "the environment ask for. Run the others too, or give --shard 0/1 to pack all of it."
        )
    if not packed.finished:
        print(
            f"Shard {number}/{count} is packed, others are not yet: {packed.folder}\n"
            "The last one to finish makes the store. If it was on another disk, bring its files "
            "here and run this command once more."
        )
        return
    for file, reason in packed.broken.items():
        print(f"broken  {file}: {reason}")
    print(f"{packed.summary}: {packed.folder}")


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Find this machine's share of the work.

    Args:
        shard: Share such as ``0/4``; by default what torchrun or srun says, or all of it.

    Returns:
        Number of the machine, from 0, and how many machines there are.

    Raises:
        MgcError: If the share is not of this form.
    """
    if shard is None:
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if _in_srun():
            return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
        return 0, 1
    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise MgcError(f"--shard {shard}: give number and count, such as 0/4 for the first of 4.")
    return int(first), int(second)


def _in_srun() -> bool:
    """Whether srun started this process; a batch script has the same variables, but runs once."""
    step = os.environ.get("SLURM_STEP_ID", "")
    tasks = {"SLURM_PROCID", "SLURM_NTASKS"} <= set(os.environ)
    return tasks and step.isdecimal() and int(step) < SPECIAL_STEPS
