"""Opens the model and the audio of an extraction."""

import inspect
from typing import Any

import torch
from lightning.pytorch import LightningModule

from mgc import registry
from mgc.core.plugins import describe_error
from mgc.core.ranges import check_arguments
from mgc.data.base import AudioDataModule
from mgc.data.unlabelled import AudioFiles
from mgc.errors import MgcError
from mgc.models.base import MusicModel


def make_model(name: str, sample_rate: int, args: dict[str, Any], seed: int) -> LightningModule:
    """Create a registered model with random weights, or with the initial weights it loads.

    The global random state does not change. An unknown model or wrong arguments raise an MgcError.
    """
    component = registry.load("model", name)
    parameters = inspect.signature(component).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    # In training, the data sets these. A fixed number of classes keeps random weights reproducible.
    filled = {"num_classes": 2, "task": "multiclass", "sample_rate": sample_rate}
    given = {key: value for key, value in filled.items() if takes_any or key in parameters}
    given |= untrained_arguments(name) | args
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: LightningModule = _call(component, f"--model {name}", given)
        if isinstance(model, MusicModel):
            model.load_initial_weights()
    return model


def untrained_arguments(name: str) -> dict[str, Any]:
    """Return the arguments that a registered model has for features with random weights."""
    return dict(getattr(registry.load("model", name), "untrained_arguments", {}))


def open_data(
    audio: list[str], name: str | None, args: dict[str, Any], settings: dict[str, Any]
) -> AudioDataModule:
    """Set up the data module of a dataset, or of plain audio files.

    Args:
        audio: Folder of the dataset, or audio files and folders.
        name: Registered name of the dataset; None for plain audio files.
        args: Further arguments of the data module.
        settings: Arguments that are options of the command; ``args`` must not contain them.
    """
    if name is None:
        data: AudioDataModule = AudioFiles(audio, **settings, **args)
    else:
        component = registry.load("data", name)
        if not issubclass(component, AudioDataModule):
            raise MgcError(f"--data {name}: has no audio to extract features from.")
        if len(audio) != 1:
            raise MgcError(f"--data {name}: pass only the folder of the dataset.")
        for key in args:
            if key in settings or key == "root":
                raise MgcError(f"--data_args.{key}: this command has its own option for that.")
        data = _call(component, f"--data {name}", {"root": audio[0], **settings, **args})
    data.setup("test")
    return data


def _call(component: type, option: str, args: dict[str, Any]) -> Any:
    """Create a component; report wrong arguments as an MgcError."""
    check_arguments(component, args)
    try:
        return component(**args)
    except TypeError as error:
        if describe_error(error):  # raised inside a plugin's constructor
            raise
        raise MgcError(f"{option}: {error}. Check its arguments.") from error
