"""Outputs are written completely or not at all, and errors name them."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from locked_elsewhere import locked_elsewhere
from matplotlib.figure import Figure

from mgc.core.writing import (
    WriteError,
    all_or_nothing,
    output_file,
    output_folder,
    protected,
    replacing,
    writes_file,
    writes_folder,
)
from mgc.errors import MgcError

NOISE = np.random.default_rng(0).normal(size=100_000)


def plot(path: Path) -> None:
    figure = Figure(figsize=(10, 10), dpi=100)
    figure.add_subplot().imshow(NOISE.reshape(250, 400))
    figure.savefig(path, format="png")


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["noise"] = NOISE


#: Ways in which mgc writes files, each of more than 50 kB.
WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("n" * 100_000, encoding="utf-8"),
    "soundfile": lambda path: soundfile.write(path, NOISE, 8000, "FLOAT", format="WAV"),
    "parquet": lambda path: pq.write_table(pa.table({"noise": NOISE}), path),
    "pandas": lambda path: pd.DataFrame({"noise": NOISE}).to_csv(path),
    "torch": lambda path: torch.save(torch.from_numpy(NOISE), path),
    "numpy": lambda path: np.savez(path.open("wb"), noise=NOISE),
    "matplotlib": plot,
    "h5py": write_hdf5,
}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files, which fails like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("library", WRITERS)
def test_the_errors_of_all_libraries_name_path_and_reason(library: str, workdir: Path) -> None:
    Path("out.bin").write_text("earlier")
    with (
        largest_file(20_000),
        pytest.raises(WriteError, match=r"^out\.bin: cannot be written: File too large\.$"),
        replacing("out.bin") as partial,
    ):
        WRITERS[library](partial)
    assert [path.name for path in workdir.iterdir()] == ["out.bin"]
    assert Path("out.bin").read_text() == "earlier"


def test_errors_within_a_folder_name_it(workdir: Path) -> None:
    with (
        largest_file(20_000),
        pytest.raises(WriteError, match=r"^report: cannot be written: File too large\.$"),
        all_or_nothing("report") as partial,
    ):
        plot(partial / "b.png")
    assert not list(Path("report").iterdir())


def test_other_errors_are_left_as_they_are(workdir: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"song\.wav"), replacing("out.wav"):
        Path("song.wav").read_bytes()
    with pytest.raises(ZeroDivisionError), replacing("out.wav"):
        1 / 0  # noqa: B018
    assert not list(workdir.iterdir())


def test_a_name_may_be_as_long_as_the_system_allows(workdir: Path) -> None:
    longest = "n" * 255
    with replacing(longest) as partial:
        partial.write_text("text")
    with output_file(longest):
        pass
    assert os.listdir() == [longest]
    with (
        pytest.raises(WriteError, match="n: cannot be written: File name too long") as failure,
        replacing(longest + "n"),
    ):
        pytest.fail("nothing should be computed")
    assert failure.value.number == errno.ENAMETOOLONG


def make(kind: str, path: Path) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "file":
        path.touch()


def identity(path: str) -> tuple[int, ...]:
    """What only a replacement changes: resolving a link may update its access time."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns


@pytest.mark.parametrize("write", [replacing, output_file])
@pytest.mark.parametrize("kind", ["folder", "FIFO", "device"])
def test_only_regular_files_are_replaced(
    kind: str, write: Callable[[str], AbstractContextManager[Path]], workdir: Path
) -> None:
    make(kind, Path("out"))
    before = identity("out")
    with pytest.raises(WriteError, match=r"is a folder|is not a regular file"), write("out"):
        pass
    assert identity("out") == before


@pytest.mark.parametrize("kind", ["file", "FIFO", "device"])
def test_only_folders_are_written_into(kind: str, workdir: Path) -> None:
    make(kind, Path("out"))
    with pytest.raises(WriteError, match=r"^out: is a file, not a folder\."), output_folder("out"):
        pass


def test_a_parent_that_is_a_file(workdir: Path) -> None:
    Path("file").touch()
    for output in (output_file, output_folder):
        with pytest.raises(WriteError, match=r"file/out: .*: Not a directory"), output("file/out"):
            pass


def test_new_folders_that_stay_empty_are_removed(workdir: Path) -> None:
    with output_folder("a/b") as folder:
        assert folder.is_dir()
    with output_file("a/c.txt"):
        pass
    assert not list(workdir.iterdir())
    with output_folder("a/b") as folder:
        (folder / "c.txt").touch()
    assert Path("a/b/c.txt").is_file()


def test_the_home_folder_is_expanded(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workdir / "home"))
    monkeypatch.setenv("USERPROFILE", str(workdir / "home"))
    with output_file("~/a.txt") as path:
        assert path == workdir / "home" / "a.txt"
    with output_folder("~/a") as path:
        assert path == workdir / "home" / "a"


def test_links_to_outputs_are_kept(workdir: Path) -> None:
    Path("link.txt").symlink_to("table.txt")
    with output_file("link.txt") as path, replacing(path) as partial:
        partial.write_text("text")
    assert Path("link.txt").is_symlink()
    assert Path("table.txt").read_text() == "text"


@writes_file("out")
def copy(songs: list[str], settings: dict[str, str], out: str | None = None) -> str | None:
    if out is not None:
        with replacing(out) as partial:
            partial.write_text(Path(songs[0]).read_text())
    return out


@pytest.mark.parametrize("link", ["a.txt", "./a.txt", "link.txt", "hard.txt", "folder/a.txt"])
def test_inputs_are_not_overwritten(link: str, workdir: Path) -> None:
    Path("a.txt").write_text("song")
    Path("link.txt").symlink_to("a.txt")
    os.link("a.txt", "hard.txt")
    Path("folder").symlink_to(".")
    for songs, settings in ((["a.txt"], {}), (["link.txt"], {"weights": "a.txt"})):
        with pytest.raises(WriteError, match="is an input of this command"):
            copy(songs, settings, out=link)
    assert Path("a.txt").read_text() == "song"


def test_outputs_that_are_no_inputs(workdir: Path) -> None:
    Path("a.txt").write_text("song")
    assert copy(["a.txt"], {}) is None
    assert copy(["a.txt"], {}, "b/c.txt") == "b/c.txt"
    assert copy(["a.txt"], {}, "b/c.txt") == "b/c.txt"  # again
    with locked_elsewhere(Path("b/c.txt")), pytest.raises(MgcError, match="is in use"):
        copy(["a.txt"], {}, "b/c.txt")
    with protected(["a.txt", "b"]), pytest.raises(WriteError, match="is an input"):
        copy([], {}, "a.txt")


@writes_folder("out", apart=True)
def fuse(runs: list[str], out: str) -> None:
    with all_or_nothing(out) as folder:
        (folder / "tracks.txt").write_text("fused")


def test_inputs_in_the_output_folder(workdir: Path) -> None:
    Path("run").mkdir()
    Path("run", "tracks.txt").write_text("tested")
    for out, runs in (("run", ["run"]), ("run", ["run/tracks.txt"])):
        with pytest.raises(WriteError, match="is an input of this command"):
            fuse(runs, out)
    assert Path("run", "tracks.txt").read_text() == "tested"
