"""``mgc configs`` lists the shipped configurations and prints one."""

from pathlib import Path

import pytest

from mgc.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"


def test_one_line_per_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "CONTENT"]
    about = dict(line.split(maxsplit=1) for line in lines)
    for path in CONFIGS.rglob("*.yaml"):
        name = path.relative_to(CONFIGS).with_suffix("").as_posix()
        sentence = about[name].endswith(".") and len(about[name]) > 30
        assert sentence, f"{path} must begin with a sentence that says what it trains"


def test_printed_configuration_can_be_edited_and_used(
    capsys: pytest.CaptureFixture[str], tones: Path, workdir: Path
) -> None:
    main(["configs", "quickstart"])
    text = capsys.readouterr().out
    assert text == (CONFIGS / "quickstart.yaml").read_text()
    Path("mine.yaml").write_text(text.replace("max_epochs: 12", "max_epochs: 1"))
    words = f"fit --config mine.yaml --data.root {tones} --data.clip_seconds 1 --model.channels 4"
    main([*words.split(), "--trainer.logger=false", "--trainer.limit_train_batches=1"])
    assert list(workdir.rglob("best.ckpt"))
