import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import mgc
from mgc.installation import broken_packages
from mgc.registry import (
    RegistryError,
    class_path,
    entry_point_of,
    find,
    fits,
    is_class,
    load,
    mgc_versions,
    name_of,
    packages,
    path_of,
)
from mgc.training.names import expand_arguments, expand_names


def test_plugins_are_found_without_import(install: Callable[..., None]) -> None:
    install("lazy_one", "raise SystemExit", lazy="lazy_one:Net")
    assert "lazy" in find("model")
    assert "lazy_one" not in sys.modules


def test_short_names_of_classes(install: Callable[..., None]) -> None:
    assert name_of("mgc.models.vgg.VGGTagger") == "vgg_tagger"
    assert name_of("elsewhere.models.VGGTagger") == "elsewhere.models.VGGTagger"
    # Registered with the path of the package, but defined in one of its modules.
    assert name_of("mgc.data.msd.modules.MSDGenre") == name_of("mgc.data.msd.MSDGenre")
    assert name_of("mgc.data.msd.MSDGenre") == "msd_genre"
    install("good_one", "", good="good_one:Net")
    claim = entry_point_of("good_one.Net")
    assert claim is not None
    assert claim.name == "good"


REEXPORTED = """
class Net(pl.LightningModule): ...
class Outer:
    class Inner(Net): ...
"""


def test_classes_exported_by_another_package(install: Callable[..., None]) -> None:
    install("inner_one", "import lightning.pytorch as pl" + REEXPORTED)
    install("outer_one", "from inner_one import Net", exported="outer_one:Net")
    install("later_one", "import lightning.pytorch as pl\nclass Net(pl.LightningModule): ...")
    net = load("model", "exported")
    for path in ("outer_one.Net", "inner_one.Net"):
        claim = entry_point_of(path)
        assert claim is not None
        assert claim.name == "exported"
        assert is_class(net, path)
    assert entry_point_of("later_one.Net") is None
    assert not is_class(net, "later_one.Net")


@pytest.mark.parametrize("name", ["my-net", "2step", "my net", "net.v2", "Größe", "net"])
@pytest.mark.parametrize(
    "value", ["{}:Net", "{} : Net", "{}:Net [gpu]", "{}:Outer.Inner", "{} : Outer.Inner [gpu,cpu]"]
)
def test_spellings_of_entry_points(
    install: Callable[..., None], name: str, value: str, request: pytest.FixtureRequest
) -> None:
    package = f"spelled_{abs(hash(request.node.name))}"
    code = "import lightning.pytorch as pl" + REEXPORTED
    install(package, code, **{name: value.format(package)})
    found = load("model", name)
    assert path_of(found) == class_path("model", name)
    assert load("model", class_path("model", name)) is found
    assert name_of(path_of(found)) == name
    section: dict[str, Any] = {"model": {"class_path": name}}
    assert expand_names(section)["model"]["class_path"] == path_of(found)
    assert expand_arguments(["--model", name]) == ["--model", path_of(found)]


@pytest.mark.parametrize("value", ["", "not a module", "module:", ":Net", "a:b:c", "plug-in:Net"])
def test_malformed_values_of_entry_points(install: Callable[..., None], value: str) -> None:
    install("odd_value", NET, odd=value)
    with pytest.raises(RegistryError, match="odd"):
        load("model", "odd")
    assert name_of("mgc.models.vgg.VGGTagger") == "vgg_tagger"


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("text", ["[mgc.models]\nno equals sign", "]", "[mgc.models\na = b:c"])
def test_broken_packages_do_not_stop_others(
    install: Callable[..., None], tmp_path: Path, text: str, metadata: bool
) -> None:
    install("broken_one", NET)
    (tmp_path / "broken_one-1.0.dist-info" / "entry_points.txt").write_text(text)
    if not metadata:
        (tmp_path / "broken_one-1.0.dist-info" / "METADATA").unlink()
    assert class_path("model", "vgg_tagger") == "mgc.models.vgg.VGGTagger"
    assert list(entry_points(group="console_scripts"))
    assert all(line.startswith("broken_one 1.0 in ") for line in broken_packages())


def test_a_package_without_metadata(install: Callable[..., None], tmp_path: Path) -> None:
    install("bare_one", NET, bare="bare_one:Net")
    (tmp_path / "bare_one-1.0.dist-info" / "METADATA").unlink()
    assert class_path("model", "bare") == "bare_one.Net"
    assert "bare_one 1.0" in packages()


def test_class_paths_instead_of_names(install: Callable[..., None]) -> None:
    install("loose_one", NET)
    assert path_of(load("model", "loose_one.Net")) == "loose_one.Net"
    for path, message in {
        "loose_one.Nothing": "no attribute 'Nothing'",
        "nowhere_at_all.Net": "No module named 'nowhere_at_all'",
        "pathlib.Path": "not a LightningModule",
    }.items():
        with pytest.raises(RegistryError, match=message):
            load("model", path)


def test_old_import_paths() -> None:
    from mgc.data.msd import MSDTagging
    from mgc.data.msd.beats import beat_align, normalise_timbre

    for path, now in (
        ("mgc.data.msd_tagging.MSDTagging", MSDTagging),
        ("mgc.features.beats.beat_align", beat_align),
        ("mgc.features.beats.normalise_timbre", normalise_timbre),
    ):
        module, _, name = path.rpartition(".")
        assert getattr(import_module(module), name) is now
    assert name_of("mgc.data.msd_tagging.MSDTagging") == "msd_tagging"


def test_class_path(install: Callable[..., None]) -> None:
    code = "import lightning.pytorch as pl\nclass Net(pl.LightningModule): ..."
    install("good_one", code, good="good_one:Net")
    assert class_path("model", "good") == "good_one.Net"


def test_a_broken_import_affects_only_its_package(install: Callable[..., None]) -> None:
    install("bad_one", "import nowhere_at_all", bad="bad_one:Net")
    with pytest.raises(RegistryError, match=r"bad_one 1\.0 could not be imported.*nowhere_at_all"):
        class_path("model", "bad")
    assert class_path("model", "vgg_tagger") == "mgc.models.vgg.VGGTagger"


def test_name_clashes_name_both_packages(install: Callable[..., None]) -> None:
    install("twin_one", "", vgg_tagger="twin_one:Net")
    with pytest.raises(RegistryError, match=r"mgc .*twin_one 1\.0|twin_one 1\.0.*mgc"):
        class_path("model", "vgg_tagger")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(RegistryError, match="Did you mean 'vgg_tagger'"):
        class_path("model", "vgg_taggr")
    with pytest.raises(RegistryError, match="found after its package is installed again"):
        class_path("model", "brand_new")


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
def test_classes_must_be_lightning_modules(
    install: Callable[..., None], code: str, message: str
) -> None:
    package = f"old_{abs(hash(code))}"
    install(package, code, old=f"{package}:Net")
    with pytest.raises(RegistryError, match=message):
        class_path("model", "old")


def test_data_must_be_a_music_data_module(install: Callable[..., None]) -> None:
    code = "import lightning.pytorch as pl\nclass Data(pl.LightningDataModule): ..."
    install("bare_data", code, kind="data", bare="bare_data:Data")
    with pytest.raises(RegistryError, match=r"bare_data 1\.0 is not a MusicDataModule \(mgc\.data"):
        class_path("data", "bare")
    code = "import mgc.data.base as base\nclass Data(base.MusicDataModule): ..."
    install("music_data", code, kind="data", music="music_data:Data")
    assert class_path("data", "music") == "music_data.Data"


NET = "import lightning.pytorch as pl\nclass Net(pl.LightningModule): ..."


def test_package_for_other_versions_of_mgc(install: Callable[..., None]) -> None:
    """Such a package is not imported, because names that it needs may be missing."""
    install("late_one", "raise SystemExit", requires="mgc<0.9,>=0.8", late="late_one:Net")
    with pytest.raises(RegistryError) as caught:
        class_path("model", "late")
    assert str(caught.value) == (
        f"The model 'late' from late_one 1.0 needs mgc>=0.8,<0.9, but this is mgc "
        f"{mgc.__version__}. Install a version of late_one made for this mgc, or "
        "mgc-lightning>=0.8,<0.9."
    )
    assert class_path("model", "vgg_tagger") == "mgc.models.vgg.VGGTagger"


@pytest.mark.parametrize(
    "requires",
    [
        "mgc",
        f"mgc=={mgc.__version__}",
        "MGC>=0.0.1",
        "mgc>=99; extra == 'future'",
        "mgc-something-else>=99",
        "no requirement at all ==",
    ],
)
def test_compatible_packages(install: Callable[..., None], requires: str) -> None:
    package = f"fits_{abs(hash(requires))}"
    install(package, NET, requires=requires, fitting=f"{package}:Net")
    assert class_path("model", "fitting") == f"{package}.Net"


def test_prereleases_are_compatible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mgc, "__version__", "0.2.0.dev3")
    assert fits(">=0.1,<0.3")
    assert not fits(">=0.1,<0.2.0.dev1")
    assert fits("")


def test_a_package_that_calls_exit(install: Callable[..., None]) -> None:
    install("quits_one", "import sys\nsys.exit(3)", quits="quits_one:Net")
    with pytest.raises(RegistryError, match=r"quits_one 1\.0 could not be imported.*SystemExit: 3"):
        class_path("model", "quits")


def test_requirements_are_read_without_import(install: Callable[..., None]) -> None:
    install("lazy_two", "raise SystemExit", requires="mgc>=0.1", lazy="lazy_two:Net")
    assert mgc_versions(packages()["lazy_two 1.0"]) == ">=0.1"
    assert mgc_versions(packages()[f"{mgc.DISTRIBUTION} {mgc.__version__}"]) == ""
    assert "lazy_two" not in sys.modules
