"""Fixtures for all tests: real data if available, synthetic music, isolation."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Set before torch is imported, since test processes share the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import soundfile
from isolation import isolate_wandb

from mgc.data.gtzan import GENRES
from mgc.registry import GROUPS
from mgc.runs.tracking import OFFLINE_REASON

isolate_wandb()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real data."""
    folder = os.environ.get("MGC_REAL_DATA")
    if not folder:
        pytest.skip("MGC_REAL_DATA names no folder with real data")
    return Path(folder)


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty folder, with default logging and without W&B folders."""
    logger = logging.getLogger("mgc")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    folder = tmp_path / "workdir"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MGC_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(autouse=True)
def wandb_decision(workdir: Path) -> Iterator[None]:
    """Check that commands remove their W&B decision from the environment."""
    yield
    assert OFFLINE_REASON not in os.environ


@pytest.fixture(autouse=True)
def explicit_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if mgc reads or writes text without an encoding, since the default differs on Windows.

    ``Path.open``, ``read_text`` and ``write_text`` call ``io.text_encoding``.
    """
    text_encoding = io.text_encoding

    def explicit(encoding: str | None, stacklevel: int = 2) -> str:
        caller = sys._getframe(2).f_globals.get("__name__", "")
        assert encoding or not caller.startswith("mgc."), f"{caller} passes no encoding"
        return text_encoding(encoding, stacklevel + 1)

    monkeypatch.setattr(io, "text_encoding", explicit)


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset in GTZAN's layout that a small network learns in seconds.

    Ten tracks of 2 s per genre at 8000 Hz; each genre has a different tone in noise.
    """
    root = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    time = np.arange(16000) / 8000
    for number, genre in enumerate(GENRES):
        folder = root / "genres" / genre
        folder.mkdir(parents=True)
        for track in range(10):
            tone = 0.3 * np.sin(2 * np.pi * 200 * 1.35**number * time + track)
            noise = rng.normal(0, 0.01, len(time))
            soundfile.write(folder / f"{genre}.{track:05}.wav", tone + noise, 8000)
    return root


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that writes a package with metadata onto the import path."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(
        package: str, code: str, kind: str = "model", requires: str = "", **models: str
    ) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        if requires:
            metadata += f"Requires-Dist: {requires}\n"
        (info / "METADATA").write_text(metadata)
        lines = [f"{name} = {value}" for name, value in models.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUPS[kind]}]", *lines]) + "\n")
        (tmp_path / f"{package}.py").write_text(code)

    return install
