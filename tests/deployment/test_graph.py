import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from generated_graph import save_graph
from installed import Environment
from lightning.pytorch import LightningModule
from torch import nn

from mgc import checkpoint
from mgc.cli import main
from mgc.data.gtzan import GTZAN
from mgc.deployment.graph import export_graph
from mgc.deployment.onnx_model import OnnxModel
from mgc.errors import MgcError
from mgc.locks import locked_versions
from mgc.models.conv_dbn import ConvDBN
from mgc.models.kcnn import KCNNClassifier
from mgc.models.naive_bayes import NaiveBayes
from mgc.models.vgg import VGGTagger


class Louder(LightningModule):
    """A model of another package: two classes by the loudness of a clip."""

    num_classes = 2

    def forward(self, audio):
        level = audio.square().mean(1, keepdim=True)
        return torch.cat([level, 0.01 - level], 1)


class Convolution(Louder):
    """A model with many weights."""

    num_classes = 10

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 10, 5000, stride=1000)

    def forward(self, audio):
        return self.conv(audio[:, None]).mean(2)


class PadsShortClips(Louder):
    """Pads clips of less than 1000 samples, which a trace of longer clips does not record."""

    def forward(self, audio):
        if audio.shape[1] < 1000:
            audio = nn.functional.pad(audio, (0, 1000 - audio.shape[1]), value=0.1)
        return super().forward(audio.unfold(1, 1000, 500).amax(1))


class FirstHalfOnly(Louder):
    """Selects samples outside of torch, so it cannot be exported."""

    def forward(self, audio):
        return super().forward(torch.from_numpy(audio.numpy()[:, : audio.shape[1] // 2]))


class MoodSwings(Louder):
    """Computes different values when exported."""

    def forward(self, audio):
        return super().forward(audio * (3 if torch.compiler.is_exporting() else 1))


def about(model, **settings):
    data = GTZAN("nowhere", sample_rate=8000, clip_seconds=1.0, hop_seconds=0.5)
    described = checkpoint.describe(model, data)
    return described | {"labels": described["labels"][: outputs(model)]} | settings


def outputs(model):
    return getattr(model, "hparams", {}).get("num_classes") or model.num_classes


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, beside the graph that mgc export wrote from it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vgg")
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
    content["pytorch-lightning_version"] = "2.6.6"
    torch.save({**content, checkpoint.KEY: about(model)}, folder / "vgg.ckpt")
    main(["export", "--ckpt", str(folder / "vgg.ckpt"), "--out", str(folder / "vgg.onnx")])
    return folder


def test_graph_has_a_description_and_dynamic_shapes(vgg: Path) -> None:
    session = onnxruntime.InferenceSession(vgg / "vgg.onnx")
    description = json.loads(session.get_modelmeta().custom_metadata_map["mgc"])
    assert description["model"] == "vgg_tagger"
    assert description["labels"][0] == "blues"
    audio = [description[key] for key in ("sample_rate", "hop_seconds", "samples")]
    assert audio == [8000, 0.5, None]
    model = checkpoint.load(vgg / "vgg.ckpt")
    for batch, samples in ((1, 8000), (3, 20_000), (2, 777)):
        clips = torch.randn(batch, samples) / 10
        with torch.no_grad():
            expected = model(clips).softmax(1).numpy()
        found = session.run(None, {"audio": clips.numpy()})
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_graph_contains_no_fourier_operator(vgg: Path) -> None:
    used = {node.op_type for node in onnx.load(vgg / "vgg.onnx").graph.node}
    assert "MatMul" in used
    assert not used & {"STFT", "DFT"}


def test_classify_gives_the_same_result_without_torch(
    vgg: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files at the model's rate, at another rate, in stereo, as MP3 and shorter than a clip."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "stereo.flac", rng.normal(0, 0.1, (44_100, 2)), 22_050)
    soundfile.write(tmp_path / "short.wav", rng.normal(0, 0.1, 4000), 8000)
    soundfile.write(tmp_path / "song.mp3", rng.normal(0, 0.1, 32_000), 16_000)
    songs = [str(tones / "genres" / "metal" / "metal.00000.wav")]
    songs += [str(tmp_path / name) for name in ("stereo.flac", "short.wav", "song.mp3")]
    words = ["classify", *songs, "--format", "json", "--over_time", "--ckpt"]
    main([*words, str(vgg / "vgg.ckpt")])
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (tmp_path / "packages").mkdir()
    serving = Environment(tmp_path / "packages", dict(locked_versions("serve")))
    done = serving.run(*words, str(vgg / "vgg.onnx"))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(song["clips"]) for song in found] == [3, 3, 1, 3]
    for one, other in zip(found, expected, strict=True):
        assert one["file"] == other["file"]
        assert one["outputs"] == pytest.approx(other["outputs"], abs=1e-5)
        for clip, theirs in zip(one["clips"], other["clips"], strict=True):
            assert clip["start"] == theirs["start"]
            assert clip["outputs"] == pytest.approx(theirs["outputs"], abs=1e-5)


@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_a_model_of_another_package(tmp_path: Path, format: str) -> None:
    model = Louder()
    done = export_graph(model, about(model), tmp_path / "louder", format)
    assert done.difference < 1e-6
    assert done.about["model"] is None
    assert done.about["samples"] is None
    assert {shape[1] for shape in done.checked} == {8000, 10_666, 16_001, 6000}


def test_an_archive_of_torch_holds_its_description(tmp_path: Path) -> None:
    model = Louder()
    export_graph(model, about(model), tmp_path / "louder.pt2", "torch_export")
    extra = {"mgc.json": ""}
    program = torch.export.load(tmp_path / "louder.pt2", extra_files=extra)
    assert json.loads(extra["mgc.json"])["sample_rate"] == 8000
    loud = program.module(check_guards=False)(torch.ones(1, 9000))[0]
    assert loud[0, 0] > 0.7


def test_a_graph_that_differs_is_not_written(tmp_path: Path) -> None:
    model = MoodSwings()
    with pytest.raises(MgcError, match=r"by .*, more than the --tolerance of 0\.0001"):
        export_graph(model, about(model), tmp_path / "out.pt2", "torch_export")
    assert not list(tmp_path.glob("*.pt2*"))
    assert export_graph(model, about(model), tmp_path / "out.pt2", "torch_export", tolerance=1.0)


def test_a_model_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    model = FirstHalfOnly()
    with pytest.raises(MgcError, match="FirstHalfOnly cannot be exported to torch_export: "):
        export_graph(model, about(model), tmp_path / "out.pt2", "torch_export")
    assert not list(tmp_path.glob("*.pt2*"))


def test_tracks_of_any_length(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ConvDBN(num_classes=3, maps=2)
    nn.init.normal_(model.head.weight)
    done = export_graph(model, about(model), tmp_path / "dbn.onnx")
    assert done.about["samples"] is None
    assert {shape[1] for shape in done.checked} == {200, 266, 401, 150}


def test_clips_too_short_for_a_graph_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = PadsShortClips(), tmp_path / "model.onnx"
    done = export_graph(model, about(model, task="multiclass", short="keep"), path)
    assert done.about["shortest"] == 2000
    for name, samples in (("short", 900), ("long", 2500)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, 0.1), 8000)
    with pytest.raises(SystemExit, match="2"):
        main(
            [
                "classify",
                *(str(tmp_path / f"{n}.wav") for n in ("short", "long")),
                "--ckpt",
                str(path),
            ]
        )
    out, err = capsys.readouterr()
    assert "long.wav" in out
    assert "short.wav: lasts 0.11 s, but" in err
    assert "needs 0.25 s. Use the checkpoint." in err


def test_songs_with_fewer_words_than_pooled(tmp_path: Path) -> None:
    """KCNN keeps the 5 largest values per unit; a clip of 0.05 s has only one word."""
    torch.manual_seed(0)
    model = KCNNClassifier("MEL", codebook_size=4, num_classes=3)
    model.words.fit({"MEL": torch.randn(50, model.words.segments.widths["MEL"])})
    nn.init.normal_(model.net.hidden.weight, std=0.1)
    settings = {"sample_rate": 22050, "clip_seconds": 2.0, "task": "multiclass"}
    done = export_graph(model, about(model, **settings), tmp_path / "kcnn.onnx")
    assert done.about["shortest"] == 22050 // 20


def test_float64_is_refused(tmp_path: Path) -> None:
    model = NaiveBayes(num_classes=3, window_beats=2)
    with pytest.raises(MgcError, match="lacks float64 operations"):
        export_graph(model, about(model), tmp_path / "bayes.onnx")
    assert export_graph(model, about(model), tmp_path / "bayes.pt2", "torch_export")


def test_features_are_named_outputs(tmp_path: Path) -> None:
    path = tmp_path / "mfcc.onnx"
    main(f"export --model mfcc --outputs features --clip_seconds 2 --out {path}".split())
    session = onnxruntime.InferenceSession(path)
    assert [slot.name for slot in session.get_outputs()] == ["mfcc"]
    assert session.run(None, {"audio": np.zeros((3, 24_000), np.float32)})[0].shape == (3, 120)


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    model = Convolution()
    sizes = {}
    for precision in ("float32", "float16"):
        path = tmp_path / f"{precision}.pt2"
        done = export_graph(model, about(model), path, "torch_export", precision=precision)
        assert done.difference < 1e-2
        sizes[precision] = path.stat().st_size
    saved = sum(p.numel() * 2 for p in model.parameters())
    assert sizes["float32"] - sizes["float16"] > 0.7 * saved


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--out x.onnx", "Set a checkpoint"),
        ("--out x.onnx --model mfcc", "add --outputs features"),
        ("--out x.pt --ckpt y.ckpt", "the name must end in .onnx with --format onnx"),
        ("--out x.onnx --ckpt missing.ckpt", "missing.ckpt: no such checkpoint"),
        ("--out x.onnx --ckpt y.ckpt --tolerance 0", "must be a number greater than 0"),
    ],
)
def test_wrong_options(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export", *words.split()])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_features_do_not_classify(tmp_path: Path, tones: Path) -> None:
    path = save_graph(tmp_path / "features.onnx", about(Louder()) | {"outputs": ["mfcc"]})
    with pytest.raises(SystemExit):
        main(["classify", str(tones / "genres/pop/pop.00000.wav"), "--ckpt", str(path)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clips_that_are_not_finite_have_no_probabilities(vgg: Path, value: float) -> None:
    model = OnnxModel(vgg / "vgg.onnx")
    clips = np.zeros((2, 8000), np.float32)
    clips[1, 4000] = value
    outputs = model.classify(clips)
    assert np.isfinite(outputs[0]).all()
    assert np.isnan(outputs[1]).all()
