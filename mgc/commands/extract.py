"""``mgc extract``: features of music, for transfer learning and other uses."""

from typing import Any, Literal


def extract(
    audio: list[str],
    out: str,
    ckpt: str | None = None,
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    seed: int = 0,
    data: str | None = None,
    data_args: dict[str, Any] | None = None,
    layers: str = "all",
    sample_rate: int | None = None,
    clip_seconds: float | None = None,
    hop_seconds: float | None = None,
    resampling: Literal["fast", "best"] | None = None,
    per_clip: bool = False,
    keep_split: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
) -> None:
    """Compute the features of music with a trained or a random model.

    Writes a Parquet file that pandas reads: a row per track, with the columns track, group, split,
    fold, label (or target.NAME), and LAYER.0, LAYER.1, … for each layer. Features of a track are
    the means over its clips; tracks shorter than a clip are treated as in training, and repeated
    without a checkpoint. Files that cannot be read are
    reported and left out. An interrupted run goes on where it stopped when the same command is
    given again. Each device needs a share of num_workers of its own.

    Example: mgc extract data/gtzan --data gtzan --ckpt vgg_choi2017.ckpt --out gtzan.parquet

    Example: mgc extract data/gtzan --data gtzan --model mfcc --out gtzan_mfcc.parquet

    Example: mgc extract data/gtzan --data gtzan --data_args.split fold --data_args.fold 3
    --keep_split --ckpt kcnn_fold3.ckpt --out kcnn_fold3.parquet

    Example: mgc extract music/ song.mp3 --model vgg_tagger --seed 1 --out random.parquet

    Args:
        audio: The data set's folder with --data; without it, audio files, and folders of them.
        out: Parquet file to write.
        ckpt: Checkpoint of the model.
        model: Name of a model, as in mgc list, in place of a checkpoint; with random weights, or
            those that its arguments name.
        model_args: Arguments of that model, as in --model_args.channels 64.
        seed: Seed of the random weights.
        data: Name of the data set, as in mgc list; without it there are no labels.
        data_args: Arguments of the data set, as in --data_args.split fault_filtered.
        layers: Which layers to keep: all; digits that count them, as in 135; or names with commas.
        sample_rate: Rate of the audio in Hz; by default the checkpoint's, else 12000.
        clip_seconds: Length of a clip in seconds; by default the checkpoint's, else 29.
        hop_seconds: Distance between the starts of two clips in seconds; by default the length of
            a clip.
        resampling: How carefully rates are changed: fast, as for training, or best, which keeps the
            highest frequencies; by default the checkpoint's way, best without a checkpoint.
        per_clip: Write a row per clip instead, with columns clip and start (seconds).
        keep_split: Also write a split that is drawn at random. For a model that was trained on the
            very split that --data_args name: mgc transfer then fits on its training and validation
            tracks and tests on its test tracks.
        batch_size: Clips per batch and device; by default 32, on a CPU as many as make half a
            minute, which its memory serves several times faster than larger batches.
        num_workers: Processes per device that read clips; 0 reads in the main process.
        accelerator: Kind of device: auto, cpu, gpu, ….
        devices: Number of devices, or auto for all.
        num_nodes: Number of machines, which share the folder of the output.
        strategy: Lightning's strategy for several devices.
        precision: Number format of the network: 32, bf16 or 16 (mixed).

    Raises:
        MgcError: If settings contradict each other, or nothing can be read.
    """
    given = dict(locals())
    from mgc.transfer.extraction import extract_audio

    extract_audio(**given)
