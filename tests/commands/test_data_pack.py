import shutil
from pathlib import Path

import pandas as pd
import pytest

from mgc import registry
from mgc.cli import run_function
from mgc.commands.data_pack import pack, parse_shard
from mgc.data.base import MusicDataModule
from mgc.data.gtzan import GTZAN
from mgc.data.store import PackedReader
from mgc.errors import MgcError


@pytest.fixture
def root(tones: Path, tmp_path: Path) -> Path:
    """A copy of the tones, whose store is its own."""
    return Path(shutil.copytree(tones, tmp_path / "tones"))


def test_packs_a_data_set_and_lists_what_is_broken(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "genres" / "rock" / "rock.00099.wav").write_bytes(b"no audio")
    words = ["gtzan", "--root", str(root), "--sample_rate", "8000", "--workers", "0"]
    run_function(pack, "data pack", words)
    printed = capsys.readouterr().out
    tracks = len(list((root / "genres").glob("*/*.wav"))) - 1
    assert f"{tracks} files packed, 1 broken, 0 with samples beyond full scale" in printed
    assert "broken  genres/rock/rock.00099.wav: Format not recognised" in printed
    index = pd.read_parquet(root / "packed" / "8000hz" / "index.parquet")
    assert index["track"].tolist()[:2] == ["blues.00000", "blues.00001"]
    assert index["length"].tolist() == [16000] * tracks + [0]


def test_training_takes_the_store(root: Path) -> None:
    pack("gtzan", str(root), 8000, workers=0)
    data = GTZAN(str(root), sample_rate=8000, clip_seconds=1, folds=3, split="fold")
    data.setup()
    assert isinstance(data.reader(), PackedReader)


def test_a_launcher_tells_the_shard(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "3")
    assert parse_shard(None) == (1, 3)
    pack("gtzan", str(root), 8000, workers=0)
    assert "Shard 1/3 is packed, others are not yet" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert parse_shard(None) == (0, 2)
    assert parse_shard("2/4") == (2, 4)


def test_all_of_it_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert parse_shard(None) == (0, 1)


@pytest.mark.parametrize("shard", ["1", "a/b", "1/", "-1/2", ""])
def test_a_shard_of_another_form_is_refused(shard: str) -> None:
    with pytest.raises(MgcError, match="--shard"):
        parse_shard(shard)


def test_data_without_audio_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: MusicDataModule)
    with pytest.raises(MgcError, match="'beats' cannot be packed: it has no audio"):
        pack("beats", ".", 8000)
