import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from generate_msd import generate_msd

from mgc.cli import main
from mgc.data.gtzan import GTZAN
from mgc.data.msd import MSDKey


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy with one problem of each kind."""
    folder = tmp_path / "gtzan" / "genres" / "blues"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        soundfile.write(folder / f"blues.{number:05}.wav", rng.normal(0, 0.1, 240_000), 8000)
    soundfile.write(folder / "blues.00001.wav", np.zeros(240_000), 8000)
    soundfile.write(folder / "blues.00002.wav", rng.normal(0, 0.1, 80_000), 8000)
    (folder / "blues.00003.wav").write_bytes(b"not a wave file" * 100)
    shutil.copy(folder / "blues.00004.wav", folder / "blues.00005.wav")
    (folder / "cover.jpg").write_bytes(b"")
    return tmp_path / "gtzan"


def test_all_problems_are_found(copy: Path) -> None:
    found = {}
    for problem in GTZAN(str(copy)).verify():
        found.setdefault(problem.kind, []).append(Path(problem.name).name)
    assert len(found.pop("missing")) == 994
    assert found == {
        "silent": ["blues.00001"],
        "length": ["blues.00002"],
        "broken": ["blues.00003"],
        "duplicate": ["blues.00005"],
        "unexpected": ["cover.jpg"],
    }


def test_command_prints_problems(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "verify", "gtzan", "--root", str(copy)])
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert "6 tracks found" in out
    assert "blues.00005: the same file as blues.00004" in out


def test_long_lists_are_truncated(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["data", "verify", "gtzan", "--root", str(copy)]
    with pytest.raises(SystemExit):
        main(args)
    short = capsys.readouterr().out
    assert len(re.findall(r"^missing .*: ", short, re.MULTILINE)) == 20
    assert "missing     … and 974 more (--all lists them)" in short
    # Counts include all problems, and every kind is listed.
    assert re.search(r"^missing +994$", short, re.MULTILINE)
    assert re.search(r"^broken .*blues.00003", short, re.MULTILINE)
    with pytest.raises(SystemExit):
        main([*args, "--all"])
    out = capsys.readouterr().out
    assert len(re.findall(r"^missing .*: ", out, re.MULTILINE)) == 994
    assert "more (--all" not in out


def test_problems_are_printed_even_without_a_catalogue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate_msd(tmp_path, tracks=20, artists=20, duplicates=0)
    broken = next((tmp_path / "data").rglob("*.h5"))
    broken.write_bytes(b"no track")
    MSDKey(str(tmp_path)).pack()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["data", "verify", "msd_key", "--root", str(tmp_path)])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    file = broken.relative_to(tmp_path)
    assert f"broken      {broken.stem}: {file}: not a readable HDF5 file" in printed.out
    assert "there are only" in printed.err


def test_data_args_reach_the_data_set(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label", "blues.00000.wav,a", "blues.00009.wav,b"]
    folder = copy / "genres" / "blues"
    (folder / "tracks.csv").write_text("\n".join(rows))
    with pytest.raises(SystemExit) as stop:
        main(["data", "verify", "folder", "--root", str(folder), "--data_args.table", "tracks.csv"])
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert "missing     blues.00009.wav" in out
    assert "2 tracks found" in out


def test_command_compares_checksums(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "md5.txt"
    listed.write_text("d41d8cd98f00b204e9800998ecf8427e  genres/blues/blues.00000.wav\n")
    with pytest.raises(SystemExit):
        main(["data", "verify", "gtzan", "--root", str(copy), "--checksums", str(listed)])
    out = capsys.readouterr().out
    assert "blues.00000.wav differs from the original" in out
    assert "1 compared with their checksums" in out


def test_checksums_of_real_clips_match(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checksums = real_data / "gtzan_lists" / "gtzan_checksums.json"
    root = real_data / "gtzan_mini"
    with pytest.raises(SystemExit):
        main(["data", "verify", "gtzan", f"--root={root}", f"--checksums={checksums}"])
    out = capsys.readouterr().out
    assert "100 compared with their checksums" in out
    assert "checksum  " not in out
    assert re.search(r"^missing +900$", out, re.MULTILINE)


def test_broken_real_file_is_found(real_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "genres" / "jazz"
    folder.mkdir(parents=True)
    shutil.copy(real_data / "bad_audio" / "jazz.00054.wav", folder)
    problems = [p for p in GTZAN(str(tmp_path)).verify() if p.kind != "missing"]
    assert [p.kind for p in problems] == ["broken"]


def test_invalid_checksums_raise_error(copy: Path, tmp_path: Path) -> None:
    nonsense = tmp_path / "checksums.json"
    nonsense.write_text('{"tracks": 3}')
    with pytest.raises(SystemExit) as stop:
        main(["data", "verify", "gtzan", f"--root={copy}", f"--checksums={nonsense}"])
    assert stop.value.code == 2
