import json
from pathlib import Path

import lightning
import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch import Trainer

from mgc import checkpoint
from mgc.cli import main
from mgc.data.gtzan import GTZAN
from mgc.models.vgg import VGGTagger


@pytest.fixture(scope="module")
def trained(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tagger that classifies the tones correctly."""
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=8, lr=0.01)
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0, batch_size=16)
    trainer = Trainer(
        max_epochs=12,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path_factory.mktemp("trained"),
    )
    trainer.fit(model, data)
    return trainer.checkpoint_callback.best_model_path


def test_genre_of_a_song(trained: str, tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = str(tones / "genres" / "metal" / "metal.00000.wav")
    main(["classify", song, "--ckpt", trained, "--top", "1"])
    assert capsys.readouterr().out.startswith(f"{song}: metal ")


def test_over_time_and_json(trained: str, tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    songs = [str(tones / "genres" / genre / f"{genre}.00001.wav") for genre in ("blues", "rock")]
    main(["classify", *songs, "--ckpt", trained, "--over-time", "--format=json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [song["file"] for song in found] == songs
    assert [clip["start"] for clip in found[0]["clips"]] == [0.0, 1.0]
    assert sum(found[0]["outputs"].values()) == pytest.approx(1)
    assert max(found[1]["outputs"], key=found[1]["outputs"].get) == "rock"


def test_clips_are_those_of_mgc_test(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hop, channel and treatment of short songs come from the checkpoint."""
    model = VGGTagger(num_classes=10, sample_rate=8000, channels=4)
    data = GTZAN(str(tones), sample_rate=8000, clip_seconds=1.0, hop_seconds=0.5, short="pad")
    data.channel = 1  # the tones have one channel, and the song below two
    path, song = tmp_path / "model.ckpt", tmp_path / "song.wav"
    content = {"state_dict": model.state_dict(), checkpoint.HYPER: dict(model.hparams)}
    content["pytorch-lightning_version"] = lightning.__version__
    torch.save({**content, checkpoint.KEY: checkpoint.describe(model, data)}, path)
    for seconds, starts in ((2.0, [0.0, 0.5, 1.0]), (0.6, [0.0])):
        noise = np.random.default_rng(0).normal(0, 0.1, (int(8000 * seconds), 2))
        soundfile.write(song, noise, 8000, subtype="FLOAT")
        main(["classify", str(song), "--ckpt", str(path), "--over-time", "--format=json"])
        told = json.loads(capsys.readouterr().out)["clips"]
        assert [clip["start"] for clip in told] == starts
        second = np.pad(noise[:, 1], (0, 8000)).astype(np.float32)
        clips = torch.stack([torch.from_numpy(second[int(8000 * s) :][:8000]) for s in starts])
        with torch.no_grad():
            expected = model.eval()(clips).softmax(1)
        found = torch.tensor([list(clip["outputs"].values()) for clip in told])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_any_rate_channels_and_length(
    trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = tmp_path / "song.flac"
    soundfile.write(song, np.random.default_rng(0).normal(0, 0.1, (11_025, 2)), 44_100)
    main(["classify", str(song), f"--ckpt={trained}", "--over_time", "--batch_size=2"])
    assert capsys.readouterr().out.count("0.0 s") == 1


def test_broken_files_are_skipped(
    trained: str, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no music")
    song = str(tones / "genres" / "pop" / "pop.00000.wav")
    with pytest.raises(SystemExit) as stop:
        main(["classify", str(broken), song, "--ckpt", trained])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out.startswith(song)
    assert "broken.mp3: " in err
    assert "1 of 2 files could not be classified" in err
