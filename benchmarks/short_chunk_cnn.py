"""Compare the short-chunk CNN (a plugin) with the VGG tagger on the same split and budget.

    pip install ./plugins/mgc-short-chunk-cnn
    mgc data synth data/synthetic --tracks-per-genre 40 --seconds 10
    python benchmarks/short_chunk_cnn.py data/synthetic

Both train on the same clips (3.69 s, 16 000 Hz) in the same order for the same number of epochs.
The epoch with the best validation accuracy is tested. Seeds change weights and dropout, not the
split. Networks are small enough for a CPU. CPU time covers fit and test on one thread.
"""

import argparse
import logging
import tempfile
import time
import warnings

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from mgc import registry
from mgc.data.gtzan import GTZAN

#: Settings of each model. Both use the default learning rate, 1e-3.
MODELS = {
    "vgg_tagger": {"channels": 32},
    "short_chunk_cnn": {"channels": 16},
}


def run(name: str, root: str, seed: int, epochs: int) -> tuple[float, float, float, int]:
    """Train and test a model.

    Returns:
        Test accuracy of tracks and of clips, CPU time in seconds, number of parameters.
    """
    seed_everything(seed, verbose=False)
    data = GTZAN(root, sample_rate=16000, clip_seconds=59049 / 16000, batch_size=16)
    model: LightningModule = registry.load("model", name)(
        num_classes=data.num_classes, task=data.task, sample_rate=data.sample_rate, **MODELS[name]
    )
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val/track_accuracy", mode="max")
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[best],
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        start = time.process_time()
        trainer.fit(model, data)
        trainer.test(model, data, ckpt_path="best", verbose=False, weights_only=True)
        seconds = time.process_time() - start
    metrics = trainer.callback_metrics
    weights = sum(p.numel() for p in model.parameters())
    return float(metrics["test/track_accuracy"]), float(metrics["test/accuracy"]), seconds, weights


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("model            weights  seed  tracks  clips  CPU s")
    for name in MODELS:
        rows = []
        for seed in args.seeds:
            tracks, clips, seconds, weights = run(name, args.root, seed, args.epochs)
            rows.append((tracks, clips, seconds))
            print(
                f"{name:15}  {weights:7}  {seed:4}  {tracks:6.3f}  {clips:5.3f}  {seconds:5.0f}",
                flush=True,
            )
        tracks, clips, seconds = np.mean(rows, axis=0)
        print(f"{name:15}  {weights:7}  mean  {tracks:6.3f}  {clips:5.3f}  {seconds:5.0f}")


if __name__ == "__main__":
    main()
