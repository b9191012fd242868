"""Sweeps in W&B's own format, read without W&B: which settings each run has.

Source of the format: https://docs.wandb.ai/models/sweeps/sweep-config-keys
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from mgc.errors import MgcError

#: Values of the swept parameters of one run, by name.
Settings = dict[str, Any]

#: What a sweep may say; the last ones mean something to W&B only.
KEYS = ("method", "metric", "parameters", "command", "run_cap")
ONLY_WANDB = ("program", "name", "description", "project", "entity")

#: Keys of each distribution besides ``distribution`` itself, and which of them have a default.
DISTRIBUTIONS: dict[str, dict[str, float | None]] = {
    "uniform": {"min": None, "max": None},
    "q_uniform": {"min": None, "max": None, "q": 1.0},
    "int_uniform": {"min": None, "max": None},
    "log_uniform": {"min": None, "max": None},
    "log_uniform_values": {"min": None, "max": None},
    "q_log_uniform_values": {"min": None, "max": None, "q": 1.0},
    "normal": {"mu": 0.0, "sigma": 1.0},
    "q_normal": {"mu": 0.0, "sigma": 1.0, "q": 1.0},
    "log_normal": {"mu": 0.0, "sigma": 1.0},
}

ARGUMENTS = "${args}"


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        method: ``grid`` or ``random``.
        metric: Name of the metric that runs are compared by.
        maximize: Whether more of it is better.
        parameters: What is said of each parameter, by name.
        command: Words of the command, with ``${args}`` where the settings go.
        run_cap: Largest number of runs, if there is one.
    """

    method: str
    metric: str
    maximize: bool
    parameters: dict[str, dict[str, Any]]
    command: tuple[str, ...]
    run_cap: int | None = None

    @classmethod
    def parse(cls, text: str, path: str) -> "Sweep":
        """Read a sweep.

        Args:
            text: YAML in W&B's format.
            path: What to call it in errors.

        Raises:
            MgcError: If it is no sweep, or says something that only W&B can do.
        """
        try:
            said = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise MgcError(f"{path}: not valid YAML: {error}") from error
        if not isinstance(said, dict) or not isinstance(said.get("parameters"), dict):
            raise MgcError(f"{path}: no sweep. It needs method, metric, parameters and command.")
        unknown = sorted(said.keys() - {*KEYS, *ONLY_WANDB})
        if unknown:
            raise MgcError(
                f"{path}: {', '.join(unknown)} is not supported without W&B's server. Leave it "
                "out, or use wandb sweep."
            )
        method = said.get("method")
        if method not in ("grid", "random"):
            raise MgcError(
                f"{path}: method {method!r} is not supported without W&B's server, only grid and "
                "random are. Use wandb sweep for the others."
            )
        metric = said.get("metric") or {}
        if not metric.get("name") or metric.get("goal", "minimize") not in ("minimize", "maximize"):
            raise MgcError(f"{path}: metric needs a name and a goal, minimize or maximize.")
        for name, parameter in said["parameters"].items():
            check_parameter(f"{path}: parameter {name}", parameter, method)
        return cls(
            method,
            metric["name"],
            metric.get("goal") == "maximize",
            said["parameters"],
            tuple(read_command(said.get("command"), path)),
            said.get("run_cap"),
        )

    @property
    def varied(self) -> list[str]:
        """Names of the parameters that may differ between runs."""
        said = self.parameters.items()
        return [name for name, parameter in said if distribution(parameter) != "constant"]

    def settings(self, count: int | None, seed: int) -> list[Settings]:
        """Settings of the runs.

        Args:
            count: Number of runs; a grid has no more than it has points.
            seed: Seed of random settings. Those of run n depend on it and n alone, so that a
                sweep can be made longer.

        Raises:
            MgcError: If the number of random runs is not known.
        """
        limits = [limit for limit in (count, self.run_cap) if limit is not None]
        if self.method == "grid":
            return list(itertools.islice(self._grid(), min(limits, default=None)))
        if not limits:
            raise MgcError("A random sweep has no end: give --count, or run_cap in its file.")
        return [self._draw(number, seed) for number in range(min(limits))]

    def words(self, settings: Settings) -> list[str]:
        """Words of the command of a run, as W&B's agent makes them.

        Args:
            settings: Its settings.
        """
        options = [f"--{name}={value}" for name, value in settings.items()]
        places = ([word] if word != ARGUMENTS else options for word in self.command)
        return [word for words in places for word in words]

    def _grid(self) -> Iterator[Settings]:
        values = [_points(parameter) for parameter in self.parameters.values()]
        for point in itertools.product(*values):
            yield dict(zip(self.parameters, point, strict=True))

    def _draw(self, number: int, seed: int) -> Settings:
        rng = np.random.default_rng([seed, number])
        return {name: draw(parameter, rng) for name, parameter in self.parameters.items()}


def check_parameter(where: str, parameter: Any, method: str) -> None:
    """Check what a sweep says of a parameter.

    Args:
        where: Beginning of the error message.
        parameter: What it says.
        method: ``grid`` or ``random``.

    Raises:
        MgcError: If it makes no sense, or is not supported.
    """
    if not isinstance(parameter, dict):
        raise MgcError(f"{where}: give value, values, or min and max.")
    if "parameters" in parameter:
        raise MgcError(f"{where}: nested parameters: write one with dots in its name instead.")
    kind = distribution(parameter)
    if kind == "constant":
        return _check_keys(where, kind, parameter, {"value"}, {"value"})
    if kind in ("categorical", "categorical_w_probabilities"):
        _check_keys(where, kind, parameter, {"values"}, {"values", "probabilities"})
        values, shares = parameter["values"], parameter.get("probabilities")
        if not isinstance(values, list) or not values:
            raise MgcError(f"{where}: values must be a list with at least one value.")
        if shares is not None and (
            len(shares) != len(values) or not math.isclose(sum(shares), 1, abs_tol=1e-6)
        ):
            raise MgcError(f"{where}: give one probability for each value, with the sum 1.")
        return None
    if kind not in DISTRIBUTIONS:
        raise MgcError(
            f"{where}: distribution {kind!r} is not supported without W&B's server, only constant, "
            f"categorical, {', '.join(DISTRIBUTIONS)} are."
        )
    keys = DISTRIBUTIONS[kind]
    needed = {key for key, default in keys.items() if default is None}
    _check_keys(where, kind, parameter, needed, set(keys))
    for key in keys.keys() & parameter.keys():
        value = parameter[key]
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            # YAML reads 1e-3 as text: it wants 1.0e-3.
            raise MgcError(f"{where}: {key}: {value!r} is no number. Write 0.001, not 1e-3.")
    if "min" in keys and parameter["min"] > parameter["max"]:
        raise MgcError(f"{where}: min is larger than max.")
    if kind.endswith("_values") and parameter["min"] <= 0:
        raise MgcError(f"{where}: min must be above 0 for {kind}.")
    if method == "grid" and kind != "int_uniform":
        raise MgcError(f"{where}: a grid needs value, values or whole numbers, not {kind}.")
    return None


def distribution(parameter: dict[str, Any]) -> str:
    """Name the distribution of a parameter, which W&B infers where it is not given.

    Args:
        parameter: What a sweep says of it.
    """
    if "distribution" in parameter:
        return str(parameter["distribution"])
    if "value" in parameter:
        return "constant"
    if "values" in parameter:
        return "categorical"
    whole = all(isinstance(parameter.get(key), int) for key in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def draw(parameter: dict[str, Any], rng: np.random.Generator) -> Any:
    """Draw a value of a parameter.

    Args:
        parameter: What a sweep says of it.
        rng: Source of randomness.

    Returns:
        A plain value. ``log_uniform`` takes its ends as exponents of e, ``log_uniform_values`` as
        values; those with ``q_`` are rounded to multiples of ``q``.
    """
    kind = distribution(parameter)
    if kind == "constant":
        return parameter["value"]
    if kind in ("categorical", "categorical_w_probabilities"):
        values = parameter["values"]
        return values[int(rng.choice(len(values), p=parameter.get("probabilities")))]
    given: dict[str, Any] = {}
    for key, default in DISTRIBUTIONS[kind].items():
        given[key] = parameter.get(key, default)
    if kind == "int_uniform":
        return int(rng.integers(given["min"], given["max"], endpoint=True))
    shape = kind.removeprefix("q_")
    if shape == "uniform":
        value = rng.uniform(given["min"], given["max"])
    elif shape == "log_uniform":
        value = math.exp(rng.uniform(given["min"], given["max"]))
    elif shape == "log_uniform_values":
        value = math.exp(rng.uniform(math.log(given["min"]), math.log(given["max"])))
    else:
        value = rng.normal(given["mu"], given["sigma"])
        value = math.exp(value) if shape == "log_normal" else value
    if "q" in given:
        # To fifteen digits, so that 3 · 0.1 is 0.3.
        value = float(f"{round(value / given['q']) * given['q']:.15g}")
    return float(value)


def read_command(command: Any, path: str) -> list[str]:
    """Read the command of a sweep.

    Args:
        command: Words of the command, as W&B takes them.
        path: What to call the sweep in errors.

    Returns:
        The words after ``mgc fit``.

    Raises:
        MgcError: If it is not a fit of mgc with ``${args}``.
    """
    words = [str(word) for word in command] if isinstance(command, list) else []
    words = [word for word in words if word not in ("${env}", "/usr/bin/env")]
    if words[:2] != ["mgc", "fit"] or words.count(ARGUMENTS) != 1:
        raise MgcError(
            f"{path}: command must be the list mgc, fit, options of mgc fit, and {ARGUMENTS}."
        )
    words = words[2:]
    macros = [word for word in words if re.search(r"\$\{.*\}", word) and word != ARGUMENTS]
    if macros:
        raise MgcError(f"{path}: {macros[0]} is not supported without W&B's server.")
    return words


def config_names(command: Sequence[str]) -> list[str]:
    """Find the configurations that a command names, files or shipped ones.

    Args:
        command: Words after ``mgc fit``.
    """
    split = [part for word in command for part in word.split("=", 1)]
    return [b for a, b in itertools.pairwise(split) if a in ("--config", "-c")]


def _points(parameter: dict[str, Any]) -> list[Any]:
    kind = distribution(parameter)
    if kind == "constant":
        return [parameter["value"]]
    if kind == "int_uniform":
        return list(range(parameter["min"], parameter["max"] + 1))
    return list(parameter["values"])


def _check_keys(
    where: str, kind: str, parameter: dict[str, Any], needed: set[str], known: set[str]
) -> None:
    given = parameter.keys() - {"distribution"}
    if needed - given:
        raise MgcError(f"{where}: {kind} needs {', '.join(sorted(needed - given))}.")
    if given - known:
        raise MgcError(f"{where}: {', '.join(sorted(given - known))} is not known for {kind}.")
