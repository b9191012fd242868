"""``mgc new-plugin``: create a package for a model or data set."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import mgc
from mgc import registry
from mgc.core.terminal import print_line
from mgc.core.writing import all_or_nothing, output_folder
from mgc.errors import MgcError

#: Folder with a complete package per kind.
TEMPLATES = Path(__file__).parents[1] / "plugin_template"

#: Words of the component name in each template, to be replaced.
EXAMPLES = {"model": ("example", "net"), "data": ("example", "data")}


def new_plugin(name: str, kind: Literal["model", "data"] = "model", folder: str = ".") -> None:
    """Create a package with a small working model or data set.

    The package has a module, a configuration, tests, and a README with the commands to install,
    train and test it. It works without changes.

    Example: mgc new-plugin my-net

    Example: mgc new-plugin my-music --kind data

    Args:
        name: Name of the package, such as my-net with module my_net and class MyNet.
        kind: model or data (a data set).
        folder: Parent folder of the package.

    Raises:
        MgcError: If the name is invalid or already in use, or the folder exists.
    """
    words = [word.lower() for word in re.split(r"[-_]+", name)]
    module = "_".join(words)
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", module) or keyword.iskeyword(module):
        raise MgcError(
            f"{name!r} is not a valid name. Use letters, digits and dashes, as in my-net."
        )
    claims = registry.find(kind).get(module)
    if claims:
        owner = registry.owner(claims[0])
        raise MgcError(f"The {kind} '{module}' already exists in {owner}. Choose another name.")
    spec = find_spec(module)
    if spec and spec.origin:  # not a folder without modules
        raise MgcError(f"The module {module!r} already exists. Choose another name.")
    package_folder = Path(folder) / name
    if package_folder.exists():
        raise MgcError(f"{package_folder} already exists. Choose another name or --folder.")
    replacements = _name_forms(EXAMPLES[kind], words) | {"MGC_REQUIREMENT": mgc_requirement()}
    with output_folder(package_folder), all_or_nothing(package_folder) as partial:
        for source in sorted((TEMPLATES / kind).rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                inside = _replace(str(source.relative_to(TEMPLATES / kind)), replacements)
                target = partial / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                text = _replace(source.read_text(encoding="utf-8"), replacements)
                target.write_text(text, encoding="utf-8")
    component = {"model": "model", "data": "data set"}[kind]
    print_line(f"Created {package_folder} with the {component} '{module}'. Install and test it:")
    print_line(f'  cd {package_folder} && pip install -e ".[test]" && pytest')
    print_line(
        f"To train{' it' if kind == 'model' else ' on it'}, see {package_folder / 'README.md'}."
    )


def mgc_requirement() -> str:
    """Return a requirement for versions with this API, such as ``mgc-lightning>=0.1,<0.2``."""
    major, minor = map(int, mgc.__version__.split(".")[:2])
    following = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f"{mgc.DISTRIBUTION}>={major}.{minor},<{following}"


def _name_forms(example: tuple[str, ...], words: list[str]) -> dict[str, str]:
    """Map each form of the template's name (such as snake case) to that of the new name."""
    return {join.join(example): join.join(words) for join in ("_", "-")} | {
        "".join(map(str.title, example)): "".join(map(str.title, words))
    }


def _replace(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
