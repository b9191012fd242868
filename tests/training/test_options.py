"""Names and conflicts of options, in every spelling."""

from pathlib import Path

import pytest

from mgc.errors import MgcError
from mgc.training.options import check_reserved_options, option_name, read_settings


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("--model.lr=1", "model.lr"),
        ("--model.init_args.lr", "model.lr"),
        ("--trainer.logger.init_args.project=x", "trainer.logger.project"),
        ("--data.init_args.augment.init_args.gain=1", "data.augment.gain"),
        ("--trainer.callbacks+=x", "trainer.callbacks"),
        ("-c", "config"),
        ("--seed_everything=3", "seed_everything"),
    ],
)
def test_all_spellings_of_an_option_have_one_name(word: str, name: str) -> None:
    assert option_name(word) == name


def test_settings_are_read_from_mappings_and_files(workdir: Path) -> None:
    Path("second.yaml").write_text("model: {class_path: vgg_tagger, init_args: {lr: 1}}\n")
    Path("model.yaml").write_text("init_args: {lr: 3}\n")
    words = ["--config=second.yaml", '--model={"init_args": {"lr": 2}}', "--model", "model.yaml"]
    rates = [value for name, value, _ in read_settings(words) if name == "model.lr"]
    assert rates == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["--model.lr=1"], "--model.lr"),
        (["--model.lr", "1"], "--model.lr"),
        (["--model.init_args.lr", "1"], "--model.lr"),
        (["--model.dict_kwargs.lr=1"], "--model.lr"),
        (['--model={"class_path": "vgg_tagger", "init_args": {"lr": 1}}'], "model.lr in --model"),
        (["--model.init_args={lr: 1}"], "model.lr in --model.init_args"),
        (["--model", "model.yaml"], "model.lr in --model"),
        (["--config", "second.yaml"], "model.lr in --config second.yaml"),
        (["-c", "second.yaml"], "model.lr in -c second.yaml"),
        (["-csecond.yaml"], "model.lr in -c second.yaml"),
        (["--trainer.max_ep=1"], "--trainer.max_epochs"),
    ],
)
def test_a_setting_of_the_command_is_refused_in_any_spelling(
    words: list[str], place: str, workdir: Path
) -> None:
    Path("second.yaml").write_text("model: {init_args: {lr: 1}}\n")
    Path("model.yaml").write_text("init_args: {lr: 1}\n")
    with pytest.raises(MgcError) as error:
        check_reserved_options(words, ("model.lr", "trainer.max_epochs"), "sweep")
    assert str(error.value) == f"{place} is set by mgc sweep. Remove it."


def test_other_settings_are_accepted(workdir: Path) -> None:
    Path("second.yaml").write_text("model: {init_args: {dropout: 1}}\ndata: {root: x}\n")
    words = ["--config", "second.yaml", "--model=vgg_tagger", "--model.lr_decay=1", "--model.l=1"]
    check_reserved_options(
        [*words, "--config=missing.yaml"], ("model.lr", "seed_everything"), "sweep"
    )
