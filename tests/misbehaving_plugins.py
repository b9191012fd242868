"""Plugins that break the contracts of models and data sets, each in one way."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, NamedTuple

import torch

from mgc.data.gtzan import GENRES
from mgc.registry import GROUPS

#: Version of every package.
VERSION = "1.2"

_MODEL = """
import math
import sys

import lightning.pytorch as L
import numpy as np
import torch


class Net(L.LightningModule):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.head = torch.nn.Linear(4, num_classes)
        self.calls = 0

    def forward(self, audio):
        return self.head(audio[:, :4])

    def features(self, audio):
        return {"first": audio[:, :4]}

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch["audio"]), batch["target"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
"""

_DATA = """
import sys

import numpy as np
import pandas as pd
import torch

from mgc.data.gtzan import GTZAN


class Music(GTZAN):
    expected_seconds = (0.0, 60.0)

    def list_tracks(self):
        return super().read_catalogue()
"""

_MODEL_METHODS = {
    "forward": "def forward(self, audio):",
    "features": "def features(self, audio):",
    "training": "def training_step(self, batch, batch_idx):",
    "validation": "def validation_step(self, batch, batch_idx):",
    "optimizers": "def configure_optimizers(self):",
    "constructor": "def __init__(self, num_classes: int = 10) -> None:",
}

_SCORES = "scores = self.head(audio[:, :4])\n"

#: Body of a method, by name of the plugin, which begins with the method.
_MODELS = {
    "forward_none": "return None",
    "forward_tuple": _SCORES + "return scores, 1",
    "forward_list": _SCORES + "return [scores]",
    "forward_dict": _SCORES + "return {'scores': scores}",
    "forward_array": _SCORES + "return scores.detach().numpy()",
    "forward_text": "return 'rock'",
    "forward_integers": _SCORES + "return scores.argsort(1)",
    "forward_complex": _SCORES + "return scores + 1j",
    "forward_1d": _SCORES + "return scores[:, 0]",
    "forward_3d": _SCORES + "return scores[:, None]",
    "forward_scalar": _SCORES + "return scores.mean()",
    "forward_3_outputs": _SCORES + "return scores[:, :3]",
    "forward_20_outputs": _SCORES + "return scores.repeat(1, 2)",
    "forward_no_outputs": _SCORES + "return scores[:, :0]",
    "forward_one_row": _SCORES + "return scores.mean(0, keepdim=True)",
    "forward_more_rows": _SCORES + "return scores.repeat(2, 1)",
    "forward_no_rows": _SCORES + "return scores[:0]",
    "forward_transposed": _SCORES + "return scores.T",
    "forward_device": _SCORES + "return scores.to('meta')",
    "forward_nan": _SCORES + "return scores * math.nan",
    "forward_inf": _SCORES + "return scores + math.inf",
    "forward_key_error": "return {}['head']",
    "forward_attribute_error": "return self.heads(audio)",
    "forward_size_error": "return self.head(audio[:, :5])",
    "forward_assertion": "assert audio.ndim == 3\nreturn None",
    "forward_message": "raise ValueError('first line\\nsecond line')",
    "forward_exit": "sys.exit()",
    "forward_exit_text": "sys.exit('no licence')",
    "forward_recursion": "return self.forward(audio)",
    "forward_stop_iteration": "return next(iter(()))",
    "features_none": "return None",
    "features_list": "return [audio[:, :4]]",
    "features_tensor": "return audio[:, :4]",
    "features_empty": "return {}",
    "features_array": "return {'first': audio[:, :4].numpy()}",
    "features_none_value": "return {'first': None}",
    "features_integers": "return {'first': audio[:, :4].long()}",
    "features_1d": "return {'first': audio[:, 0]}",
    "features_3d": "return {'first': audio[:, None, :4]}",
    "features_one_row": "return {'first': audio[:1, :4].mean(0, keepdim=True).repeat(7, 1)}",
    "features_no_width": "return {'first': audio[:, :0]}",
    "features_dot": "return {'first.0': audio[:, :4]}",
    "features_comma": "return {'first,second': audio[:, :4]}",
    "features_unnamed": "return {'': audio[:, :4]}",
    "features_numbered": "return {1: audio[:, :4]}",
    "features_names_vary": "self.calls += 1\nreturn {f'layer{self.calls}': audio[:, :4]}",
    "features_widths_vary": "self.calls += 1\nreturn {'first': audio[:, : self.calls]}",
    "features_more": (
        "self.calls += 1\nreturn {f'layer{number}': audio[:, :4] for number in range(self.calls)}"
    ),
    "features_error": "raise RuntimeError('no power')",
    "features_exit": "sys.exit(0)",
    "training_none": "return None",
    "training_text": "return 'loss'",
    "training_number": "return 0.5",
    "training_nothing": "return {}",
    "training_vector": "return self(batch['audio'])[:, 0]",
    "training_detached": "return self(batch['audio']).mean().detach()",
    "training_constant": "return torch.tensor(1.0)",
    "training_nan": "return self(batch['audio']).mean() * math.nan",
    "training_integers": "return torch.tensor(1)",
    "training_error": "return batch['spectrogram']",
    "training_exit": "sys.exit(3)",
    "validation_rows": "return {'logits': self(batch['audio'])[:1]}",
    "validation_tuple": "return {'logits': (self(batch['audio']),)}",
    "validation_error": "raise IndexError('no such clip')",
    "optimizers_text": "return 'adam'",
    "optimizers_number": "return 1",
    "optimizers_class": "return torch.optim.Adam",
    "optimizers_error": "return torch.optim.Adam(self.layers.parameters())",
    "constructor_key_error": "super().__init__()\nself.width = {}['width']",
    "constructor_value_error": "super().__init__()\nraise ValueError('no\\nwidth')",
    "constructor_exit": "super().__init__()\nsys.exit(0)",
    "constructor_no_super": "self.head = torch.nn.Linear(4, num_classes)",
}

_DATA_METHODS = {
    "catalogue": "def read_catalogue(self):",
    "splits": "def assign_split(self, catalogue):",
    "check": "def check(self, catalogue):",
    "verify": "def verify(self, progress=iter):",
    "targets": "def targets(self):",
    "dataset": "def make_dataset(self, split, random):",
    "loader": "def train_dataloader(self):",
    "expected": "def expected_tracks(self):",
    "batch": "def on_before_batch_transfer(self, batch, dataloader_idx):",
    "setup": "def setup(self, stage=None):",
    "constructor": "def __init__(self, root: str = '.', **kwargs) -> None:",
}

_ROWS = "rows = self.list_tracks()\n"
_BATCH = "batch = super().on_before_batch_transfer(batch, dataloader_idx)\n"
_BUILT = "super().__init__(root, **kwargs)\n"

_DATA_SETS = {
    "catalogue_none": "return None",
    "catalogue_list": "return [('a', 'rock')]",
    "catalogue_dict": _ROWS + "return rows.to_dict('list')",
    "catalogue_empty": _ROWS + "return rows.iloc[:0]",
    "catalogue_no_columns": "return pd.DataFrame()",
    "catalogue_no_track": _ROWS + "return rows.drop(columns='track')",
    "catalogue_no_path": _ROWS + "return rows.drop(columns='path')",
    "catalogue_no_group": _ROWS + "return rows.drop(columns='group')",
    "catalogue_no_label": _ROWS + "return rows.drop(columns='label')",
    "catalogue_column_twice": _ROWS + "return pd.concat([rows, rows[['track']]], axis=1)",
    "catalogue_one_name": _ROWS + "return rows.assign(track='same')",
    "catalogue_rows_twice": _ROWS + "return pd.concat([rows, rows])",
    "catalogue_no_name": _ROWS + "return rows.assign(track=None)",
    "catalogue_unknown_label": _ROWS + "return rows.assign(label='zzz')",
    "catalogue_missing_label": _ROWS + "rows.loc[3, 'label'] = None\nreturn rows",
    "catalogue_label_numbers": _ROWS + "return rows.assign(label=1)",
    "catalogue_missing_path": _ROWS + "rows.loc[3, 'path'] = None\nreturn rows",
    "catalogue_path_numbers": _ROWS + "return rows.assign(path=1.5)",
    "catalogue_missing_group": _ROWS + "rows.loc[3, 'group'] = None\nreturn rows",
    "catalogue_fold_text": _ROWS + "return rows.assign(fold='first')",
    "catalogue_fold_fraction": _ROWS + "return rows.assign(fold=0.5)",
    "catalogue_begin_text": _ROWS + "return rows.assign(begin='start', end='end')",
    "catalogue_error": "return {}['tracks']",
    "catalogue_exit": "sys.exit(0)",
    "catalogue_recursion": "return self.read_catalogue()",
    "splits_none": "return None",
    "splits_unknown": "return np.full(len(catalogue), 'training')",
    "splits_short": "return np.array(['train'])",
    "splits_numbers": "return np.zeros(len(catalogue), int)",
    "splits_divide_groups": (
        "catalogue['group'] = 'one artist'\nreturn super().assign_split("
        "catalogue.assign(group=catalogue['track']))"
    ),
    "splits_error": "raise OSError('no list of splits')",
    "check_none": "super().check(catalogue)",
    "check_list": "super().check(catalogue)\nreturn list(catalogue['track'])",
    "check_error": "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad byte')",
    "verify_none": "return None",
    "verify_text": "return ['broken.wav']",
    "verify_error": "raise TypeError('no files')",
    "targets_none": "return None",
    "targets_floats": "return super().targets().float()",
    "targets_short": "return super().targets()[:1]",
    "targets_too_large": "return super().targets() + 5",
    "dataset_none": "return None",
    "dataset_list": "return [1, 2, 3]",
    "dataset_error": "raise KeyError(split)",
    "loader_none": "return None",
    "loader_error": "raise NotImplementedError",
    "expected_none": "return None",
    "batch_none": "return None",
    "batch_tuple": _BATCH + "return batch['audio'], batch['target']",
    "batch_no_audio": _BATCH + "del batch['audio']\nreturn batch",
    "batch_no_target": _BATCH + "del batch['target']\nreturn batch",
    "batch_no_track": _BATCH + "del batch['track']\nreturn batch",
    "batch_array": _BATCH + "return batch | {'audio': batch['audio'].numpy()}",
    "batch_integers": _BATCH + "return batch | {'audio': batch['audio'].long()}",
    "batch_1d": _BATCH + "return batch | {'audio': batch['audio'][0]}",
    "batch_short_target": _BATCH + "return batch | {'target': batch['target'][:1]}",
    "batch_float_target": _BATCH + "return batch | {'target': batch['target'].float()}",
    "batch_large_target": _BATCH + "return batch | {'target': batch['target'] + 100}",
    "batch_large_track": _BATCH + "return batch | {'track': batch['track'] + 10**6}",
    "setup_nothing": "pass",
    "setup_no_split": "super().setup(stage)\ndel self.tracks['split']",
    "setup_error": "return {}[stage]",
    "constructor_error": _BUILT + "raise KeyError('version')",
    "constructor_exit": _BUILT + "sys.exit(0)",
    "constructor_no_super": "self.root = root",
    "constructor_no_rate": _BUILT + "self.sample_rate = None",
    "constructor_rate_nan": _BUILT + "self.sample_rate = float('nan')",
    "constructor_no_clip": _BUILT + "self.clip_samples = 0",
    "constructor_clip_huge": _BUILT + "self.clip_samples = 10**15",
    "constructor_clip_fraction": _BUILT + "self.clip_samples = 100.5",
    "constructor_no_hop": _BUILT + "self.hop_samples = 0",
    "constructor_labels_none": _BUILT + "self.labels = None",
    "constructor_labels_text": _BUILT + "self.labels = 'rock'",
    "constructor_labels_twice": _BUILT + "self.labels = ('rock', *self.labels)",
    "constructor_labels_numbers": _BUILT + "self.labels = tuple(range(10))",
    "constructor_labels_unnamed": _BUILT + "self.labels = ('', *self.labels[1:])",
    "constructor_task": _BUILT + "self.task = 'genres'",
    "constructor_task_none": _BUILT + "self.task = None",
}


class Plugin(NamedTuple):
    """A package with one model or data set.

    ``name`` is the name of the package, its module and its model or data set; ``kind`` is ``model``
    or ``data``; ``source`` is the code of the module.
    """

    name: str
    kind: str
    source: str

    @property
    def method(self) -> str:
        """Method that misbehaves, as the name begins."""
        return self.name.split("_")[1]

    @property
    def class_path(self) -> str:
        """Class path of the model or data set."""
        return f"{self.name}.{'Net' if self.kind == 'model' else 'Music'}"


def misbehaving_plugins() -> Iterator[Plugin]:
    """Yield a plugin for each way to break a contract."""
    for kind, template, methods, bodies in (
        ("model", _MODEL, _MODEL_METHODS, _MODELS),
        ("data", _DATA, _DATA_METHODS, _DATA_SETS),
    ):
        for name, body in bodies.items():
            method = f"{methods[name.split('_')[0]]}\n{indent(dedent(body), '    ')}"
            yield Plugin(f"{kind}_{name}", kind, f"{template}\n{indent(method, '    ')}\n")


def well_behaved_plugins() -> Iterator[Plugin]:
    """Yield a model and a data set that break no contract."""
    yield Plugin("model_fine", "model", _MODEL)
    yield Plugin("data_fine", "data", _DATA)


def install_plugin(plugin: Plugin, folder: Path) -> None:
    """Write the package of a plugin to a folder, which must be on the import path."""
    (folder / f"{plugin.name}.py").write_text(plugin.source, encoding="utf-8")
    info = folder / f"{plugin.name}-{VERSION}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {plugin.name}\nVersion: {VERSION}\n", encoding="utf-8"
    )
    module, _, name = plugin.class_path.rpartition(".")
    (info / "entry_points.txt").write_text(
        f"[{GROUPS[plugin.kind]}]\n{plugin.name} = {module}:{name}\n", encoding="utf-8"
    )


def save_checkpoint(plugin: Plugin, path: Path, sample_rate: int = 8000) -> None:
    """Write a checkpoint of a plugin's model as ``mgc fit`` does, without running the plugin."""
    about: dict[str, Any] = {
        "version": "0.1.0",
        "class_path": plugin.class_path,
        "labels": list(GENRES),
        "task": "multiclass",
        "sample_rate": sample_rate,
        "clip_seconds": 0.5,
        "hop_seconds": 0.5,
        "channel": None,
        "short": "repeat",
        "resampling": "fast",
        "data": "mgc.data.gtzan.GTZAN",
        "init_args": {"num_classes": len(GENRES)},
    }
    generator = torch.Generator().manual_seed(0)
    state = {
        "head.weight": torch.randn(len(GENRES), 4, generator=generator),
        "head.bias": torch.zeros(len(GENRES)),
    }
    torch.save(
        {
            "epoch": 0,
            "global_step": 0,
            "pytorch-lightning_version": "2.6.6",
            "state_dict": state,
            "callbacks": {},
            "optimizer_states": [],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": {"num_classes": len(GENRES)},
            "mgc": about,
        },
        path,
    )
