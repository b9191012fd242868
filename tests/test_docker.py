"""The images, as far as that can be checked without an engine."""

import json
import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("Dockerfile*"))
KEY = re.compile(r"(api_?key|token|secret|password)", re.IGNORECASE)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile and what follows them, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = [line.strip().split(maxsplit=1) for line in lines if line.strip()]
    return [(word, re.sub(r"\s+", " ", rest)) for word, rest in words]


def last_stage(path: Path) -> list[tuple[str, str]]:
    said = instructions(path)
    return said[max(i for i, (word, _) in enumerate(said) if word == "FROM") :]


def test_both_images_are_checked() -> None:
    assert [path.name for path in FILES] == ["Dockerfile", "Dockerfile.cpu"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_container_runs_as_a_user_who_owns_the_volumes(path: Path) -> None:
    said = dict(last_stage(path))  # the last of each
    assert int(said["USER"]) > 0
    user = f"--uid {said['USER']}"
    (made,) = [rest for word, rest in last_stage(path) if word == "RUN" and "useradd" in rest]
    assert user in made
    for volume in json.loads(said["VOLUME"]):
        assert volume in made.partition("install --directory --owner mgc")[2].split()
    assert json.loads(said["ENTRYPOINT"]) == ["mgc"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_base_images_are_pinned_and_no_key_is_built_in(path: Path) -> None:
    stages: set[str] = set()
    for word, rest in instructions(path):
        if word == "FROM":
            image, *name = rest.split(" AS ")
            assert image in stages or re.fullmatch(r"\S+:\d+\.\d+\S*", image)
            stages |= set(name)
        if word in ("ENV", "ARG"):
            assert not KEY.search(rest)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_copied_is_there_and_reaches_the_builder(path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    assert ignored[0] == "*"
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    for word, rest in instructions(path):
        if word == "COPY" and not rest.startswith("--from="):
            *sources, _ = shlex.split(rest)
            for source in sources:
                assert (ROOT / source).exists()
                tracked = ["git", "-C", ROOT, "ls-files", "--error-unmatch", source]
                assert not (ROOT / ".git").exists() or not subprocess.call(
                    tracked, stdout=subprocess.DEVNULL
                )
                assert any(fnmatch(source.removeprefix("./"), pattern) for pattern in let_in)
    # Dependencies are a layer of their own, which a change of the code leaves as it is.
    order = [rest for word, rest in instructions(path) if word in ("COPY", "RUN")]
    installed = next(i for i, rest in enumerate(order) if "--requirements pyproject.toml" in rest)
    assert not any(re.search(r"\bmgc \./mgc", rest) for rest in order[:installed])


def pins() -> dict[str, str]:
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_pinned_versions_are_those_that_the_project_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = pins()
    build = project["build-system"]["requires"]
    for line in [*project["project"]["dependencies"], *build]:
        needed = Requirement(line)
        assert needed.name in pinned, f"{needed.name} is not in docker/constraints.txt: renew it"
        assert needed.specifier.contains(pinned[needed.name]), line


def test_the_quickstart_in_containers() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    services = compose["services"]
    for service in services.values():
        dockerfile = service["build"]["dockerfile"]
        assert (ROOT / "docker" / service["build"]["context"] / dockerfile).is_file()
        # Passed on from the shell, with no value here.
        assert service["environment"] == {"WANDB_API_KEY": None}
        for volume in service["volumes"]:
            name, place = volume.split(":")
            assert name in compose["volumes"]
            assert place in dict(last_stage(ROOT / dockerfile))["VOLUME"]
        for other in service.get("depends_on", {}):
            assert other in services
    # What the README's quickstart does, step by step.
    makefile = (ROOT / "Makefile").read_text()
    for name in ("data", "fit", "test"):
        assert f"mgc {services[name]['command']}" in makefile.replace("$(BIN)/", "")
