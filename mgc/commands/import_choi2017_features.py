"""``mgc import choi2017-features``: convert published features to a feature table."""

from mgc.core.terminal import print_line
from mgc.core.writing import writes_file
from mgc.papers.choi2017 import TaskName
from mgc.papers.choi2017.features import read_features


@writes_file("out")
def import_choi2017_features(folder: str, task: TaskName, out: str) -> None:
    """Convert the features published by Choi et al. (ISMIR 2017) to a table for `mgc transfer`.

    The table has the layers block1 to block5 and mfcc, and the names, labels and given folds of the
    tracks that `mgc extract` writes for the data set.

    Example: mgc import choi2017-features transfer_learning_music --task gtzan --out gtzan.parquet

    Args:
        folder: Folder with the released files, directly or in subfolders: for gtzan,
            gtzan_genre_layer_0.npy to gtzan_genre_layer_4.npy, gtzan_genre_mfcc.npy and
            gtzan_genre.csv.
        task: Name of the task's data set.
        out: Parquet file to write.

    Raises:
        MgcError: If a file is missing, unreadable, or does not have the released layout.
    """
    table = read_features(folder, task)
    table.save(out)
    print_line(f"{len(table.tracks)} tracks, layers {', '.join(table.layers)}")
    print_line(f"Written to {out}")
