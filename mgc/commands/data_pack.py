"""``mgc data pack``: decode and resample the audio of a data set once."""

import os

from joblib import cpu_count

from mgc import registry
from mgc.data.base import AudioDataModule
from mgc.data.store import pack as pack_audio
from mgc.data.store import store_folder
from mgc.errors import MgcError

#: Number of this process and how many there are, as torchrun and SLURM tell.
LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


def pack(
    name: str,
    root: str,
    sample_rate: int,
    channel: int | None = None,
    workers: int | None = None,
    shard: str | None = None,
) -> None:
    """Decode and resample all audio of a data set once, so that training need not.

    Random clips are then read at memory speed, from a store in the folder packed/ of the data set.
    Training takes it by itself where data.sample_rate and data.channel are the same. An hour of
    audio takes 2 * 3600 * sample_rate bytes: 159 MB at 22050 Hz. The original audio files may be
    removed afterwards where the data set's lists tell its tracks.

    Run it again after an interruption, and it goes on where it stopped; or after files have
    changed, and it packs those parts anew. Several machines that share the folder share the work
    with --shard 0/4 to 3/4 (torchrun and srun set it by themselves); without a shared folder, bring
    the parts into one folder and run it there once more.

    Example: mgc data pack gtzan --root data/gtzan --sample_rate 22050

    Args:
        name: Name of the data set, as in mgc list.
        root: Folder with the data set.
        sample_rate: Rate that audio is resampled to, in Hz.
        channel: Number of the channel to pack, from 0; by default the mean of all channels.
        workers: Processes that decode; by default one per core, 0 for none but this one.
        shard: Share of this machine, such as 0/4 for the first of four; by default what torchrun or
            SLURM says, or all of it.
    """
    component = registry.load("data", name)
    if not issubclass(component, AudioDataModule):
        raise MgcError(f"The data '{name}' cannot be packed: it has no audio.")
    module = component(root=root, sample_rate=sample_rate, channel=channel)
    module.prepare_data()
    number, count = parse_shard(shard)
    if workers is None:
        workers = cpu_count()
    index = pack_audio(
        module.read_catalogue(), module.root, sample_rate, channel, workers, (number, count)
    )
    folder = store_folder(module.root, sample_rate, channel)
    if index is None:
        print(
            f"Shard {number}/{count} is packed, others are not yet: {folder}\n"
            "The last one to finish makes the store. If it was on another disk, bring its files "
            "here and run this command once more."
        )
        return
    broken = index[index["reason"].notna()]
    for path, reason in zip(broken["path"], broken["reason"], strict=True):
        print(f"broken  {path}: {reason}")
    clipped = int((index["clipped"] > 0).sum())
    hours = index["length"].sum() / sample_rate / 3600
    print(
        f"{len(index) - len(broken)} files packed, {len(broken)} broken, {clipped} with samples "
        f"beyond full scale; {hours:.1f} h, {2 * index['length'].sum() / 1e9:.2f} GB: {folder}"
    )


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Find this machine's share of the work.

    Args:
        shard: Share such as ``0/4``; by default what torchrun or SLURM says, or all of it.

    Returns:
        Number of the machine, from 0, and how many machines there are.

    Raises:
        MgcError: If the share is not of this form.
    """
    if shard is None:
        for number, count in LAUNCHERS:
            if number in os.environ and count in os.environ:
                return int(os.environ[number]), int(os.environ[count])
        return 0, 1
    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise MgcError(f"--shard {shard}: give number and count, such as 0/4 for the first of 4.")
    return int(first), int(second)
