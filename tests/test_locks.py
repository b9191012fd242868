import re
from pathlib import Path

import pytest
from installed import Environment

import mgc
from mgc.cli import main
from mgc.locks import LOCKS, lock_path, locked_versions


def hashes(name: str) -> dict[str, set[str]]:
    """Return the hashes of each requirement, such as ``numpy==2.4.6 ; python_version < '3.12'``."""
    blocks = re.findall(r"^(\w.*?) \\\n((?: .*\n)+)", lock_path(name).read_text(), re.MULTILINE)
    return {line: set(re.findall(r"sha256:\w{64}", block)) for line, block in blocks}


def packages(*left_out: str) -> list[str]:
    return [name for name, _ in locked_versions("serve") if name not in left_out]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_locked_with_hashes(name: str) -> None:
    lines = re.findall(r"^\w+.*==", lock_path(name).read_text(), re.MULTILINE)
    assert len(lines) == len(hashes(name)) > 10
    assert all(hashes(name).values())


def test_locks_have_the_same_versions() -> None:
    full = hashes("full")
    assert {line: full.get(line) for line in hashes("serve")} == hashes("serve")


def test_locked_versions_for_this_platform() -> None:
    found = dict(locked_versions("full"))
    assert {"torch", "numpy", "ruff"} <= set(found)
    assert re.fullmatch(r"[\d.]+", found["numpy"])
    assert "torch" not in dict(locked_versions("serve"))


def test_versions_for_several_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = """
one==1.1 ; python_full_version < '3' \\
    --hash=sha256:0123
one==1.2 ; python_full_version >= '3' and python_full_version < '4' \\
    --hash=sha256:4567 \\
    --hash=sha256:89ab
two==2.0 \\
    --hash=sha256:cdef
elsewhere==1.0 ; sys_platform == 'elsewhere' \\
    --hash=sha256:cdef
"""
    (tmp_path / "lock.txt").write_text(lock, encoding="utf-8")
    monkeypatch.setattr("mgc.locks.lock_path", lambda name: tmp_path / "lock.txt")
    assert dict(locked_versions("full")) == {"one": "1.2", "two": "2.0"}


def test_path_of_a_lock(capsys: pytest.CaptureFixture[str]) -> None:
    main(["locks", "serve"])
    assert Path(capsys.readouterr().out.strip()) == lock_path("serve")
    with pytest.raises(SystemExit) as stop:
        main(["locks", "light"])
    assert stop.value.code == 2
    assert "Available: full, serve" in capsys.readouterr().err


def test_locks_are_found_without_dependencies(tmp_path: Path) -> None:
    bare = Environment(tmp_path, [])
    assert bare.run("--version").stdout == f"mgc {mgc.__version__}\n"
    assert "mgc COMMAND" in bare.run("--help").stdout
    lock = Path(bare.run("locks", "serve").stdout.strip())
    assert lock.samefile(lock_path("serve"))


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("fit --config x.yaml", "torch"),
        ("classify x.wav --ckpt x.ckpt", "torch"),
        ("data synth x", "joblib"),
    ],
)
def test_missing_packages_are_reported_with_a_fix(
    tmp_path: Path, command: str, module: str
) -> None:
    done = Environment(tmp_path, packages()).run(*command.split())
    assert done.returncode == 2
    assert done.stderr.startswith(f"mgc: error: {module} is not installed. ")
    assert done.stderr.count("\n") == 1
    assert f"pip install {mgc.DISTRIBUTION}" in done.stderr
    assert "mgc locks serve" in done.stderr


def test_doctor_accepts_an_installation_without_pytorch(tmp_path: Path) -> None:
    done = Environment(tmp_path, packages()).run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without PyTorch" in done.stdout
    assert done.stdout.endswith("No problems found.\n")


def test_doctor_lists_missing_packages(tmp_path: Path) -> None:
    done = Environment(tmp_path, packages("soundfile", "tqdm")).run("doctor")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert "not installed: soundfile, tqdm." in line
    assert "mgc locks serve" in line


def test_onnx_runtime_sends_no_usage_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With telemetry, it would write an identifier to the cache folder."""
    for name in ("CI", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "packages").mkdir()
    done = Environment(tmp_path / "packages", packages()).run("doctor")
    assert "onnxruntime" in done.stdout
    assert not (tmp_path / "home").exists()
