"""A new package installs, is listed and passes its tests without changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mgc
from mgc.cli import main
from mgc.commands.new_plugin import mgc_requirement

NAMES = {"model": "deep-blue", "data": "deep_music"}


def run(*words: str, cwd: Path, path: Path) -> str:
    """Run Python in a folder, with a folder of installed packages."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_new_packages_install_and_pass_their_tests(workdir: Path, tmp_path: Path) -> None:
    site, folders = tmp_path / "site", [str(workdir / name) for name in NAMES.values()]
    for kind, name in NAMES.items():
        main(["new-plugin", name, "--kind", kind])
    install = "-m uv pip install -q --no-cache --offline --no-deps --no-build-isolation --target"
    run(*install.split(), str(site), *folders, cwd=workdir, path=site)
    listed = [
        line.split()
        for line in run("-m", "mgc", "list", "--verbose", cwd=workdir, path=site).splitlines()
    ]
    assert ["model", "deep_blue", "deep-blue", "0.1.0", "deep_blue:DeepBlue"] in listed
    assert ["data", "deep_music", "deep-music", "0.1.0", "deep_music:DeepMusic"] in listed
    needed = mgc_requirement().removeprefix(mgc.DISTRIBUTION)
    assert [row[2:5] for row in listed if row and row[0] == "deep-blue"] == [
        [needed, "yes", str(site)]
    ]
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", *folders, cwd=workdir, path=site)


@pytest.mark.parametrize("kind", NAMES)
def test_no_name_of_the_template_is_left(kind: str, workdir: Path) -> None:
    main(["new-plugin", NAMES[kind], "--kind", kind, "--folder", "packages"])
    files = [path for path in (workdir / "packages").rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        text = f"{path.relative_to(workdir)}\n{path.read_text()}".lower()
        assert "example" not in text
        assert "mgc_requirement" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["9lives"], "'9lives' is not a valid name"),
        (["class"], "'class' is not a valid name"),
        (["a/b"], "'a/b' is not a valid name"),
        (
            ["vgg-tagger"],
            f"The model 'vgg_tagger' already exists in {mgc.DISTRIBUTION} {mgc.__version__}",
        ),
        (["gtzan", "--kind", "data"], "The data 'gtzan' already exists"),
        (["numpy"], "The module 'numpy' already exists"),
        (["there"], "there already exists"),
    ],
)
def test_invalid_names(
    words: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "there").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["new-plugin", *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in workdir.iterdir()] == ["there"]


def test_requirement_covers_versions_with_the_same_api(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, expected in (
        ("0.3.1", "mgc-lightning>=0.3,<0.4"),
        ("2.5.0", "mgc-lightning>=2.5,<3"),
    ):
        monkeypatch.setattr(mgc, "__version__", version)
        assert mgc_requirement() == expected
