import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import mgc
from mgc.cli import COMMANDS, TRAINING, main, run_function
from mgc.errors import MgcError


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return the error line of a command that exits with code 2."""
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("mgc: error: ")
    assert err.count("\n") == 1
    return err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in [*TRAINING, *COMMANDS])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert not stop.value.code
    assert f"mgc {name}" in capsys.readouterr().out


def test_help_keeps_paragraphs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", "--help"])
    assert "\n\nExample: mgc list --verbose\n\n" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"mgc {mgc.__version__}\n"


@pytest.mark.parametrize("args", [["list"], ["--help"], ["--version"]])
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from mgc.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'lightning', 'numpy', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, *args], check=True, stdout=subprocess.DEVNULL)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert [
        f"{mgc.DISTRIBUTION} {mgc.__version__}" in line for line in lines if "vgg_tagger" in line
    ] == [True]
    assert any("gtzan " in line and line.startswith("data") for line in lines)


def test_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'classify'" in fails(capsys, "clasify")
    assert "See mgc --help" in fails(capsys, "xyzzy")
    assert "needs one of: data" in fails(capsys, "data")


def test_help_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "--help"])
    out = capsys.readouterr().out
    assert "mgc data verify: " in out
    assert "mgc classify" not in out


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--nonsense" in fails(capsys, "list", "--nonsense")
    assert "--root" in fails(capsys, "data", "verify", "gtzan")


def test_arguments_from_a_signature() -> None:
    given = {}

    def command(files: list[str], sample_rate: int = 1, over_time: bool = False) -> None:
        """Do something.

        Args:
            files: Some files.
            sample_rate: A rate.
            over_time: A flag.
        """
        given.update(files=files, sample_rate=sample_rate, over_time=over_time)

    run_function(command, "test", ["a", "b", "--sample-rate", "3", "--over-time"])
    assert given == {"files": ["a", "b"], "sample_rate": 3, "over_time": True}
    run_function(command, "test", ["a", "--sample_rate=4", "--over_time=false"])
    assert given == {"files": ["a"], "sample_rate": 4, "over_time": False}


def test_words_after_two_dashes_are_passed_on() -> None:
    given = {}

    def command(file: str, *words: str, count: int = 1) -> None:
        """Do something.

        Args:
            file: A file.
            words: Anything.
            count: A number.
        """
        given.update(file=file, words=words, count=count)

    run_function(command, "test", ["a.yaml", "--count", "2", "--", "--count", "3"])
    assert given == {"file": "a.yaml", "words": ("--count", "3"), "count": 2}


def test_unwritable_output(capsys: pytest.CaptureFixture[str], workdir: Path) -> None:
    soundfile.write("song.wav", np.zeros(8000), 8000)
    Path("taken").touch()
    line = fails(capsys, "plot", "components", "song.wav", "--out", "taken/components.png")
    assert line == "mgc: error: taken/components.png: cannot be written: Not a directory.\n"
    line = fails(capsys, "separate", "song.wav", "--out", "taken/more")
    assert "taken" in line
    assert "Not a directory" in line


@pytest.mark.parametrize("args", [["list"], ["--help"], ["list", "--help"], ["nonsense"]])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_closed_output_ends_a_command_quietly(args: list[str], stream: str) -> None:
    """As in ``mgc list | head -1``, but closed from the start."""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: writer}
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, "-m", "mgc", *args], env=environment, **streams)
    os.close(writer)
    if (stream == "stderr") is (args == ["nonsense"]):
        assert done.returncode == 141
        assert not done.stdout
        assert not done.stderr
    else:
        assert done.returncode == (2 if args == ["nonsense"] else 0)


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MGC_TRACEBACK", "1")
    with pytest.raises(MgcError):
        main(["nonsense"])
