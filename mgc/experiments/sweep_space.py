"""Parses sweeps in W&B's format, and chooses the settings of each run.

Source of the format: https://docs.wandb.ai/models/sweeps/sweep-config-keys
"""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgc.core.yaml_files import load_yaml
from mgc.errors import MgcError
from mgc.training.options import option_name

#: Values of the swept parameters of a run, by name.
Settings = dict[str, Any]

#: Supported keys of a sweep, and keys that only W&B uses.
KEYS = ("method", "metric", "parameters", "command", "run_cap")
WANDB_KEYS = ("program", "name", "description", "project", "entity")

#: Keys of each distribution besides ``distribution``. Those with the value None are required.
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

#: Placeholder for the settings in a sweep's command.
ARGUMENTS = "${args}"


@dataclass(frozen=True)
class Sweep:
    """Sweep in W&B's format.

    Attributes:
        method: ``grid`` or ``random``.
        metric: Metric to compare runs by.
        maximize: Whether larger values of the metric are better.
        parameters: W&B's definition of each parameter, by name.
        command: Arguments after ``mgc fit``, including ``${args}``.
        run_cap: Maximum number of runs.
    """

    method: str
    metric: str
    maximize: bool
    parameters: dict[str, dict[str, Any]]
    command: tuple[str, ...]
    run_cap: int | None = None

    @classmethod
    def parse(cls, text: str, path: str) -> "Sweep":
        """Parse YAML in W&B's format; error messages begin with ``path``.

        Raises:
            MgcError: If the sweep is invalid, or needs W&B's server.
        """
        config = load_yaml(text, path)
        if not isinstance(config, dict) or not isinstance(config.get("parameters"), dict):
            raise MgcError(f"{path}: a sweep needs method, metric, parameters and command.")
        unknown = sorted(config.keys() - {*KEYS, *WANDB_KEYS})
        if unknown:
            raise MgcError(
                f"{path}: {', '.join(unknown)} is not supported without W&B's server. Remove it, "
                "or use wandb sweep."
            )
        method = config.get("method")
        if method not in ("grid", "random"):
            raise MgcError(
                f"{path}: method {method!r} is not supported without W&B's server. Use grid or "
                "random, or wandb sweep."
            )
        metric = config.get("metric") or {}
        if not metric.get("name") or metric.get("goal", "minimize") not in ("minimize", "maximize"):
            raise MgcError(f"{path}: metric needs a name and a goal, minimize or maximize.")
        names: dict[str, str] = {}
        for name, parameter in config["parameters"].items():
            check_parameter(f"{path}: parameter {name}", parameter, method)
            other = names.setdefault(option_name(name), name)
            if other != name:
                raise MgcError(f"{path}: {other} and {name} are the same parameter. Remove one.")
        return cls(
            method,
            metric["name"],
            metric.get("goal") == "maximize",
            config["parameters"],
            tuple(_parse_command(config.get("command"), path)),
            config.get("run_cap"),
        )

    @property
    def varied(self) -> list[str]:
        """Names of the parameters that may differ between runs."""
        return [name for name, p in self.parameters.items() if infer_distribution(p) != "constant"]

    def choose_settings(self, count: int | None, seed: int) -> list[Settings]:
        """Return the settings of all runs.

        Args:
            count: Maximum number of runs. A grid has at most one run per point.
            seed: Seed of random settings. The settings of run n depend only on n and the seed, so
                that a sweep can be extended.

        Raises:
            MgcError: If neither ``count`` nor ``run_cap`` limits a random sweep.
        """
        limits = [limit for limit in (count, self.run_cap) if limit is not None]
        if self.method == "grid":
            values = [_points(parameter) for parameter in self.parameters.values()]
            points = itertools.islice(itertools.product(*values), min(limits, default=None))
            return [dict(zip(self.parameters, point, strict=True)) for point in points]
        if not limits:
            raise MgcError("A random sweep needs a number of runs. Set --count or run_cap.")
        return [dict(self._draw(number, seed)) for number in range(min(limits))]

    def build_options(self, settings: Settings) -> list[str]:
        """Return the options of ``mgc fit`` for a run, in the order that W&B's agent uses."""
        options = [f"--{name}={value}" for name, value in settings.items()]
        parts = ([word] if word != ARGUMENTS else options for word in self.command)
        return [word for part in parts for word in part]

    def _draw(self, number: int, seed: int) -> Iterator[tuple[str, Any]]:
        rng = np.random.default_rng([seed, number])
        for name, parameter in self.parameters.items():
            yield name, draw(parameter, rng)


def check_parameter(where: str, parameter: Any, method: str) -> None:
    """Check the definition of a parameter for ``grid`` or ``random`` search.

    Raises:
        MgcError: If it is invalid or not supported. The message begins with ``where``.
    """
    if not isinstance(parameter, dict):
        raise MgcError(f"{where}: needs value, values, or min and max.")
    if "parameters" in parameter:
        raise MgcError(f"{where}: nested parameters are not supported. Use dots in its name.")
    kind = infer_distribution(parameter)
    if kind == "constant":
        return _check_keys(where, kind, parameter, {"value"}, {"value"})
    if kind in ("categorical", "categorical_w_probabilities"):
        _check_keys(where, kind, parameter, {"values"}, {"values", "probabilities"})
        values, probabilities = parameter["values"], parameter.get("probabilities")
        if not isinstance(values, list) or not values:
            raise MgcError(f"{where}: values must be a list with at least one value.")
        if probabilities is not None and (
            len(probabilities) != len(values)
            or not math.isclose(sum(probabilities), 1, abs_tol=1e-6)
        ):
            raise MgcError(f"{where}: needs one probability per value, with a sum of 1.")
        return None
    if kind not in DISTRIBUTIONS:
        raise MgcError(
            f"{where}: distribution {kind!r} is not supported without W&B's server. Use constant, "
            f"categorical, {', '.join(DISTRIBUTIONS)}."
        )
    keys = DISTRIBUTIONS[kind]
    required = {key for key, default in keys.items() if default is None}
    _check_keys(where, kind, parameter, required, set(keys))
    for key in keys.keys() & parameter.keys():
        value = parameter[key]
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            # YAML 1.1 reads 1e-3 as text, 1.0e-3 as a number.
            raise MgcError(f"{where}: {key}: {value!r} is not a number. Write 0.001, not 1e-3.")
    if "min" in keys and parameter["min"] > parameter["max"]:
        raise MgcError(f"{where}: min is larger than max.")
    if kind.endswith("_values") and parameter["min"] <= 0:
        raise MgcError(f"{where}: min must be greater than 0 for {kind}.")
    if method == "grid" and kind != "int_uniform":
        raise MgcError(f"{where}: a grid needs value, values or whole numbers, not {kind}.")
    return None


def infer_distribution(parameter: dict[str, Any]) -> str:
    """Return the distribution of a parameter, inferred as W&B does if it is not given."""
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

    ``log_uniform`` takes ``min`` and ``max`` as exponents of e, ``log_uniform_values`` as values.
    Distributions that begin with ``q_`` are rounded to multiples of ``q``.
    """
    kind = infer_distribution(parameter)
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
        # Round to fifteen digits, so that 3 · 0.1 is 0.3.
        value = float(f"{round(value / given['q']) * given['q']:.15g}")
    return float(value)


def _parse_command(command: Any, path: str) -> list[str]:
    """Return the arguments after ``mgc fit`` in a sweep's command."""
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


def _points(parameter: dict[str, Any]) -> list[Any]:
    kind = infer_distribution(parameter)
    if kind == "constant":
        return [parameter["value"]]
    if kind == "int_uniform":
        return list(range(parameter["min"], parameter["max"] + 1))
    return list(parameter["values"])


def _check_keys(
    where: str, kind: str, parameter: dict[str, Any], required: set[str], known: set[str]
) -> None:
    given = parameter.keys() - {"distribution"}
    if required - given:
        raise MgcError(f"{where}: {kind} needs {', '.join(sorted(required - given))}.")
    if given - known:
        raise MgcError(f"{where}: {', '.join(sorted(given - known))} is not a key of {kind}.")
