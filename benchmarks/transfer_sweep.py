"""Speed of the transfer sweep against GridSearchCV, and against the solver's own time.

Every combination of five layers of 32 features, 1000 tracks of ten classes, ten folds, 32 settings
with and without standardisation. The peer, ``GridSearchCV`` with as many processes, is run on a
sample of combinations (of the sweep's average width) just before or after ours, and scaled to all
31; with ``--full`` both run all 31, which takes the peer most of an hour, and their scores are
compared. The limit is the time that libsvm takes when all kernels are ready. With one process,
processor time is measured, so that a busy machine does not matter; with several, time on the clock.

    python benchmarks/transfer_sweep.py [--features FILE.parquet ...] [--jobs 2] [--full]
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from mgc.transfer.classifiers import SupportVectorMachine, squared_distances
from mgc.transfer.combinations import load_tables, parse_combinations
from mgc.transfer.experiment import run_transfer
from mgc.transfer.feature_table import FeatureTable
from mgc.transfer.folds import make_plan

SAMPLE = "24,135"  # 2.5 layers on average; all 31 combinations have 2.6


def generated(tracks: int = 1000, classes: int = 10) -> FeatureTable:
    """Overlapping classes: about as hard to tell apart as genres."""
    random = np.random.default_rng(0)
    labels = tuple("abcdefghij"[:classes])
    index = np.arange(tracks) * classes // tracks
    layers = {}
    for number in range(1, 6):
        centres = 0.3 * random.normal(size=(classes, 32))
        values = centres[index] + 0.3 * random.normal(size=(tracks, 32))
        layers[f"block{number}"] = values.astype(np.float32)
    frame = pd.DataFrame({"track": [f"{i:04d}" for i in range(tracks)]})
    frame = frame.assign(group=None, split=None, fold=None, label=[labels[i] for i in index])
    return FeatureTable(frame, layers, "multiclass", labels)


def timed(function, *args, jobs: int = 1, **kwargs) -> float:
    """Seconds that a call takes; of this process alone where there is one, busy machine or not."""
    clock = time.process_time if jobs == 1 else time.perf_counter
    if function is not fit_and_decide:
        kwargs["jobs"] = jobs
    start = clock()
    function(*args, **kwargs)
    return clock() - start


def ours(table: FeatureTable, combinations: dict, nested: bool = False, jobs: int = 1) -> pd.Series:
    """The sweep of this project: best score of each combination."""
    plan = make_plan(table.tracks, table.targets, table.labels, folds=10, nested=nested)
    result = run_transfer(table, combinations, plan, jobs=jobs, quiet=True)
    return result.summary.set_index("layers")["full_grid"]


def grid_search(table: FeatureTable, names: tuple[str, ...], cv, rows=None, jobs: int = 1) -> float:
    """The same settings and folds in scikit-learn: best score."""
    features = np.concatenate([table.layers[name] for name in names], axis=1, dtype=float)
    targets = table.targets
    if rows is not None:
        features, targets = features[rows], targets[rows]
    grid = [
        {
            "scale": ["passthrough", StandardScaler()],
            "machine__kernel": ["rbf"],
            "machine__gamma": [0.5**power for power in (3, 5, 7, 9, 11, 13)]
            + [1 / features.shape[1]],
            "machine__C": [0.1, 2.0, 8.0, 32.0],
        },
        {
            "scale": ["passthrough", StandardScaler()],
            "machine__kernel": ["linear"],
            "machine__C": [0.1, 2.0, 8.0, 32.0],
        },
    ]
    pipeline = Pipeline([("scale", StandardScaler()), ("machine", SVC())])
    search = GridSearchCV(pipeline, grid, cv=cv, n_jobs=jobs, refit=False)
    return search.fit(features, targets).best_score_


def full_sweep(table: FeatureTable, combinations: dict, jobs: int) -> None:
    """Run all combinations in both, and print the times and the largest difference of scores."""
    clock = time.process_time if jobs == 1 else time.perf_counter
    sweep, peer, difference = 0.0, 0.0, 0.0
    for name, names in combinations.items():
        start = clock()
        score = ours(table, {name: names}, jobs=jobs)[name]
        middle = clock()
        expected = grid_search(table, names, StratifiedKFold(10), jobs=jobs)
        sweep, peer = sweep + middle - start, peer + clock() - middle
        difference = max(difference, abs(score - expected))
    print(
        f"all {len(combinations)} combinations: ours {sweep:.0f} s, GridSearchCV {peer:.0f} s, "
        f"{peer / sweep:.1f} times as long; largest difference of scores {difference:.4f}"
    )


def fit_and_decide(cost: float, kernel, test_kernel, targets) -> None:
    """One fit of libsvm on a ready kernel."""
    SVC(C=cost, kernel="precomputed").fit(kernel, targets).predict(test_kernel)


def solver_alone(table: FeatureTable, names: tuple[str, ...]) -> float:
    """Seconds of libsvm's fits and decisions on kernels that are ready, one process."""
    features = np.concatenate([table.layers[name] for name in names], axis=1, dtype=float)
    targets, total = table.targets, 0.0
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for train, test in StratifiedKFold(10).split(features, targets):
            for scaler in (None, StandardScaler().fit(features[train])):
                values = features if scaler is None else scaler.transform(features)
                near = squared_distances(values[train], values[train])
                far = squared_distances(values[test], values[train])
                for setting in SupportVectorMachine().settings(values.shape[1]):
                    if setting["kernel"] == "linear":
                        kernels = values[train] @ values[train].T, values[test] @ values[train].T
                    else:
                        kernels = (np.exp(-setting["gamma"] * part) for part in (near, far))
                    total += timed(fit_and_decide, setting["C"], *kernels, targets[train])
    return total


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="run all 31 combinations")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    table = load_tables(options.features) if options.features else generated()
    jobs = options.jobs
    everything = {
        name: names
        for name, names in parse_combinations("all", list(table.layers)).items()
        if name.isdigit()
    }
    sample = parse_combinations(SAMPLE, list(table.layers))
    train, _ = next(StratifiedKFold(10).split(table.targets, table.targets))
    inner = StratifiedKFold(9)
    ours(table, {"1": ("block1",)}, jobs=jobs)  # starts the processes
    rows = []
    with threadpool_limits(1):
        for name, names in sample.items():
            one = {name: names}
            sweep = timed(ours, table, one, jobs=jobs)
            peer = timed(grid_search, table, names, StratifiedKFold(10), jobs=jobs)
            alone = timed(ours, table, one)
            both = timed(ours, table, one, nested=True, jobs=jobs)
            within = timed(grid_search, table, names, inner, train, jobs=jobs)
            rows.append(
                (name, sweep, peer, peer + 10 * within, both, alone, solver_alone(table, names))
            )
    frame = pd.DataFrame(
        rows,
        columns=[
            "layers",
            "ours",
            "GridSearchCV",
            "nested peer",
            "ours, both",
            "one job",
            "solver",
        ],
    )
    print(f"{len(table.tracks)} tracks, {jobs} processes; seconds a combination")
    print(frame.to_string(index=False, float_format="{:.1f}".format))
    mean = frame.drop(columns="layers").mean()
    print(f"paper protocol: {mean['GridSearchCV'] / mean['ours']:.1f} times GridSearchCV's speed")
    print(
        f"both protocols: {mean['nested peer'] / mean['ours, both']:.1f} times the speed of "
        "GridSearchCV, alone and within each of ten training folds (one of them run, scaled)"
    )
    print(
        f"libsvm alone on ready kernels, one process: {mean['solver'] / mean['one job']:.0%} of "
        "our time (above 100 %: solutions with no coefficient at its bound are not fitted again)"
    )
    print(f"GridSearchCV, scaled to 31 combinations: {31 * mean['GridSearchCV']:.0f} s")
    if options.full:
        with threadpool_limits(1):
            full_sweep(table, everything, jobs)


if __name__ == "__main__":
    main()
