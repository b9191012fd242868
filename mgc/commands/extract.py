"""``mgc extract``: features of music, for transfer learning and other uses."""

import inspect
import logging
import warnings
from typing import TYPE_CHECKING, Any, Literal

from mgc.errors import MgcError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from mgc.data.base import AudioDataModule

log = logging.getLogger(__name__)

#: Setting of Choi et al. (2017), used where no checkpoint gives another: rate in Hz, length in s.
SAMPLE_RATE = 12000
CLIP_SECONDS = 29.0

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


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
    # The hardware that it did not find, and advertising.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    # Lightning 2.6 calls a function that torch 2.12 calls deprecated.
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*deprecated")
    if (ckpt is None) == (model is None):
        raise MgcError("Give a checkpoint (--ckpt FILE) or the name of a model (--model NAME).")
    if ckpt and model_args:
        raise MgcError("--model_args belong to --model; a checkpoint holds its own.")
    if (data_args or keep_split) and not data:
        raise MgcError("--data_args and --keep_split belong to --data: name the data set.")

    import torch
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    from mgc import checkpoint
    from mgc.transfer.extraction import choose_layers, extract_features, probe_layers
    from mgc.transfer.feature_table import digest_of

    source: dict[str, Any] = {"precision": precision}
    if ckpt:
        network, about = checkpoint.read_model(ckpt)
        if not about["clip_seconds"]:
            raise MgcError(f"{ckpt}: the model does not take audio.")
        rate, seconds = about["sample_rate"], about["clip_seconds"]
        _refuse_other(ckpt, "sample_rate", "Hz", sample_rate, rate)
        _refuse_other(ckpt, "clip_seconds", "s", clip_seconds, seconds)
        resampling = resampling or about.get("resampling", "fast")
        as_trained = {name: about[name] for name in ("channel", "short") if name in about}
        source |= {"model": about["class_path"], "checkpoint": ckpt, "sha256": digest_of(ckpt)}
    else:
        rate, seconds = sample_rate or SAMPLE_RATE, clip_seconds or CLIP_SECONDS
        resampling = resampling or "best"
        as_trained = {}
        network = make_model(str(model), rate, model_args or {}, seed)
        kind = type(network)
        source |= {
            "model": f"{kind.__module__}.{kind.__qualname__}",
            "checkpoint": None,
            "model_args": model_args or {},
            "seed": seed,
        }
    widths = probe_layers(network, round(seconds * rate))
    chosen = choose_layers(layers, widths)
    if batch_size is None:
        on_cpu = accelerator == "cpu" or (
            accelerator == "auto" and not torch.accelerator.is_available()
        )
        batch_size = max(1, int(30 / seconds)) if on_cpu else 32
    settings = {
        "sample_rate": rate,
        "clip_seconds": seconds,
        "hop_seconds": hop_seconds,
        "batch_size": batch_size,
        "num_workers": num_workers,
    }
    tracks = open_data(audio, data, as_trained | (data_args or {}), settings)
    broken = extract_features(
        network,
        chosen,
        tracks,
        out,
        source,
        resampling,
        per_clip,
        keep_split,
        {
            "accelerator": accelerator,
            "devices": int(devices) if str(devices).isdecimal() else devices,
            "num_nodes": num_nodes,
            "strategy": strategy,
            "precision": PRECISION[precision],
        },
    )
    if getattr(rank_zero_only, "rank", 0):
        return  # one process speaks for all
    width = sum(widths[name] for name in chosen)
    log.info(
        "%d tracks, %d could not be read; %d numbers each, of %s: %s",
        (~tracks.tracks["track"].isin(list(broken))).sum(),
        len(broken),
        width,
        ", ".join(chosen),
        out,
    )


def make_model(name: str, sample_rate: int, args: dict[str, Any], seed: int) -> "LightningModule":
    """Make a model with random weights, or with the initial weights that it asks for.

    Args:
        name: Short name of the model.
        sample_rate: Rate of the audio in Hz.
        args: Arguments of the model.
        seed: Seed of the weights; the caller's random state stays as it is.

    Returns:
        The model.

    Raises:
        MgcError: If there is no such model, or its arguments are wrong.
    """
    import torch

    from mgc import registry
    from mgc.models.base import MusicModel

    component = registry.load("model", name)
    parameters = inspect.signature(component).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    # What the data would fill in. The number of classes is the same for all data, so that random
    # weights are.
    filled = {"num_classes": 2, "task": "multiclass", "sample_rate": sample_rate}
    given = {key: value for key, value in filled.items() if takes_any or key in parameters}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: LightningModule = _call(component, f"--model {name}", given | args)
        if isinstance(model, MusicModel):
            model.load_initial_weights()
    return model


def open_data(
    audio: list[str], name: str | None, args: dict[str, Any], settings: dict[str, Any]
) -> "AudioDataModule":
    """Read the catalogue of a data set, or find audio files.

    Args:
        audio: Folder of the data set, or files and folders.
        name: Short name of the data set; None for plain files.
        args: Arguments of the data set.
        settings: Arguments that the command has options for.

    Returns:
        The data module, with its tracks.

    Raises:
        MgcError: If there is no such data set, or it cannot be read.
    """
    from mgc import registry
    from mgc.data.base import AudioDataModule
    from mgc.data.unlabelled import AudioFiles

    if name is None:
        data: AudioDataModule = AudioFiles(audio, **settings, **args)
    else:
        component = registry.load("data", name)
        if not issubclass(component, AudioDataModule):
            raise MgcError(f"--data {name}: has no audio, which features are computed of.")
        if len(audio) != 1:
            raise MgcError(f"--data {name}: give the data set's folder, and nothing else.")
        for key in args:
            if key in settings or key == "root":
                raise MgcError(f"--data_args.{key}: the command has an argument for that.")
        data = _call(component, f"--data {name}", {"root": audio[0], **settings, **args})
    data.setup("test")
    return data


def _call(component: type, option: str, args: dict[str, Any]) -> Any:
    """Build a component; arguments that it does not take are the user's mistake."""
    try:
        return component(**args)
    except TypeError as error:
        raise MgcError(f"{option}: {error}. Check its arguments.") from error


def _refuse_other(ckpt: str, name: str, unit: str, given: float | None, trained: float) -> None:
    if given is not None and abs(given - trained) > 1e-6 * trained:
        raise MgcError(
            f"{name}={given:g} {unit}, but {ckpt} was trained with {trained:g} {unit}. "
            f"Leave --{name} out."
        )
