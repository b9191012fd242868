"""A small working example of every command, for the fault tests.

Commands run in a folder with copies of :class:`Material`, and write to ``out``.
"""

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
from fault_runs import Server
from released_features import write_release

from mgc.cli import COMMANDS, TRAINING

SMALL = """\
seed_everything: 0
model:
  class_path: vgg_tagger
  init_args: {channels: 2, n_fft: 256, hop_length: 128, n_mels: 96, dropout: 0.0, lr: 0.01}
data:
  class_path: gtzan
  init_args:
    {root: music, split: stratified, sample_rate: 8000, clip_seconds: 2.0, hop_seconds: 2.0,
     batch_size: 16, num_workers: 0}
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
"""

SWEEP = """\
program: mgc
method: grid
metric: {name: val/track_accuracy, goal: maximize}
parameters:
  trainer.gradient_clip_val: {values: [1.0, 2.0]}
command: [mgc, fit, --config, small.yaml, "${args}"]
"""

#: Options that make the fits of reproductions small.
TRAINER = (
    "--data.batch_size=16 --trainer.limit_train_batches=1 --trainer.accelerator=cpu "
    "--trainer.logger=false --trainer.enable_progress_bar=false"
)
OPTIONS = f"--data.sample_rate=8000 --data.num_workers=0 --trainer.max_epochs=1 {TRAINER}"
BACKBONE = (
    "--data.clip_seconds=2 --model.backbone=test_resnet --model.pretrained=false "
    "--model.image_size=32 --model.n_fft=256 --model.hop_length=256 "
    "--model.harmonic_length=9 --model.percussive_length=9"
)

CKPT = "runs/one/checkpoints/best.ckpt"
SONGS = "music/genres/jazz/jazz.00000.wav music/genres/rock/rock.00001.wav"

#: Other content for an input, of the same size for audio.
OTHERS = {
    "music": "other_music",
    "runs/one": "runs/two",
    "features.parquet": "other.parquet",
    "transferred": "other_transferred",
    "weights.hdf5": "other.hdf5",
}


@dataclass(frozen=True)
class Example:
    """Example of a command.

    Attributes:
        words: Arguments.
        inputs: Files and folders that it reads, relative to the working folder.
        output: File or folder that it writes; empty if it only prints.
        writes: Folder on whose disk it writes.
        other: Arguments that write something else to the same output.
        workers: Option that starts worker processes.
        checkpoint: Arguments with a checkpoint, if ``words`` have none.
        code: Exit code without a fault.
        libraries: Modules that the server imports before the command; by default all.
        reads: Whether it reads the content of its inputs.
        slow: Whether it takes more than ten seconds.
    """

    words: str
    inputs: tuple[str, ...] = ()
    output: str = ""
    writes: str = "out"
    other: str = ""
    workers: str = ""
    checkpoint: str = ""
    code: int = 0
    libraries: tuple[str, ...] | None = None
    reads: bool = True
    slow: bool = False

    @property
    def with_checkpoint(self) -> str:
        """Arguments with a checkpoint, if the command reads any."""
        return self.checkpoint or self.words


#: Example of the commands that evaluate a checkpoint.
EVALUATION = Example(
    f"--ckpt_path={CKPT} --trainer.default_root_dir=out/run",
    ("music", "runs/one"),
    "out/run",
    other=f"--ckpt_path={CKPT} --trainer.default_root_dir=out/run --data.clip_seconds=1.9",
    workers="--data.num_workers=2",
)

EXAMPLES = {
    "fit": Example(
        "--config small.yaml --trainer.default_root_dir=out/run",
        ("music", "small.yaml"),
        "out/run",
        other="--config small.yaml --trainer.default_root_dir=out/run --model.channels=3",
        workers="--data.num_workers=2",
        checkpoint="--config small.yaml --trainer.default_root_dir=out/run --trainer.max_epochs=3 "
        f"--ckpt_path={CKPT}",
    ),
    "validate": EVALUATION,
    "test": EVALUATION,
    "predict": EVALUATION,
    "list": Example("--verbose"),
    "configs": Example("vgg_gtzan", libraries=()),
    "doctor": Example(""),
    "locks": Example("full", libraries=()),
    "new-plugin": Example(
        "my-net --folder out",
        output="out/my-net",
        other="my-net --folder out --kind data",
        libraries=(),
    ),
    "classify": Example(f"{SONGS} --ckpt {CKPT} --format json", (*SONGS.split(), CKPT)),
    "export": Example(
        "--model mfcc --outputs features --out out/model.onnx",
        output="out/model.onnx",
        other="--model mfcc --outputs features --out out/model.onnx --sample_rate 16000",
    ),
    "card": Example(
        f"--ckpt {CKPT} --out out/card.md",
        ("runs/one",),
        "out/card.md",
        other=f"--ckpt {CKPT} --out out/card.md --name other",
    ),
    "extract": Example(
        f"music --data gtzan --ckpt {CKPT} --accelerator cpu --out out/features.parquet",
        ("music", CKPT),
        "out/features.parquet",
        other=f"music --data gtzan --ckpt {CKPT} --accelerator cpu --out out/features.parquet "
        "--hop_seconds 0.5",
        workers="--num_workers 2",
    ),
    "transfer": Example(
        "features.parquet --layers 5 --classifier logistic --folds 3 --jobs 1 --probabilities "
        "--out out/transfer",
        ("features.parquet",),
        "out/transfer",
        other="features.parquet --layers 12 --classifier logistic --folds 3 --jobs 1 "
        "--probabilities --out out/transfer",
        workers="--jobs 2",
    ),
    "crossval": Example(
        "--config small.yaml --folds 3 --test_folds 1 --out out/cv -- --trainer.max_epochs=1",
        ("music", "small.yaml"),
        "out/cv",
        other="--config small.yaml --folds 3 --test_folds 1 --out out/cv -- "
        "--trainer.max_epochs=1 --model.channels=3",
    ),
    "sweep": Example(
        "sweep.yaml --count 1 --out out/sweep -- --trainer.max_epochs=1",
        ("music", "small.yaml", "sweep.yaml"),
        "out/sweep",
        other="sweep.yaml --count 1 --out out/sweep -- --trainer.max_epochs=1 --model.channels=3",
    ),
    "compare": Example(
        "runs/one runs/two --out out/comparison",
        ("runs/one", "runs/two"),
        "out/comparison",
        other="runs/two runs/one --out out/comparison",
    ),
    "fuse": Example(
        "runs/one runs/two --method product --out out/fused",
        ("runs/one", "runs/two"),
        "out/fused",
        other="runs/one runs/two --method fusion1 --out out/fused",
    ),
    "separate": Example(
        f"{SONGS} --out out/components",
        tuple(SONGS.split()),
        "out/components",
        other=f"{SONGS} --out out/components --power 1",
        libraries=("torch", "soundfile", "mgc.features.song_separation"),
    ),
    "plot components": Example(
        f"{SONGS.split()[0]} --out out/plot.png",
        (SONGS.split()[0],),
        "out/plot.png",
        other=f"{SONGS.split()[0]} --out out/plot.png --scale linear",
    ),
    "report experiment": Example(
        "runs/one runs/two --out out/report",
        ("runs/one", "runs/two"),
        "out/report",
        other="runs/one runs/two --out out/report --names a,b",
    ),
    "report transfer": Example(
        "transferred --out out/report",
        ("transferred",),
        "out/report",
        other="transferred other_transferred --out out/report",
    ),
    "report labels": Example(
        "runs/one --out out/labels --top 2",
        ("music", "runs/one"),
        "out/labels",
        other="runs/one --out out/labels --top 1",
    ),
    "reproduce gwardys2014": Example(
        f"--root music --only finetuned --out out/gwardys2014 -- {OPTIONS} {BACKBONE}",
        ("music",),
        "out/gwardys2014",
        slow=True,
    ),
    "reproduce dieleman2011": Example(
        "--root msd --genre_tracks 0 --artist_tracks 0 --key_tracks 10 --only pretraining "
        f"--out out/dieleman2011 -- {TRAINER} --model.maps=2",
        ("msd",),
        "out/dieleman2011",
        slow=True,
    ),
    "reproduce senac2017": Example(
        f"--root music --only net_STFT --test_folds 1 --out out/senac2017 "
        f"-- {OPTIONS} --data.clip_seconds=1 --data.hop_seconds=0.5 --model.map_seconds=0.5 "
        "--model.filters=4",
        ("music",),
        "out/senac2017",
        slow=True,
    ),
    "reproduce choi2017": Example(
        "--features released --layers 5 --classifier knn --folds 3 --jobs 1 --out out/choi2017",
        ("released",),
        "out/choi2017",
        slow=True,
    ),
    "reproduce zhang2015": Example(
        f"--root music --features MEL --systems kcnn --folds 3 --test_folds 1 --out out/zhang2015 "
        f"-- {OPTIONS}",
        ("music",),
        "out/zhang2015",
        slow=True,
    ),
    "report projection": Example(
        "features.parquet --out out/projection --layers block1",
        ("features.parquet",),
        "out/projection",
        other="features.parquet --out out/projection --layers block2",
    ),
    "import choi2017": Example(
        "weights.hdf5 --out out/choi2017.ckpt",
        ("weights.hdf5",),
        "out/choi2017.ckpt",
    ),
    "import choi2017-features": Example(
        "released --task gtzan --out out/released.parquet",
        ("released",),
        "out/released.parquet",
    ),
    "data prepare": Example("gtzan --root music", ("music",), reads=False),
    "data verify": Example(
        "gtzan --root music --all",
        ("music",),
        code=1,  # tracks are shorter than those of GTZAN
    ),
    "data pack": Example(
        "gtzan --root music --sample_rate 8000 --workers 0",
        ("music",),
        "music/packed",
        writes="music/packed",
        workers="--workers 2",
    ),
    "data synth": Example(
        "out/music --tracks-per-genre 1 --seconds 2 --sample-rate 8000 --workers 1",
        output="out/music",
        other="out/music --tracks-per-genre 1 --seconds 2 --sample-rate 8000 --workers 1 --seed 1",
        workers="--workers 2",
        libraries=("joblib", "mgc.synthesis.data_set"),
    ),
}

#: All commands of mgc, in the order of the report.
NAMES = (*TRAINING, *COMMANDS)


SIZE = "--tracks-per-genre 10 --seconds 2 --sample-rate 8000 --workers 1"


def _trained(run: str, seed: int) -> tuple[str, ...]:
    ckpt = f"runs/{run}/checkpoints/best.ckpt"
    return (
        f"fit --config small.yaml --trainer.default_root_dir=runs/{run} --model.lr=0.0{seed + 1}",
        f"test --ckpt_path={ckpt}",
        f"validate --ckpt_path={ckpt}",
    )


def _extracted(run: str, table: str) -> tuple[str, ...]:
    ckpt = f"runs/{run}/checkpoints/best.ckpt"
    return (f"extract music --data gtzan --ckpt {ckpt} --accelerator cpu --out {table}",)


def _transferred(table: str, out: str) -> tuple[str, ...]:
    return (f"transfer {table} --layers 5 --classifier knn --folds 3 --jobs 1 --out {out}",)


#: Inputs of the examples, with the inputs and commands that make them.
RECIPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "music": ((), (f"data synth music {SIZE}",)),
    "other_music": ((), (f"data synth other_music {SIZE} --seed 1",)),
    "runs/one": (("music",), _trained("one", 0)),
    "runs/two": (("music",), _trained("two", 1)),
    "features.parquet": (("runs/one",), _extracted("one", "features.parquet")),
    "other.parquet": (("runs/two",), _extracted("two", "other.parquet")),
    "transferred": (("features.parquet",), _transferred("features.parquet", "transferred")),
    "other_transferred": (("other.parquet",), _transferred("other.parquet", "other_transferred")),
}


class Material:
    """Inputs of the examples, made when they are needed and shared by processes.

    Args:
        server: Starts the commands that make them.
        folder: Folder of the inputs.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the path of an input."""
        with filelock.FileLock(f"{self.folder}.lock"):
            self.folder.mkdir(exist_ok=True)
            self._make(name)
        return self.folder / name

    def _make(self, name: str) -> None:
        root = next((known for known in RECIPES if f"{name}/".startswith(f"{known}/")), name)
        marker = self.folder.with_name(f"made {root.replace('/', ' ')}")
        if marker.exists():
            return
        if root in ("small.yaml", "sweep.yaml"):
            text = SMALL if root == "small.yaml" else SWEEP
            (self.folder / root).write_text(text, encoding="utf-8")
        elif root in ("weights.hdf5", "other.hdf5"):
            tests = Path(__file__).parents[1] / "commands/test_import_choi2017.py"
            write_weights = _function(tests, "write_weights")
            write_weights(self.folder / root, int(root == "other.hdf5"))
        elif root == "released":
            write_release(self.folder / root, "gtzan")
        elif root == "msd":
            tests = Path(__file__).parents[1] / "data/generate_msd.py"
            generate_msd = _function(tests, "generate_msd")
            generate_msd(self.folder / root, tracks=144, artists=20, beats=24)
            ended = self.server.run("data pack msd_key --root msd", self.folder)
            assert ended.code == 0, ended.text[-2000:]
        else:
            needed, commands = RECIPES[root]
            for other in ("small.yaml", *needed):
                self._make(other)
            for command in commands:
                ended = self.server.run(command, self.folder)
                assert ended.code == 0, f"mgc {command}: {ended.text[-2000:]}"
            # The record of the synthesis is no part of GTZAN.
            for path in (self.folder / root).glob("*synthesis*.json"):
                path.unlink()
        marker.touch()

    def copy(self, names: tuple[str, ...], folder: Path) -> None:
        """Copy inputs to a working folder."""
        for name in names:
            source, target = self.path(name), folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif not target.exists():
                shutil.copy2(source, target)


def _function(path: Path, name: str) -> Callable[..., object]:
    """Return a function of a test module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., object] = getattr(module, name)
    return function
