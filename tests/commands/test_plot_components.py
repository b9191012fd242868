from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile

from mgc.cli import main
from mgc.features.component_plot import draw_components

RATE = 8000


@pytest.fixture
def song(tmp_path: Path) -> str:
    time = np.arange(2 * RATE) / RATE
    path = tmp_path / "song.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1000 * time), RATE)
    return str(path)


@pytest.mark.parametrize("words", [[], ["--scale=linear", "--margin-harmonic=2", "--start=1.9"]])
def test_image_is_written(song: str, words: list[str]) -> None:
    main(["plot", "components", song, "--out=pictures/components.png", *words])
    picture = matplotlib.image.imread("pictures/components.png")
    assert picture.std() > 0.1
    assert [path.name for path in Path("pictures").iterdir()] == ["components.png"]


def test_tone_is_at_its_time_and_frequency() -> None:
    """Frames and bins are at the centres of their cells; axes are in seconds and hertz."""
    decibels = np.full((129, 11), -80.0)
    decibels[32, 4] = 0  # 1000 Hz, 0.4 s after the start
    figure = draw_components(
        {"original": decibels, "harmonic": decibels},
        title="song",
        sample_rate=RATE,
        hop_length=800,
        start=20.0,
        f_min=0.0,
        f_max=4000.0,
        scale="linear",
        top_db=80.0,
    )
    first, second, bar = figure.axes
    assert [first.get_title("left"), second.get_title("left")] == ["original", "harmonic"]
    assert second.get_xlabel() == "time (s)"
    assert second.get_ylabel() == "frequency (Hz)"
    assert "dB" in bar.get_ylabel()
    assert first.get_xlim() == (20, 21)
    assert first.get_ylim() == (0, 4000)
    mesh = first.collections[0]
    row, column = np.argwhere(np.asarray(mesh.get_array()) == 0)[0]
    corners = mesh.get_coordinates()
    centre = (corners[row, column] + corners[row + 1, column + 1]) / 2
    np.testing.assert_allclose(centre, [20.4, 1000])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out=picture.txt"], "picture.txt: the name must end in .png"),
        (["--start=2"], "is 2.0 s long"),
        (["--f-max=5000"], "f_max=5000: must be at most 4000 Hz"),
        (["--n-fft=0"], "n_fft=0"),
    ],
)
def test_bad_input(
    song: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        main(["plot", "components", song, *words])
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_silence(song: str) -> None:
    soundfile.write(song, np.zeros(RATE), RATE)
    main(["plot", "components", song])
    assert Path("components.png").exists()
