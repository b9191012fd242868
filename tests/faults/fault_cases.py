"""Cases of the fault tests: the example of a command, its undisturbed run, and the report."""

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fault_examples import EXAMPLES, NAMES, Example, Material
from fault_outputs import Outputs, compare, find_varying, read_outputs
from fault_runs import Ended, Server

#: Command and fault, to its tries: whether right, the command, and what was wrong.
Results = dict[tuple[str, str], list[tuple[bool, str, str]]]

#: CPU time in seconds of a command that gets fewer tries.
SLOW_SECONDS = 8.0

#: Environment variable by which numbers of tries are multiplied.
SCALE = "MGC_FAULTS_SCALE"


@dataclass
class Reference:
    """An undisturbed run: what it wrote, which parts vary between runs, and how it ended."""

    outputs: Outputs
    varying: set[tuple[str, str]]
    seconds: float
    size: int
    largest: int
    ended: Ended
    folder: Path


@dataclass
class Case:
    """The example of a command, and the tries of a fault with it."""

    name: str
    fault: str
    server: Server
    material: Material
    folder: Path
    references: dict[str, Reference]
    tries: list[tuple[bool, str, str]] = field(default_factory=list)

    @property
    def example(self) -> Example:
        return EXAMPLES[self.name]

    @property
    def command(self) -> str:
        return f"{self.name} {self.example.words}".strip()

    @property
    def other_command(self) -> str:
        return f"{self.name} {self.example.other}"

    @property
    def reference(self) -> Reference:
        return self.reference_of(self.command)

    def reference_of(self, command: str) -> Reference:
        """Run a command twice without faults, once per session."""
        if command not in self.references:
            runs = []
            for _ in range(2):
                folder = self.new()
                ended = self.server.run(command, folder, timeout=200)
                assert ended.code == self.example.code, f"mgc {command}: {ended.text[-3000:]}"
                runs.append((folder, ended, read_outputs(folder, self.example.output)))
            (folder, ended, outputs), (other, _, others) = runs
            shutil.rmtree(other)
            kept = self.folder.parents[1] / f"reference {os.getpid()} {len(self.references)}"
            folder.rename(kept)
            sizes = [
                path.stat().st_size
                for path in (kept / self.example.writes).rglob("*")
                if path.is_file()
            ]
            self.references[command] = Reference(
                outputs,
                find_varying(outputs, others),
                ended.seconds,
                sum(sizes),
                max(sizes, default=0),
                ended,
                kept,
            )
        return self.references[command]

    def new(self) -> Path:
        """Create a working folder with the example's inputs."""
        folder = self.folder / f"run{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        extra = tuple(word for word in self.example.other.split() if word == "other_transferred")
        self.material.copy((*self.example.inputs, *extra), folder)
        if self.example.writes == "out":
            (folder / "out").mkdir()
        return folder

    def difference(self, folder: Path, reference: Reference | None = None) -> str:
        """Describe how the outputs in a folder differ from those of an undisturbed run."""
        expected = reference or self.reference
        found = read_outputs(folder, self.example.output)
        return compare(expected.outputs, found, expected.varying)

    def rerun(self, folder: Path) -> str:
        """Run the command again without a fault; describe what is wrong with the result."""
        ended = self.server.run(self.command, folder)
        problem = ended.problem(self.example.code)
        if problem and ended.code == 2 and not ended.problem(2):
            # A complete output may be kept.
            return self.difference(folder) and f"rerun: {problem}"
        return (
            f"rerun: {problem}"
            if problem
            else (d := self.difference(folder)) and f"after the rerun, {d}"
        )

    def add(self, what: str, problem: str, command: str = "") -> None:
        """Count a try of the fault; ``problem`` is empty if the command behaved well."""
        self.tries.append((not problem, f"mgc {command or self.command}", f"{what}: {problem}"))

    def needs_output(self) -> None:
        """Skip the test if the command writes no files."""
        if not self.example.output:
            pytest.skip("writes no files")

    @property
    def slow(self) -> bool:
        """Whether the command gets fewer tries."""
        return self.example.slow or self.reference.ended.cpu > SLOW_SECONDS

    def limit(self, count: int) -> int:
        """Return the number of tries instead of ``count``."""
        scale = float(os.environ.get(SCALE, 1))
        return max(1, round(scale * (1 if self.slow else count)))

    def delays(self, count: int = 3) -> list[float]:
        """Return random moments of the command's run."""
        count = self.limit(count)
        choose = random.Random(f"{self.command} {self.fault}")
        end = max(self.reference.seconds, 0.4)
        step = (end - 0.2) / count
        return [0.2 + step * (number + choose.random()) for number in range(count)]


def make_report(results: Results) -> str:
    """Return a table of right and tried cases, and the failures, as Markdown."""
    faults = list(dict.fromkeys(fault for _, fault in results))
    rows = [["command", *faults, "all"], ["---"] * (len(faults) + 2)]

    def share(tries: list[tuple[bool, str, str]]) -> str:
        return f"{sum(right for right, *_ in tries)} / {len(tries)}" if tries else "-"

    names = [name for name in NAMES if any(name == found for found, _ in results)]
    for name in [*names, "all"]:
        cells = [
            [
                t
                for (n, f), tries in results.items()
                if name in (n, "all") and f == fault
                for t in tries
            ]
            for fault in faults
        ]
        rows.append([name, *map(share, cells), share([t for cell in cells for t in cell])])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "Failures:", ""]
    for (_, fault), tries in results.items():
        for right, command, text in tries:
            if not right:
                lines.append(f"- {fault}, `{command}`: {' '.join(text.split())}")
    return "\n".join(lines) + "\n"
