"""``mgc crossval``: train and test a model on every fold, or several times on one split."""


def crossval(
    *overrides: str,
    config: str,
    folds: int = 10,
    repeats: int = 1,
    seeds: str = "",
    test_folds: int | None = None,
    out: str | None = None,
    jobs: int | None = None,
) -> None:
    """Cross-validate a model: one fit and one test per fold, as runs of one W&B group.

    Each fold's checkpoint is chosen as the configuration says, by the validation fold, and then
    tested. Splits depend on the seed alone, so models that are given the same data have the same
    folds and `mgc fuse` can combine them. An interrupted cross-validation goes on where it stopped
    when the same command is given again. With `--folds 1` the split is the one that the
    configuration names (such as given or fault_filtered), one fit and one test per seed, and
    `--repeats 10` is the mean of ten runs with its spread; its interval is over tracks, which
    count once however often they are tested. Written to OUT: `test` and `validate` (results of all
    folds), folds.csv, summary.csv, confusion_matrix.csv and .png, per_class.csv. Where
    the folds go to W&B, so does the summary, as one more run of their group.

    Words after `--` are options of `mgc fit` and change the configuration.

    Example: mgc crossval --config vgg_gtzan --folds 10 --repeats 2 -- --data.root PATH

    Example: mgc crossval --config vgg_ismir2004 --folds 1 --repeats 10 -- --data.root PATH

    Args:
        overrides: Options of `mgc fit`, given after `--`.
        config: YAML file or name of a shipped configuration, as for `mgc fit`.
        folds: Number of folds, 3 or more; data sets that come with folds have their own number. 1
            is the split that the configuration names.
        repeats: How often to repeat it with another seed: 0, 1, 2 and so on.
        seeds: Seeds of the splits and of training, separated by commas, instead of repeats.
        test_folds: How many of the folds to train and test, from the first; by default all. 1 is a
            single split of the same proportions; the other folds can be added later.
        out: Folder for the results; by default runs/crossval/NAME-OF-CONFIG.
        jobs: Folds to run at the same time; by default one per GPU, without a GPU one. With more
            than one, each fold has one GPU to itself.

    Raises:
        MgcError: If settings are wrong, the folder holds another cross-validation, or a fold fails.
    """
    from mgc.experiments.crossval import cross_validate

    try:
        numbers = [int(word) for word in seeds.split(",")] if seeds else list(range(repeats))
    except ValueError:
        numbers = []
    summary = cross_validate(config, out, overrides, folds, numbers, test_folds, jobs)
    print(summary.text)
    print(f"Written to {summary.folder}")
