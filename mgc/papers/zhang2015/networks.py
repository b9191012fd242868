"""Networks of Zhang et al. (2015): configurations, values of the study, lookup tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mgc.features.frame_bands import FRAME_FEATURES

#: Learning rate at which lookup tables change. At the paper's, 0.02, they remain the centres.
TABLE_LR = 2


class Network(NamedTuple):
    """Configuration of a network.

    Attributes:
        config: First part of the configuration's name, such as ``kcnn`` in ``kcnn_gtzan``.
        options: Options of ``mgc fit`` that distinguish the network from its configuration.
    """

    config: str
    options: tuple[str, ...] = ()


#: Hyperparameters of table 1 that the study of section 4.4 varies.
TABLE_1 = {"window": 5, "k": 5, "units": 500, "hidden": 300}

#: Values in the study.
STUDY = {
    "window": (1, 3, 5, 9, 15),
    "k": (1, 2, 5, 10),
    "units": (50, 150, 500, 1500),
    "hidden": (30, 100, 300, 1000),
}


def study_network(setting: str, value: int) -> str:
    """Return the name of the network of the study with this value of a setting.

    Names with ``study/`` are those of networks that the tables do not have.
    """
    if value == TABLE_1[setting]:
        return "kcnn"
    return "kcnn_k1" if (setting, value) == ("k", 1) else f"study/{setting}_{value}"


NETWORKS = {
    name: Network(name)
    for name in ("sparse_coding", "autoencoder", "dbn", "kcnn_frozen", "kcnn", "kcnn_k1")
} | {"kcnn_table_lr": Network("kcnn", (f"--model.table_lr={TABLE_LR}",))}
NETWORKS |= {
    study_network(setting, value): Network("kcnn", (f"--model.{setting}={value}",))
    for setting, values in STUDY.items()
    for value in values
    if study_network(setting, value) not in NETWORKS
}


def measure_change(weights: Mapping[str, Tensor]) -> float:
    """Return how far training has moved the lookup tables, relative to the cluster centres.

    Args:
        weights: ``state_dict`` of a :class:`mgc.models.kcnn.KCNNClassifier`.
    """
    pairs = [
        (weights[f"net.tables.{name}.weight"], weights[f"words.centres_{name}"])
        for name in FRAME_FEATURES
        if f"words.centres_{name}" in weights
    ]
    moved = sum(float((table - centres).square().sum()) for table, centres in pairs)
    return (moved / sum(float(centres.square().sum()) for _, centres in pairs)) ** 0.5


def measure_changes(checkpoints: Mapping[str, str]) -> list[float]:
    """Return :func:`measure_change` of the checkpoints that still exist."""
    from mgc import checkpoint

    return [
        measure_change(checkpoint.read(path)["state_dict"])
        for path in checkpoints.values()
        if Path(path).is_file()
    ]
