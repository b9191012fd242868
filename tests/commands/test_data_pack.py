import shutil
from pathlib import Path

import pandas as pd
import pytest
from generate_msd import generate_msd

from mgc import registry
from mgc.cli import main
from mgc.commands.data_pack import pack, parse_shard
from mgc.data.base import MusicDataModule
from mgc.data.gtzan import GTZAN
from mgc.data.msd.beat_store import BeatStore
from mgc.data.store import PackedReader
from mgc.errors import MgcError


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the launcher of these tests."""
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)


@pytest.fixture
def root(tones: Path, tmp_path: Path) -> Path:
    """A copy of the tones with its own store."""
    return Path(shutil.copytree(tones, tmp_path / "tones"))


def test_packs_a_data_set_and_lists_broken_files(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "genres" / "rock" / "rock.00099.wav").write_bytes(b"no audio")
    words = ["gtzan", "--root", str(root), "--sample_rate", "8000", "--workers", "0"]
    main(["data", "pack", *words])
    printed = capsys.readouterr().out
    tracks = len(list((root / "genres").glob("*/*.wav"))) - 1
    assert f"{tracks} files packed, 1 broken, 0 with samples beyond full scale" in printed
    assert "broken  genres/rock/rock.00099.wav: Format not recognised" in printed
    index = pd.read_parquet(root / "packed" / "8000hz" / "index.parquet")
    assert index["track"].tolist()[:2] == ["blues.00000", "blues.00001"]
    assert index["length"].tolist() == [16000] * tracks + [0]


def test_training_uses_the_store(root: Path) -> None:
    pack("gtzan", str(root), 8000, workers=0)
    data = GTZAN(str(root), sample_rate=8000, clip_seconds=1, folds=3, split="fold")
    data.setup()
    assert isinstance(data.reader(), PackedReader)


def test_launcher_sets_the_shard(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "3")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert parse_shard(None) == (1, 3)
    pack("gtzan", str(root), 8000, workers=0)
    assert "Shard 1/3 is packed, but other shards are missing" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert parse_shard(None) == (0, 2)
    assert parse_shard("2/4") == (2, 4)


def test_without_a_launcher_everything_is_packed() -> None:
    assert parse_shard(None) == (0, 1)


@pytest.mark.parametrize("step", [None, "4294967291", "batch"])
def test_batch_script_is_not_an_srun_task(
    step: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    if step:
        monkeypatch.setenv("SLURM_STEP_ID", step)
    assert parse_shard(None) == (0, 1)


def test_shard_from_the_environment_is_an_error_without_a_launcher(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MgcError, match=r"only shard 0/2, .* Pack the other shards too"):
        pack("gtzan", str(root), 8000, workers=0)


@pytest.mark.parametrize("shard", ["1", "a/b", "1/", "-1/2", ""])
def test_invalid_shards(shard: str) -> None:
    with pytest.raises(MgcError, match="--shard"):
        parse_shard(shard)


def test_track_files_are_packed_as_beats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = generate_msd(tmp_path, tracks=24, artists=20, duplicates=0)
    broken = next((tmp_path / "data").rglob("*.h5"))
    broken.write_bytes(b"no track")
    words = ["data", "pack", "msd_key", "--root", str(tmp_path), "--workers", "0"]
    main([*words, "--data_args.duplicates="])
    printed = capsys.readouterr().out
    assert f"broken  {broken.relative_to(tmp_path)}: " in printed
    assert f"{len(tracks) - 1} tracks packed, 1 broken; " in printed
    assert len(BeatStore(tmp_path / "beats")) == len(tracks) - 1


def test_machines_split_track_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Parts hold a thousand tracks, so that the second machine has nothing to do.
    generate_msd(tmp_path, tracks=20, artists=20, duplicates=0)
    pack("msd_key", str(tmp_path), workers=0, shard="1/2")
    assert "Shard 1/2 is packed, but other shards are missing" in capsys.readouterr().out
    pack("msd_key", str(tmp_path), workers=0, shard="0/2")
    assert "20 tracks packed, 0 broken" in capsys.readouterr().out


def test_table_lists_the_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label", "genres/rock/rock.00001.wav,a", "genres/pop/pop.00001.wav,b"]
    (root / "tracks.csv").write_text("\n".join(rows))
    words = ["data", "pack", "folder", "--root", str(root), "--sample_rate", "8000"]
    main([*words, "--workers", "0", "--data_args.table", "tracks.csv"])
    assert "2 files packed, 0 broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gtzan"], "gtzan has audio. Set the sample rate"),
        (["msd_key", "--sample_rate=8000"], "msd_key has no audio. Omit --sample_rate"),
        (["msd_key", "--channel=0"], "msd_key has no audio. Omit --sample_rate"),
        (["gtzan", "--sample_rate=8000", "--data_args.nonsense=1"], "nonsense"),
        (
            ["gtzan", "--sample_rate=8000", "--data_args.channel=1"],
            "use the option --channel",
        ),
        (["gtzan", "--sample_rate=8000", "--root=nowhere"], "nowhere: no such folder"),
        (["msd_key", "--root=nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_settings(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "pack", words[0], "--root=.", *words[1:]])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_data_of_another_kind_cannot_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Others(MusicDataModule):
        kind = "beats"

    monkeypatch.setattr(registry, "load", lambda kind, name: Others)
    with pytest.raises(MgcError, match="Others cannot be packed"):
        pack("others", ".")
