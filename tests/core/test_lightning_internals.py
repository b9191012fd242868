"""Private names of Lightning exist and are used in one file only."""

import ast
from pathlib import Path

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from torch import nn

import mgc
from mgc.core import lightning_internals

ROOT = Path(mgc.__file__).parent

#: Private methods of the base classes of mgc.
OVERRIDABLE = {
    name
    for base in (Callback, LightningCLI, LightningDataModule, LightningModule)
    for name in dir(base)
    if name.startswith("_") and not name.startswith("__") and not hasattr(nn.Module, name)
}


def private_names(text: str) -> set[str]:
    """Find the private names of Lightning that a source accesses, imports or overrides."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owners = {"trainer", "pl_module", "launcher", "strategy"}
            named = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node.value)}
            if owners & named and not hasattr(nn.Module, node.attr):
                found.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            methods = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
            found |= methods & OVERRIDABLE
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning"):
            words = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            found |= {word for word in words if word.startswith("_")}
    return found


def test_private_names_are_used_in_one_file() -> None:
    used = {path for path in ROOT.rglob("*.py") if private_names(path.read_text())}
    assert used == {Path(lightning_internals.__file__)}


def test_private_names_are_recognised() -> None:
    assert private_names("self.trainer._signal_connector.teardown()") == {"_signal_connector"}
    assert private_names("from lightning.pytorch.utilities import _pytree") == {"_pytree"}
    text = "class CLI(LightningCLI):\n    def _parse_ckpt_path(self): ..."
    assert private_names(text) == {"_parse_ckpt_path"}


def test_private_names_exist() -> None:
    assert hasattr(LightningCLI, "_parse_ckpt_path")
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    assert trainer.fit_loop._restarting is False
    assert lightning_internals.batches_of_epoch(trainer) == (0, 0)
