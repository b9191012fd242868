"""Test the checks of a configuration's settings."""

from typing import Any

import pytest
from jsonargparse import Namespace

from mgc.errors import MgcError
from mgc.training.settings import check_settings


def as_namespace(settings: dict[str, Any]) -> Namespace:
    """Convert settings as a parser does."""
    return Namespace(
        **{k: as_namespace(v) if isinstance(v, dict) else v for k, v in settings.items()}
    )


def configuration(**sections: Any) -> Namespace:
    """Return parsed settings of a small model, with other sections."""
    settings: dict[str, Any] = {
        "seed_everything": 0,
        "model": {
            "class_path": "mgc.models.vgg.VGGTagger",
            "init_args": {"num_classes": None, "channels": 4},
        },
        "data": {"class_path": "mgc.data.gtzan.GTZAN", "init_args": {"root": "data/gtzan"}},
        "trainer": {"max_epochs": 1, "devices": "auto"},
    }
    return as_namespace(settings | sections)


def test_right_settings_pass() -> None:
    check_settings(configuration())
    check_settings(configuration(seed_everything=True, trainer={"max_epochs": -1, "devices": [0]}))
    for batches in (1, 2, 2.0, 1.0, 0.5, None):
        check_settings(configuration(trainer={"limit_train_batches": batches}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate_grad_batches", 0),
        ("check_val_every_n_epoch", 0),
        ("devices", 0),
        ("gradient_clip_val", -1),
        ("gradient_clip_val", float("nan")),
        ("limit_train_batches", 0),
        ("limit_train_batches", -1),
        ("limit_val_batches", 1.5),
        ("log_every_n_steps", 0),
        ("max_epochs", 0),
        ("max_steps", -5),
        ("num_nodes", 0),
    ],
)
def test_lightnings_settings_have_ranges(name: str, value: Any) -> None:
    with pytest.raises(MgcError, match=f"^--trainer.{name}={value}: must be a .*number"):
        check_settings(configuration(trainer={name: value}))


@pytest.mark.parametrize("seed", [-1, 2**40])
def test_seeds_have_a_range(seed: int) -> None:
    with pytest.raises(MgcError, match=f"^--seed_everything={seed}: must be"):
        check_settings(configuration(seed_everything=seed))


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        ("model", {"channels": 0}, "^--model.channels=0: must be a whole number from 1"),
        ("model", {"lr": float("nan")}, "^--model.lr=nan: must be a number from 0"),
        ("data", {"root": None}, "^--data.root=None: must be text"),
        ("data", {"root": ""}, "^--data.root='': must not be empty"),
    ],
)
def test_arguments_of_classes_are_checked(section: str, settings: Any, message: str) -> None:
    config = configuration()
    config[section].init_args = as_namespace(settings)
    with pytest.raises(MgcError, match=message):
        check_settings(config)


def test_callbacks_and_optimizers_are_checked() -> None:
    stopping = Namespace(
        class_path="lightning.pytorch.callbacks.EarlyStopping",
        init_args=Namespace(monitor="val/loss", patience=-1),
    )
    with pytest.raises(MgcError, match=r"EarlyStopping\.patience=-1: must be"):
        check_settings(configuration(trainer={"callbacks": [stopping]}))
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": -1.0}}
    with pytest.raises(MgcError, match=r"^--optimizer\.lr=-1\.0: must be"):
        check_settings(configuration(optimizer=adam))
