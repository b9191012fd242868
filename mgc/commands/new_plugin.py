"""``mgc new-plugin``: a package to start from."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import mgc
from mgc import registry
from mgc.core.writing import all_or_nothing
from mgc.errors import MgcError

#: Complete packages of each kind, whose names are replaced.
TEMPLATES = Path(__file__).parents[1] / "plugin_template"

#: Name in the template of each kind, as words.
EXAMPLES = {"model": ("example", "net"), "data": ("example", "data")}


def new_plugin(name: str, kind: Literal["model", "data"] = "model", folder: str = ".") -> None:
    """Write a package with a small working model or data set to start from.

    It holds a module, a configuration, tests and a README that says how to install, train and test
    it. All of it works as it is.

    Example: mgc new-plugin my-net

    Example: mgc new-plugin my-music --kind data

    Args:
        name: Name of the package, such as my-net. The module is my_net, the class MyNet.
        kind: What it is to hold, a model or a data set.
        folder: Where its folder is made.

    Raises:
        MgcError: If the name cannot be used, or the folder is there already.
    """
    words = [word.lower() for word in re.split(r"[-_]+", name)]
    module = "_".join(words)
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", module) or keyword.iskeyword(module):
        raise MgcError(
            f"{name!r} cannot name a package: use letters, digits and dashes, as in my-net."
        )
    claims = registry.find(kind).get(module)
    if claims:
        owner = registry.owner(claims[0])
        raise MgcError(f"There is a {kind} '{module}' already, from {owner}. Choose another name.")
    if find_spec(module):
        raise MgcError(f"There is a module {module!r} already. Choose another name.")
    place = Path(folder) / name
    if place.exists():
        raise MgcError(f"{place} is there already. Choose another name or --folder.")
    replacements = _spellings(EXAMPLES[kind], words) | {"MGC_REQUIREMENT": mgc_requirement()}
    try:
        with all_or_nothing(place) as partial:
            for source in sorted((TEMPLATES / kind).rglob("*")):
                if source.is_file() and "__pycache__" not in source.parts:
                    inside = _replace(str(source.relative_to(TEMPLATES / kind)), replacements)
                    target = partial / inside
                    target.parent.mkdir(parents=True, exist_ok=True)
                    text = _replace(source.read_text(encoding="utf-8"), replacements)
                    target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MgcError(f"{place} cannot be written: {error.strerror}.") from error
    what = {"model": "model", "data": "data set"}[kind]
    print(f"{place}: a package with the {what} '{module}'. Next:")
    print(f'  cd {place} && pip install -e ".[test]" && pytest')
    print(f"and {place / 'README.md'} says how to train{' it' if kind == 'model' else ' on it'}.")


def mgc_requirement() -> str:
    """Name the versions of mgc that share the public API of this one.

    Returns:
        A requirement, such as ``mgc-lightning>=0.1,<0.2``.
    """
    major, minor = map(int, mgc.__version__.split(".")[:2])
    following = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f"{mgc.DISTRIBUTION}>={major}.{minor},<{following}"


def _spellings(example: tuple[str, ...], words: list[str]) -> dict[str, str]:
    """What each spelling of the template's name becomes."""
    return {join.join(example): join.join(words) for join in ("_", "-")} | {
        "".join(map(str.title, example)): "".join(map(str.title, words))
    }


def _replace(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
