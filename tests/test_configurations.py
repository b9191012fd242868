"""Test finding configurations by name; files of the user take precedence."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mgc.cli import main
from mgc.configurations import find_configuration, find_shipped, read_configuration
from mgc.errors import MgcError

CONFIGS = Path(__file__).parents[1] / "configs"


def test_all_configurations_are_shipped() -> None:
    files = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.*")}
    assert {"vgg_gtzan", "sweeps/vgg_gtzan"} <= files
    assert files <= find_shipped().keys()


@pytest.mark.parametrize(
    "name", ["vgg_gtzan", "vgg_gtzan.yaml", "configs/vgg_gtzan.yaml", "./configs/vgg_gtzan"]
)
def test_names_can_be_paths_in_a_clone(name: str) -> None:
    assert read_configuration(name) == (CONFIGS / "vgg_gtzan.yaml").read_text()


@pytest.mark.parametrize("name", ["vgg_gtzan", "sweeps/vgg_gtzan", "configs/sweeps/vgg_gtzan.yaml"])
def test_names_of_sweeps(name: str) -> None:
    assert read_configuration(name, sweep=True) == (CONFIGS / "sweeps/vgg_gtzan.yaml").read_text()


@pytest.mark.parametrize("name", ["vgg_gtzan", "configs/vgg_gtzan.yaml"])
def test_files_take_precedence(name: str, workdir: Path) -> None:
    (workdir / name).parent.mkdir(exist_ok=True)
    (workdir / name).write_text("model: mfcc\n")
    assert read_configuration(name) == "model: mfcc\n"


def test_folders_of_the_same_name_are_ignored(workdir: Path) -> None:
    (workdir / "vgg_gtzan").mkdir()
    assert find_configuration("vgg_gtzan").samefile(CONFIGS / "vgg_gtzan.yaml")


def test_unused_copies_are_reported(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    (workdir / "vgg_gtzan.yaml").write_text("model: mfcc\n")
    assert read_configuration("vgg_gtzan.yaml") == "model: mfcc\n"
    assert not caplog.messages
    assert find_configuration("vgg_gtzan").samefile(CONFIGS / "vgg_gtzan.yaml")
    assert caplog.messages == [
        "Using the shipped configuration vgg_gtzan. To use your file, set vgg_gtzan.yaml."
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit --config vgg_gtsan", "vgg_gtsan: no such file or shipped configuration. Did you mean "
         "vgg_gtzan"),
        ("fit --config=mine/net.yaml", "mine/net.yaml: no such file or shipped configuration. 'mgc "
         "configs' lists them."),
        ("test --config vgg --ckpt_path x.ckpt", "vgg: no such file"),
        ("crossval --config quikstart", "Did you mean quickstart?"),
        ("sweep quickstart", "quickstart: no such file or shipped configuration."),
        ("sweep vgg_gtzn", "Did you mean sweeps/vgg_gtzan"),
        ("reproduce gwardys2014 --root x --config timm_finetune", "Did you mean timm_finetune_gtz"),
        ("configs quikstart", "Did you mean quickstart?"),
    ],
)  # fmt: skip
def test_unknown_names(
    words: str, message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(workdir.iterdir())


def test_configurations_in_the_package_of_a_plugin(
    install: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("codes_one", "", codes="codes_one.net:Net")
    folder = tmp_path / "codes_one" / "configs"
    folder.mkdir(parents=True)
    (tmp_path / "codes_one" / "__init__.py").write_text("raise SystemExit")
    (folder / "codes_gtzan.yaml").write_text("# Codes on GTZAN.\nmodel: codes\n")
    assert find_configuration("codes_gtzan") == folder / "codes_gtzan.yaml"
    assert "codes_one" not in sys.modules
    main(["configs"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["codes_gtzan", "Codes on GTZAN. (codes_one 1.0)"] in lines


def test_configurations_beside_a_plugin_in_development(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install("codes_two", "", codes="codes_two:Net")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "codes_gtzan.yaml").write_text("model: codes\n")
    # Without pyproject.toml, as in site-packages, the folder belongs to another package.
    with pytest.raises(MgcError, match="codes_gtzan: no such file"):
        find_configuration("codes_gtzan")
    (tmp_path / "pyproject.toml").touch()
    assert find_configuration("codes_gtzan") == tmp_path / "configs" / "codes_gtzan.yaml"


def test_names_shipped_by_two_packages(install: Callable[..., None], tmp_path: Path) -> None:
    install("twin_three", "", twin="twin_three:Net")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "vgg_gtzan.yaml").touch()
    with pytest.raises(MgcError, match=r"shipped by several packages.*twin_three 1\.0"):
        find_configuration("vgg_gtzan")
    assert find_configuration("vgg_folder").samefile(CONFIGS / "vgg_folder.yaml")


def test_binary_files(workdir: Path) -> None:
    (workdir / "best.ckpt").write_bytes(b"PK\xff\xfe")
    with pytest.raises(MgcError, match=r"best\.ckpt: not a text file"):
        read_configuration("best.ckpt")
