"""Test every command of an installed wheel in an empty folder, on synthetic music.

``make test-wheel`` runs these tests. ``MGC_COMMAND`` is the ``mgc`` executable of an environment
with the wheel and the locked versions.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mgc.cli import COMMANDS, TRAINING

EXECUTABLE = os.environ.get("MGC_COMMAND", "")

pytestmark = [
    pytest.mark.skipif(not EXECUTABLE, reason="MGC_COMMAND is not set"),
    pytest.mark.timeout(3600),  # tests run many commands that import PyTorch
]

PLUGIN = Path(__file__).parents[1] / "plugins" / "mgc-segment-codes"

#: Options that make fits small.
TRAINER = """
    --data.num_workers=0 --data.batch_size=8 --trainer.max_epochs=1
    --trainer.limit_train_batches=2 --trainer.accelerator=cpu --trainer.enable_progress_bar=false
"""
SIZE = f"--data.clip_seconds=2 --data.sample_rate=8000 {TRAINER}"
FIT = f"--data.root=music {SIZE}"

SONG = "music/genres/jazz/jazz.00000.wav"
RUN = "runs/mgc/one"
CKPT = f"{RUN}/checkpoints/best.ckpt"

Run = Callable[..., str]


def execute(*words: str, cwd: Path, path: Path | None = None) -> str:
    """Run a program in a folder without access to the clone and the user's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MGC_"))}
    environment |= {"HOME": str(cwd), "PYTHONWARNINGS": "ignore"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def mgc(folder: Path) -> Run:
    """Return a function that runs a command in the folder and returns its output."""

    def mgc(command: str, path: Path | None = None) -> str:
        return execute(EXECUTABLE, *command.split(), cwd=folder, path=path)

    return mgc


@pytest.fixture(scope="module")
def music(mgc: Run) -> None:
    """Synthesise ten tracks of 3 s per genre in the folder ``music``."""
    mgc("data synth music --tracks-per-genre 10 --seconds 3 --sample-rate 8000")


@pytest.fixture(scope="module")
def trained(mgc: Run, music: None) -> None:
    """Train with the shipped quickstart configuration."""
    mgc(f"fit --config quickstart {FIT} --model.channels=4 --trainer.logger.version=one")


@pytest.fixture(scope="module")
def tested(mgc: Run, trained: None) -> str:
    return mgc(f"test --ckpt_path {CKPT}")


@pytest.fixture(scope="module")
def features(mgc: Run, trained: None) -> str:
    mgc(f"extract music --data gtzan --ckpt {CKPT} --out features.parquet")
    return "features.parquet"


@pytest.fixture(scope="module")
def transferred(mgc: Run, features: str) -> str:
    mgc(f"transfer {features} --classifier knn --layers block5 --folds 3 --jobs 1 --out transfer")
    return "transfer"


def test_the_wheel_is_imported(folder: Path) -> None:
    python = Path(EXECUTABLE).with_name("python")
    place = execute(str(python), "-c", "import mgc; print(mgc.__file__)", cwd=folder)
    assert Path(place).is_relative_to(python.parents[1])
    assert "site-packages" in place


@pytest.mark.parametrize("command", [*TRAINING, *COMMANDS])
def test_help(command: str, mgc: Run) -> None:
    assert "usage: mgc" in mgc(f"{command} --help")


def test_doctor_reports_no_problems(mgc: Run) -> None:
    assert mgc("doctor").endswith("No problems found.\n")


def test_components_and_configurations_are_listed(mgc: Run, folder: Path) -> None:
    assert "vgg_tagger" in mgc("list --verbose --check")
    assert "sweeps/vgg_gtzan " in mgc("configs")
    (folder / "copied.yaml").write_text(mgc("configs vgg_gtzan"))
    assert "class_path: mgc.models.vgg.VGGTagger" in mgc("fit --config copied.yaml --print_config")


def test_data(mgc: Run, music: None) -> None:
    mgc("data prepare gtzan --root music")
    assert "0 broken" in mgc("data pack gtzan --root music --sample_rate 8000 --workers 1")


def test_config_of_a_run_repeats_it(mgc: Run, trained: None, folder: Path) -> None:
    text = (folder / RUN / "config.yaml").read_text()
    assert str(Path(EXECUTABLE).parents[1]) not in text
    assert yaml.safe_load(text)["model"]["init_args"]["channels"] == 4
    mgc(f"fit --config {RUN}/config.yaml --trainer.logger.version=again")
    assert (folder / "runs/mgc/again/checkpoints/best.ckpt").is_file()


def test_evaluation(mgc: Run, tested: str, folder: Path) -> None:
    assert "Test: track accuracy" in tested
    mgc(f"validate --ckpt_path {CKPT}")
    mgc(f"predict --ckpt_path {CKPT}")
    assert {"test", "validate", "predict"} <= {path.name for path in (folder / RUN).iterdir()}


def test_export_and_classify(mgc: Run, trained: None, folder: Path) -> None:
    mgc(f"export --ckpt {CKPT} --out model.onnx")
    probabilities = [
        json.loads(mgc(f"classify {SONG} --ckpt {path} --format json"))["outputs"]
        for path in (CKPT, "model.onnx")
    ]
    assert probabilities[0].keys() == probabilities[1].keys()
    assert max(probabilities[0].values()) < 1
    for label, value in probabilities[0].items():
        assert probabilities[1][label] == pytest.approx(value, abs=1e-4)


def test_model_card(mgc: Run, tested: str, folder: Path) -> None:
    mgc(f"card --ckpt {CKPT} --out card.md")
    assert "\npip install mgc-lightning\n" in (folder / "card.md").read_text()


def test_reports(mgc: Run, tested: str, transferred: str, features: str, folder: Path) -> None:
    shutil.copytree(folder / RUN, folder / "runs/mgc/other")
    mgc(f"fuse {RUN} runs/mgc/other --method product --out fused")
    mgc(f"compare {RUN} runs/mgc/other fused --out comparison")
    mgc(f"report experiment {RUN} fused --out experiment")
    mgc(f"report transfer {transferred} --out report")
    mgc(f"report projection {features} --out projection")
    for place in ("fused", "comparison", "experiment", "report", "projection"):
        assert list((folder / place).iterdir()), place


def test_separation(mgc: Run, music: None, folder: Path) -> None:
    mgc(f"separate {SONG} --out components")
    mgc(f"plot components {SONG} --out components.png")
    assert len(list((folder / "components").rglob("*.wav"))) == 2
    assert (folder / "components.png").stat().st_size > 10_000


def test_cross_validation_by_name(mgc: Run, music: None, folder: Path) -> None:
    command = "crossval --config quickstart --folds 3 --test_folds 1"
    command += f" -- {FIT} --model.channels=4"
    mgc(command)
    assert (folder / "runs/crossval/quickstart/test/tracks.parquet").is_file()
    # The path in a clone means the same experiment.
    command = command.replace("quickstart", "configs/quickstart.yaml")
    assert "1 of 1 folds are finished already." in mgc(command)


def test_sweep_by_name(mgc: Run, music: None, folder: Path) -> None:
    mgc(f"sweep vgg_gtzan --count 1 -- {FIT} --data.split=stratified --model.n_mels=32")
    assert (folder / "runs/sweep/vgg_gtzan/runs.csv").is_file()


def test_new_plugin(mgc: Run, music: None, folder: Path) -> None:
    mgc("new-plugin my-net")
    install("my-net", folder)
    assert "my_net:MyNet" in mgc("list", folder / "site")
    mgc(
        f"fit --config my-net/configs/my_net_synthetic.yaml {FIT} --trainer.logger.version=mine",
        folder / "site",
    )
    assert (folder / "runs/mgc/mine/checkpoints/best.ckpt").is_file()


def test_reproduce_papers(mgc: Run, music: None, folder: Path) -> None:
    network = "--model.backbone=test_resnet --model.pretrained=false --model.image_size=32"
    network += " --model.n_fft=256 --model.hop_length=128"
    network += " --model.harmonic_length=9 --model.percussive_length=9"
    mgc(f"reproduce gwardys2014 --root music -- {SIZE} {network}")
    assert "Table III" in (folder / "runs/gwardys2014/tables.md").read_text()

    shutil.copytree(PLUGIN, folder / "plugin", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    install("plugin", folder)
    assert "sparse_coding_gtzan" in mgc("configs", folder / "site")
    network = "--model.codebook_size=12 --model.units=8 --model.components=4"
    network += " --model.segment_frames=2 --model.vectors_per_word=16"
    mgc(
        "reproduce zhang2015 --root music --features MEL --systems sparse_coding,kcnn --folds 3 "
        f"--test_folds 1 -- --data.sample_rate=8000 {TRAINER} {network}",
        folder / "site",
    )
    assert "DBN + SVM" in (folder / "runs/zhang2015/gtzan/tables.md").read_text()


def install(source: str, folder: Path) -> None:
    """Install a package of the folder into ``site`` with the environment's uv."""
    words = "pip install --quiet --offline --no-deps --no-build-isolation --target site"
    uv, python = (str(Path(EXECUTABLE).with_name(name)) for name in ("uv", "python"))
    execute(uv, *words.split(), "--python", python, f"./{source}", cwd=folder)
