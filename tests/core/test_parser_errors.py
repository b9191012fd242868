import pytest
from jsonargparse import ArgumentParser

from mgc.cli import main
from mgc.core.parser_errors import OneLineErrors, explain
from mgc.errors import MgcError


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "report experiment x --out y --paper nosuch",
            "--paper: expected one of dieleman2011, gwardys2014, senac2017, zhang2015; "
            "got 'nosuch'.",
        ),
        (
            "transfer x --out y --classifier nosuch",
            "--classifier: expected one of svm, svm_rbf, knn, logistic; got 'nosuch'.",
        ),
        ("data synth x --seconds abc", "--seconds: expected a number; got 'abc'."),
        ("transfer x --out y --folds 2.5", "--folds: expected a whole number; got '2.5'."),
        ("transfer x --out y --nested maybe", "--nested: expected true or false; got 'maybe'."),
        (
            "data pack gtzan --root x --data_args 3",
            "--data_args: expected settings (NAME: VALUE); got '3'.",
        ),
        ("classify", "Missing: files, --ckpt."),
        ("classify song.wav --ckpt", "--ckpt: value missing."),
        ("list --nonsense", "Unknown arguments: --nonsense. --help lists the options."),
    ],
)
def test_wrong_options_of_a_command(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"mgc: error: {message}\n"


class Base:
    pass


class Net(Base):
    def __init__(self, lr: float = 0.1, sizes: list[int] | None = None) -> None:
        pass


class Parser(OneLineErrors, ArgumentParser):
    pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.lr=abc"], "--model.lr: expected a number; got 'abc'."),
        (["--model.nosuch=1"], "--model.nosuch: no such option."),
        (["--model.sizes=abc"], "--model.sizes: expected a list; got 'abc'."),
        (["--model=os.path"], "--model: Import path does not correspond to a subclass of Base."),
    ],
)
def test_wrong_options_of_a_nested_class(words: list[str], message: str) -> None:
    parser = Parser()
    parser.add_argument("--model", type=Base | None)
    with pytest.raises(MgcError) as error:
        parser.parse_args([f"--model={__name__}.Net", *words])
    assert str(error.value) == message


def test_wrong_option_in_a_configuration() -> None:
    parser = Parser()
    parser.add_argument("--model", type=Base | None)
    with pytest.raises(MgcError) as error:
        parser.parse_object({"model": {"class_path": f"{__name__}.Net", "init_args": {"no": 1}}})
    assert str(error.value) == "--model.no: no such option. It is in the configuration."


def test_other_messages_are_put_into_one_line() -> None:
    assert explain("No such\n  thing.") == "No such thing."
