"""Checks of the Docker files that need no Docker engine."""

import json
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile and their arguments, one per line."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = [line.strip().split(maxsplit=1) for line in lines if line.strip()]
    return [(word, re.sub(r"\s+", " ", rest)) for word, rest in words]


def volumes() -> list[str]:
    return json.loads(dict(instructions())["VOLUME"])


def test_copied_files_are_tracked_and_in_the_build_context() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    sent = [line[1:] for line in patterns if line.startswith("!")]
    copied = [rest for word, rest in instructions() if word == "COPY" and "--from=" not in rest]
    sources = [source for rest in copied for source in shlex.split(rest)[:-1]]
    assert len(sources) > 5
    for source in sources:
        assert (ROOT / source).exists()
        tracked = ["git", "-C", ROOT, "ls-files", "--error-unmatch", source]
        assert not (ROOT / ".git").exists() or not subprocess.call(
            tracked, stdout=subprocess.DEVNULL
        )
        parents = [source, *map(str, Path(source).parents)]
        assert any(fnmatch(parent, pattern) for parent in parents for pattern in sent)


def test_compose_file_runs_the_demo() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    services = compose["services"]
    for service in services.values():
        build = service["build"]
        assert (ROOT / "docker" / build["context"] / build["dockerfile"]).samefile(DOCKERFILE)
        # The value comes from the shell.
        assert service["environment"] == {"WANDB_API_KEY": None}
        assert {volume.split(":")[0] for volume in service["volumes"]} == set(compose["volumes"])
        assert {volume.split(":")[1] for volume in service["volumes"]} == set(volumes())
        assert set(service.get("depends_on", {})) < set(services)
    # The commands of make demo.
    makefile = (ROOT / "Makefile").read_text()
    for name in ("data", "fit", "test"):
        assert f"mgc {services[name]['command']}" in makefile.replace("$(BIN)/", "")
