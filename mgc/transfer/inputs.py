"""What features are computed with and of: models by name, data sets and audio files."""

import inspect
from typing import Any

import torch
from lightning.pytorch import LightningModule

from mgc import registry
from mgc.data.base import AudioDataModule
from mgc.data.unlabelled import AudioFiles
from mgc.errors import MgcError
from mgc.models.base import MusicModel


def make_model(name: str, sample_rate: int, args: dict[str, Any], seed: int) -> LightningModule:
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
) -> AudioDataModule:
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
