"""``mgc crossval``: cross-validate a model."""

from typing import Annotated

from mgc.core.ranges import Processes, Range
from mgc.core.terminal import print_line, print_text


def crossval(
    *overrides: str,
    config: str,
    folds: Annotated[int, Range(1, 1000)] = 10,
    repeats: Annotated[int, Range(1, 1000)] = 1,
    seeds: str = "",
    test_folds: Annotated[int, Range(1, 1000)] | None = None,
    out: str | None = None,
    jobs: Processes | None = None,
) -> None:
    """Cross-validate a model: one fit and one test per fold, as runs of one W&B group.

    Each checkpoint is selected on the validation fold, as set in the configuration, and tested on
    the test fold. Splits only depend on the seed, so models trained on the same data have the same
    folds and `mgc fuse` can combine them. To resume an interrupted cross-validation, run the same
    command again.

    With `--folds 1`, the configuration's own split (such as given or fault_filtered) is used, with
    one fit and one test per seed. `--repeats 10` then reports mean and standard deviation of ten
    runs; the interval is over tracks, and each track counts once.

    Writes to OUT: `test` and `validate` (results of all folds), folds.csv, summary.csv,
    confusion_matrix.csv and .png, per_class.csv. If the folds are logged to W&B, the summary is
    logged as another run of their group.

    Arguments after `--` are options of `mgc fit` that override the configuration.

    Example: mgc crossval --config vgg_gtzan --folds 10 --repeats 2 -- --data.root PATH

    Example: mgc crossval --config vgg_ismir2004 --folds 1 --repeats 10 -- --data.root PATH

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        config: YAML file or name of a shipped configuration, as for `mgc fit`.
        folds: Number of folds, at least 3, or 1 for the configuration's own split. For data sets
            with given folds, it must be their number.
        repeats: Number of repetitions, with the seeds 0, 1, 2, ….
        seeds: Seeds of splits and training, separated by commas, instead of repeats.
        test_folds: Number of folds to train and test, starting with the first; by default all. 1
            gives a single split of the same proportions. The other folds can be added later.
        out: Folder for the results; by default runs/crossval/NAME-OF-CONFIG.
        jobs: Number of folds to run in parallel; by default the number of GPUs, or 1. With more
            than one, each fold uses one GPU.

    Raises:
        MgcError: If a setting is wrong, OUT contains another cross-validation, or a fold fails.
    """
    from mgc.experiments.crossval import cross_validate

    try:
        numbers = [int(word) for word in seeds.split(",")] if seeds else list(range(repeats))
    except ValueError:
        numbers = []
    summary = cross_validate(config, out, overrides, folds, numbers, test_folds, jobs)
    print_text(summary.text)
    print_line(f"Written to {summary.folder}")
