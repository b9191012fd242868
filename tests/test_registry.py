import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mgc.registry import GROUPS, RegistryError, class_path, find


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes a package look installed."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, code: str, kind: str = "model", **models: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in models.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUPS[kind]}]", *lines]) + "\n")
        (tmp_path / f"{package}.py").write_text(code)

    return install


def test_found_but_not_imported(install: Callable[..., None]) -> None:
    install("lazy_one", "raise SystemExit", lazy="lazy_one:Net")
    assert "lazy" in find("model")
    assert "lazy_one" not in sys.modules


def test_class_path(install: Callable[..., None]) -> None:
    code = "import lightning.pytorch as pl\nclass Net(pl.LightningModule): ..."
    install("good_one", code, good="good_one:Net")
    assert class_path("model", "good") == "good_one.Net"


def test_broken_import_names_the_package_and_harms_no_other(install: Callable[..., None]) -> None:
    install("bad_one", "import nowhere_at_all", bad="bad_one:Net")
    with pytest.raises(RegistryError, match=r"bad_one 1\.0 could not be imported.*nowhere_at_all"):
        class_path("model", "bad")
    assert class_path("model", "vgg_tagger") == "mgc.models.vgg.VGGTagger"


def test_clash_names_both(install: Callable[..., None]) -> None:
    install("twin_one", "", vgg_tagger="twin_one:Net")
    with pytest.raises(RegistryError, match=r"mgc .*twin_one 1\.0|twin_one 1\.0.*mgc"):
        class_path("model", "vgg_tagger")


def test_suggestion() -> None:
    with pytest.raises(RegistryError, match="Did you mean 'vgg_tagger'"):
        class_path("model", "vgg_taggr")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import types, sys\n"
            "class LightningModule: ...\n"
            "LightningModule.__module__ = 'pytorch_lightning.core.module'\n"
            "class Net(LightningModule): ...",
            r"import lightning\.pytorch instead",
        ),
        ("class Net: ...", "is not a LightningModule"),
        ("def Net(): ...", "is not a LightningModule"),
    ],
)
def test_no_class_for_lightning(install: Callable[..., None], code: str, message: str) -> None:
    package = f"old_{abs(hash(code))}"
    install(package, code, old=f"{package}:Net")
    with pytest.raises(RegistryError, match=message):
        class_path("model", "old")


def test_data_of_lightning_alone(install: Callable[..., None]) -> None:
    """The commands need labels, tracks and splits, which Lightning knows nothing of."""
    code = "import lightning.pytorch as pl\nclass Data(pl.LightningDataModule): ..."
    install("bare_data", code, kind="data", bare="bare_data:Data")
    with pytest.raises(RegistryError, match=r"bare_data 1\.0 is not a MusicDataModule \(mgc\.data"):
        class_path("data", "bare")
    code = "import mgc.data.base as base\nclass Data(base.MusicDataModule): ..."
    install("music_data", code, kind="data", music="music_data:Data")
    assert class_path("data", "music") == "music_data.Data"
