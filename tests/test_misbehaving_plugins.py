"""Test that plugins which break a contract are reported in one line, in every command."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving_plugins import (
    VERSION,
    Plugin,
    install_plugin,
    misbehaving_plugins,
    save_checkpoint,
    well_behaved_plugins,
)

import mgc
from mgc import cli
from mgc.errors import MgcError

PLUGINS = {plugin.name: plugin for plugin in misbehaving_plugins()}
NET, MUSIC = well_behaved_plugins()

#: Plugins, the command to run, and what the message says. The fault suite runs the others.
SAMPLE = [
    ("model_forward_tuple", "classify", r"forward returned a tuple of 2 \(Tensor, int\)"),
    ("model_forward_3_outputs", "classify", r"shape \(2, 3\); expected .* of shape \(2, 10\)"),
    ("model_forward_one_row", "classify", r"shape \(1, 10\); expected .* of shape \(2, 10\)"),
    ("model_forward_exit", "classify", r"Net.forward of .* failed: SystemExit"),
    ("model_forward_none", "fit", "forward returned None"),
    ("model_training_detached", "fit", "a loss without gradients"),
    ("model_training_none", "fit", "training_step returned None"),
    ("model_optimizers_error", "fit", "Net.configure_optimizers of .* failed: AttributeError"),
    ("model_features_empty", "extract", "features returned a dict with nothing"),
    ("model_features_names_vary", "extract", "expected the same layers and widths"),
    ("model_forward_integers", "export", "int64 values of shape"),
    ("model_constructor_exit", "extract", "Net.__init__ of .* failed: SystemExit"),
    ("data_catalogue_none", "extract", "read_catalogue returned None"),
    ("data_catalogue_one_name", "extract", "100 rows for track 'same'"),
    ("data_catalogue_unknown_label", "extract", "label 'zzz' for track .* expected one of blues"),
    ("data_catalogue_no_group", "pack", "no column 'group'"),
    ("data_catalogue_empty", "verify", "no tracks of Music of .* found"),
    ("data_catalogue_error", "prepare", "Music.read_catalogue of .* failed: KeyError: 'tracks'"),
    ("data_splits_divide_groups", "extract", "several splits for the group 'one artist'"),
    ("data_verify_text", "verify", "expected a list of Problem"),
    ("data_constructor_no_super", "verify", "does not call super"),
    ("data_constructor_labels_none", "fit", "labels is None"),
    ("data_batch_no_audio", "fit", "has None as 'audio'"),
]


@pytest.fixture
def plugin(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Plugin]:
    """Install a plugin by its name, a model and a checkpoint."""
    plugin = PLUGINS.get(request.param, MUSIC if request.param == MUSIC.name else NET)
    monkeypatch.syspath_prepend(tmp_path)
    for package in {NET, plugin}:
        install_plugin(package, tmp_path)
    save_checkpoint(plugin if plugin.kind == "model" else NET, Path("model.ckpt"))
    return plugin


def arguments(command: str, plugin: Plugin, root: Path) -> list[str]:
    """Return the arguments of a command that uses a plugin's model or data set."""
    model = plugin.name if plugin.kind == "model" else NET.name
    data = plugin.name if plugin.kind == "data" else "gtzan"
    songs = [str(root / f"genres/{genre}/{genre}.00000.wav") for genre in ("rock", "jazz")]
    trainer = ["accelerator=cpu", "logger=false", "max_epochs=1", "limit_train_batches=2"]
    clips = [f"root={root}", "sample_rate=8000", "clip_seconds=0.5", "batch_size=4"]
    options = [f"--trainer.{x}" for x in trainer] + [f"--data.{x}" for x in clips]
    checkpoint = ["--ckpt", "model.ckpt"]
    archive = ["--out", "model.pt2", "--format", "torch_export"]
    return {
        "fit": ["fit", "--model", model, "--data", data, *options],
        "classify": ["classify", *songs, *checkpoint, "--batch_size", "2"],
        "extract": ["extract", str(root), "--data", data, *checkpoint, "--out", "f.parquet"],
        "export": ["export", *checkpoint, *archive],
        "verify": ["data", "verify", data, "--root", str(root)],
        "pack": ["data", "pack", data, "--root", str(root), "--sample_rate", "8000"],
        "prepare": ["data", "prepare", data, "--root", str(root)],
    }[command]


@pytest.mark.parametrize(("plugin", "command", "message"), SAMPLE, indirect=["plugin"])
def test_one_line_names_the_package(plugin, command, message, tones, capfd):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments(command, plugin, tones))
    assert stopped.value.code == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("mgc:")]
    assert f"{plugin.name} {VERSION}" in line
    assert re.search(message, line)


@pytest.mark.parametrize("plugin", [NET.name], indirect=True)
@pytest.mark.parametrize("command", ["classify", "extract", "prepare"])
def test_well_behaved_plugin(plugin, command, tones):
    cli.main(arguments(command, plugin, tones))


@pytest.mark.parametrize("plugin", ["model_forward_dict"], indirect=True)
def test_library_raises_the_same_error(plugin, tones):
    song = tones / "genres/rock/rock.00000.wav"
    with pytest.raises(MgcError, match=f"Net of {plugin.name} {VERSION}: forward returned a dict"):
        mgc.Classifier("model.ckpt").predict(song)


@pytest.mark.parametrize("plugin", ["model_forward_key_error"], indirect=True)
def test_traceback_on_request(plugin, tones, monkeypatch):
    monkeypatch.setenv("MGC_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(arguments("classify", plugin, tones))
