"""Parsing of sweeps in W&B's format."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from mgc.configurations import find_configuration
from mgc.errors import MgcError
from mgc.experiments.sweep_space import Sweep, draw
from mgc.training.options import CONFIG_OPTIONS, option_values

CONFIGS = Path(__file__).parents[2] / "configs"
COMMAND = ["mgc", "fit", "--config", "a.yaml", "${args}"]


def sweep(parameters: dict[str, Any], method: str = "random", **more: Any) -> Sweep:
    config = {"method": method, "parameters": parameters, "command": COMMAND} | more
    config.setdefault("metric", {"name": "val/loss"})
    return Sweep.parse(yaml.safe_dump(config), "sweep.yaml")


def test_a_grid_has_every_combination() -> None:
    grid = sweep({"a": {"values": [1, 2]}, "b": {"value": "x"}, "c": {"min": 3, "max": 4}}, "grid")
    assert grid.choose_settings(None, seed=0) == [
        {"a": 1, "b": "x", "c": 3},
        {"a": 1, "b": "x", "c": 4},
        {"a": 2, "b": "x", "c": 3},
        {"a": 2, "b": "x", "c": 4},
    ]
    assert len(grid.choose_settings(3, seed=0)) == 3


def test_an_extended_random_sweep_keeps_its_settings() -> None:
    space = sweep({"lr": {"min": 0.0, "max": 1.0}, "n": {"values": [1, 2, 3]}})
    long, other = space.choose_settings(10, seed=0), space.choose_settings(10, seed=1)
    assert space.choose_settings(4, seed=0) == long[:4]
    assert long != other
    assert len({run["lr"] for run in long}) == 10
    assert len(sweep({"lr": {"min": 0.0, "max": 1.0}}, run_cap=2).choose_settings(5, seed=0)) == 2


def draws(**parameter: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([draw(parameter, rng) for _ in range(4000)])


def test_draws_follow_their_distributions() -> None:
    assert draws(min=2.0, max=4.0).mean() == pytest.approx(3, abs=0.05)
    whole = draws(min=1, max=3)
    assert sorted(set(whole.tolist())) == [1, 2, 3]
    decades = np.log10(draws(distribution="log_uniform_values", min=0.0001, max=1.0))
    assert np.histogram(decades, 4, (-4, 0))[0] == pytest.approx([1000] * 4, rel=0.1)
    exponents = draws(distribution="log_uniform", min=-2, max=0)
    assert exponents.min() >= math.exp(-2)
    assert np.log(exponents).mean() == pytest.approx(-1, abs=0.05)
    steps = draws(distribution="q_uniform", min=0.0, max=0.5, q=0.1)
    assert sorted(set(steps.tolist())) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    normal = draws(distribution="normal", mu=5.0, sigma=2.0)
    assert (normal.mean(), normal.std()) == pytest.approx((5, 2), abs=0.1)
    often = draws(values=["a", "b"], probabilities=[0.9, 0.1])
    assert (often == "a").mean() == pytest.approx(0.9, abs=0.03)


def test_options_equal_those_of_wandbs_agent() -> None:
    settings = {"model.lr": 0.002, "model.channels": 16, "data.packed": True, "x": None}
    expected = create_sweep_command_args({"args": {k: {"value": v} for k, v in settings.items()}})
    words = sweep({"model.lr": {"value": 0.002}}).build_options(settings)
    assert words == ["--config", "a.yaml", *expected["args"]]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("sweeps/*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweeps(path: Path) -> None:
    shipped = Sweep.parse(path.read_text(), path.name)
    runs = shipped.choose_settings(5, seed=0)
    # Pretraining is a sweep of a single run.
    pretraining = path.stem == "conv_dbn_pretrain"
    assert len({tuple(run.items()) for run in runs}) == (1 if pretraining else 5)
    (config,) = option_values(shipped.build_options(runs[0]), *CONFIG_OPTIONS)
    assert find_configuration(config).samefile(CONFIGS.parent / config)
    assert shipped.maximize != pretraining


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "bayes"}, "method 'bayes' is not supported without W&B's server"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate is not supported"),
        ({"metric": {"goal": "maximize"}}, "metric needs a name"),
        ({"command": ["python", "train.py"]}, "command must be the list mgc, fit"),
        ({"command": [*COMMAND, "${args_json}"]}, r"\$\{args_json\} is not supported"),
        ({"parameters": {"a": {"min": 0.1}}}, "parameter a: uniform needs max"),
        ({"parameters": {"a": {"min": 2, "max": 1}}}, "min is larger than max"),
        ({"parameters": {"a": {"min": "1e-3", "max": 1}}}, "'1e-3' is not a number"),
        ({"parameters": {"a": {"values": []}}}, "at least one value"),
        ({"parameters": {"a": {"values": [1], "q": 2}}}, "q is not a key of categorical"),
        ({"parameters": {"a": {"distribution": "beta"}}}, "'beta' is not supported without"),
        ({"parameters": {"a": {"parameters": {}}}}, "dots in its name"),
        ({"method": "grid", "parameters": {"a": {"min": 0.0, "max": 1.0}}}, "a grid needs value"),
        (
            {"parameters": {"a": {"distribution": "log_uniform_values", "min": 0, "max": 1}}},
            "min must be greater than 0",
        ),
    ],
)
def test_unsupported_sweeps_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(MgcError, match=message):
        sweep(**{"parameters": {"a": {"value": 1}}} | config)


def test_a_random_sweep_needs_a_number_of_runs() -> None:
    with pytest.raises(MgcError, match="Set --count or run_cap"):
        sweep({"a": {"values": [1, 2]}}).choose_settings(None, seed=0)
