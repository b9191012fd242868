"""Test safe loading of YAML."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser, Namespace

from mgc.core import parser_errors as parser_errors  # bounds all parsers
from mgc.core.yaml_files import MAX_CHARS, dump_yaml, load_yaml, read_yaml, to_plain_text
from mgc.errors import MgcError


def alias_bomb(levels: int = 9) -> str:
    """Return a document of 100 lines whose aliases expand to 9 ** levels values."""
    lines = ["a0: &a0 [x]"]
    for level in range(levels):
        lines.append(f"a{level + 1}: &a{level + 1} [{', '.join([f'*a{level}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: a\ndata: b\nmodel: c", "'model' is set twice, in lines 1 and 3"),
        ("model:\n  lr: 1\n  lr: 2", "'lr' is set twice, in lines 2 and 3"),
        ("[{a: 1, a: 1}]", "'a' is set twice"),
        (alias_bomb(), "values, with aliases expanded"),
        ("a: &a [*a]", "contains itself"),
        pytest.param("[" * 200 + "]" * 200, "more than 100 levels", id="nested lists"),
        pytest.param("[" * 100_000, "nest|levels", id="unclosed lists"),
        pytest.param("x" * (MAX_CHARS + 1), "longer than", id="long"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: [", "did not find"),
        ("2001-99-99", "month must be"),
    ],
)
def test_unsafe_documents_raise_one_line(text: str, message: str) -> None:
    with pytest.raises(MgcError, match=message) as error:
        load_yaml(text, "settings.yaml")
    assert str(error.value).startswith("settings.yaml: not valid YAML: ")
    assert "\n" not in str(error.value)


def test_aliases_and_merge_keys_work() -> None:
    text = "base: &base {lr: 1, layers: &layers [1, 2]}\nother:\n  <<: *base\n  lr: 2\nall: *layers"
    assert load_yaml(text, "settings.yaml") == {
        "base": {"lr": 1, "layers": [1, 2]},
        "other": {"lr": 2, "layers": [1, 2]},
        "all": [1, 2],
    }


def test_files_are_refused_by_size(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("- x\n" * MAX_CHARS, encoding="utf-8")
    with pytest.raises(MgcError, match=r"large\.yaml: not valid YAML: longer than"):
        read_yaml(path)


def test_missing_files_raise_one_line(tmp_path: Path) -> None:
    with pytest.raises(MgcError, match="No such file"):
        read_yaml(tmp_path / "missing.yaml")


def test_parsers_bound_the_values_of_options() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sizes", type=dict)
    parser.add_argument("--power", type=float)
    for text in ("{a: 1, a: 2}", alias_bomb()):
        with pytest.raises(Exception, match="sizes"):
            parser.parse_args([f"--sizes={text}"])
    assert parser.parse_args(["--power=inf"]).power == float("inf")
    assert parser.parse_args(["--power=.inf"]).power == float("inf")


class Logger:
    """A class with an optional setting, such as a logger of Lightning."""

    def __init__(self, version: str | None = None) -> None:
        """Keep the setting."""
        self.version = version


#: Text that looks like a value of another type.
AMBIGUOUS = st.from_regex(r"[-+.]?[0-9a-fA-F_:.eExXoOinfINFnaNA+-]{0,8}", fullmatch=True)


@settings(deadline=None)
@given(text=st.one_of(st.text(), AMBIGUOUS, st.sampled_from(["null", "~", "yes", "No", "=", "<<"])))
@example(text="null")
@example(text="#x")
@example(text="1e3")
@example(text="1E3")
@example(text="1e-3")
@example(text="12e5")
@example(text="7e2")
@example(text="0o17")
@example(text="1_000")
@example(text="12:30:45")
@example(text="2001-01-01")
@example(text="inf")
@example(text="\u2028\x85\x07")
@example(text="\x85")
@example(text="\u2029")
@example(text="a\u2028 b")
def test_text_stays_text_in_a_saved_configuration(text: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--labels", type=list[str])
    parser.add_argument("--name", type=str)
    parser.add_argument("--version", type=str | None)
    parser.add_argument("--settings", type=dict[str, str])
    parser.add_argument("--logger", type=Logger)
    given = parser.parse_object({"labels": [text, "a"], "name": text, "settings": {text: text}})
    given.version = text
    path = f"{Logger.__module__}.Logger"
    given.logger = Namespace(class_path=path, init_args=Namespace(version=text))
    saved = parser.dump(given)
    assert parser.parse_string(saved) == given
    assert load_yaml(saved, "config.yaml") == given.as_dict()
    assert load_yaml(dump_yaml([text]), "values") == [text]


def test_quoted_null_becomes_plain_text() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--run.version", type=str | None)
    parser.add_argument("--settings", type=dict)
    read = parser.parse_string("{run: {version: 'null'}, settings: {a: [1, '~', null]}}")
    plain = to_plain_text(read).as_dict()
    assert plain == {"run": {"version": "null"}, "settings": {"a": [1, "~", None]}}
    assert {type(plain["run"]["version"]), type(plain["settings"]["a"][1])} == {str}
