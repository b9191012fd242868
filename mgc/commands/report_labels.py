"""``mgc report labels``: find wrong labels."""

from typing import Annotated, Any

from mgc.core.ranges import Range
from mgc.core.terminal import print_line, print_text
from mgc.core.writing import writes_folder


@writes_folder("out", apart=True)
def report_labels(
    runs: list[str],
    out: str,
    top: Annotated[int, Range(0, 10000)] = 50,
    data: str | None = None,
    root: str | None = None,
    data_args: dict[str, Any] | None = None,
) -> None:
    """Find tracks whose labels are contradicted by the predictions of cross-validated models.

    Needs the extra `labels` of mgc. Writes report.md: the estimated share of wrong labels, with its
    95 % interval, and the suspected tracks by class; labels.csv: all tracks, the most suspicious
    first, with the suggested label; and labels.html: players and spectrograms of the first tracks.
    To correct labels, change the column label of labels.csv, or write yes into the column exclude;
    then train with --data.relabel labels.csv --data.exclude labels.csv.

    Example: mgc report labels runs/crossval/stft runs/crossval/music --out labels

    Example: mgc report labels cv --out labels --data gtzan --root data/gtzan

    Args:
        runs: Folders with results of mgc crossval, transfer (with --probabilities), test or fuse on
            the same tracks. Probabilities are averaged over models and seeds.
        out: Folder for the report.
        top: Number of tracks in labels.html.
        data: Name of the data set, as in mgc list, for players; by default that of the first run
            with a configuration.
        root: Folder of the data set; by default that of the configuration.
        data_args: Arguments of the data set, as in --data_args.table tracks.csv.

    Raises:
        MgcError: If results are missing, do not match or are not of classes or tags.
    """
    from mgc.errors import MgcError
    from mgc.reports.label_errors import find_audio, find_label_errors

    errors = find_label_errors(runs)
    audio, problem = None, ""
    try:
        audio = find_audio(runs, data, root, data_args)
    except MgcError as error:
        if data or root or data_args:
            raise
        problem = str(error)
        print_line(f"labels.html has no players: {problem}")
    errors.save(out, audio, top, problem)
    print_text(errors.text)
    print_line(f"Written to {out}")
