"""``mgc extract``: extract layer features from audio."""

from typing import Annotated, Any, Literal

from mgc.core.fingerprint import Check
from mgc.core.ranges import BatchSize, Range, SampleRate, Seconds, Seed, Workers


def extract(
    audio: list[str],
    out: str,
    ckpt: str | None = None,
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    seed: Seed = 0,
    data: str | None = None,
    data_args: dict[str, Any] | None = None,
    layers: str = "all",
    sample_rate: SampleRate | None = None,
    clip_seconds: Seconds | None = None,
    hop_seconds: Seconds | None = None,
    resampling: Literal["fast", "best"] | None = None,
    per_clip: bool = False,
    keep_split: bool = False,
    batch_size: BatchSize | None = None,
    num_workers: Workers = 0,
    accelerator: str = "auto",
    devices: Annotated[int, Range(1, 1024)] | str = "auto",
    num_nodes: Annotated[int, Range(1, 10000)] = 1,
    strategy: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
    check: Check = "sampled",
) -> None:
    """Extract layer features from audio with a trained or randomly initialised model.

    Writes a Parquet file for pandas: one row per track, with the columns track, group, split, fold,
    label (or target.NAME), and LAYER.0, LAYER.1, … for each layer. A track's features are the means
    over its clips. Tracks shorter than a clip are treated as in training; without a checkpoint they
    are repeated. Unreadable files are reported and skipped. To resume an interrupted run, run the
    same command again. A table is not written again if neither settings nor files have changed.

    Example: mgc extract data/gtzan --data gtzan --ckpt vgg_choi2017.ckpt --out gtzan.parquet

    Example: mgc extract data/gtzan --data gtzan --model mfcc --out gtzan_mfcc.parquet

    Example: mgc extract data/gtzan --data gtzan --data_args.split fold --data_args.fold 3
    --keep_split --ckpt kcnn_fold3.ckpt --out kcnn_fold3.parquet

    Example: mgc extract music/ song.mp3 --model vgg_tagger --seed 1 --out random.parquet

    Args:
        audio: With --data, the data set's folder; otherwise audio files and folders.
        out: Parquet file to write.
        ckpt: Checkpoint of the model.
        model: Without --ckpt, name or class path of a model, as in mgc list; randomly initialised
            unless its arguments name weights. A random vgg_tagger normalises each clip, because
            running statistics need training. With --ckpt, class path of its model, such as
            my_package.MyNet, if no installed package registers it.
        model_args: Arguments of a model without a checkpoint, as in --model_args.channels 64.
        seed: Seed of the random weights.
        data: Name of the data set, as in mgc list. Without it, the table has no labels.
        data_args: Arguments of the data set, as in --data_args.split fault_filtered.
        layers: Layers to extract: all, digits that count layers from 1 (135), or names separated by
            commas.
        sample_rate: Sample rate in Hz; by default the checkpoint's, else 12000.
        clip_seconds: Length of a clip in seconds; by default the checkpoint's, else 29.
        hop_seconds: Distance between the starts of two clips in seconds; by default the length of
            a clip.
        resampling: fast, as for training, or best, which keeps the highest frequencies; by default
            the checkpoint's setting, else best.
        per_clip: Write one row per clip, with columns clip and start (seconds).
        keep_split: Also write a random split. Use this for a model that was trained on the split
            given by --data_args: mgc transfer then trains on the training and validation tracks of
            the model and tests on its test tracks.
        batch_size: Clips per batch and device; by default 32, or 30 s of audio on a CPU, where
            larger batches are several times slower.
        num_workers: Data loader processes per device; 0 loads in the main process.
        accelerator: Type of device: auto, cpu, gpu, ….
        devices: Number of devices, or auto for all.
        num_nodes: Number of machines. They must share the output folder.
        strategy: Lightning's strategy for several devices.
        precision: Precision of the network: 32, bf16 or 16 (mixed).
        check: How to find changed files: sampled compares size and times first, then content, of
            files over 4 MiB only time and 64 blocks; full compares the content of all files.

    Raises:
        MgcError: If settings contradict each other, or nothing can be read.
    """
    given = dict(locals())
    from mgc.transfer.extraction import extract_audio

    extract_audio(**given)
