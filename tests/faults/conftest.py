"""Fixtures of the fault tests, and their report: command x fault -> right / tried."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fault_cases import SCALE, Case, Reference, Results, make_report
from fault_examples import EXAMPLES, NAMES, Material
from fault_runs import Server

#: Environment variable with the file that gets the report.
REPORT = "MGC_FAULTS_REPORT"

#: Command and faults that the usual tests run.
SAMPLE = ("separate", ("SIGTERM", "read_only", "bad_output", "two_writers", "damaged_outputs"))

#: Tries of each command and fault.
RESULTS: Results = {}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start commands without the time for their imports."""
    server = Server(
        tmp_path_factory.mktemp("server"), {n: e.libraries for n, e in EXAMPLES.items()}
    )
    yield server
    server.close()


@pytest.fixture(scope="session")
def material(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Inputs of all examples, shared by the processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "faults"
    folder.mkdir(exist_ok=True)
    return Material(server, folder / "material")


@pytest.fixture(scope="session")
def references() -> dict[str, Reference]:
    return {}


@pytest.fixture(params=NAMES)
def case(
    request: pytest.FixtureRequest,
    server: Server,
    material: Material,
    tmp_path: Path,
    references: dict[str, Reference],
) -> Iterator[Case]:
    """The example of each command. Fails after the test if the command misbehaved in any try."""
    assert request.param in EXAMPLES, f"fault_examples.py has no example of mgc {request.param}"
    fault = request.node.originalname.removeprefix("test_").replace("_", " ")
    folder = tmp_path / "runs"
    folder.mkdir()
    case = Case(request.param, fault, server, material, folder, references)
    yield case
    shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Fail a test if the command misbehaved in any of its tries."""
    try:
        return (yield)
    finally:
        case = pyfuncitem.funcargs.get("case")
        if isinstance(case, Case):
            pyfuncitem.user_properties.append(("fault", (case.name, case.fault, case.tries)))
            failures = [
                f"{command}\n    {text}" for right, command, text in case.tries if not right
            ]
            if failures:
                count = f"{len(failures)} of {len(case.tries)}"
                pytest.fail(f"{count}:\n" + "\n".join(failures), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    """Run fewer tries in the usual tests."""
    if config.getoption("markexpr") == "not faults":
        os.environ.setdefault(SCALE, "0.34")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark all tests but the sample, and run those of a command in one process of pytest-xdist."""
    callspec = getattr(item, "callspec", None)
    if callspec and "case" in callspec.params:
        name = callspec.params["case"]
        item.add_marker(pytest.mark.xdist_group(name))
        item.add_marker(pytest.mark.timeout(1200))
        fault = item.originalname.removeprefix("test_")  # type: ignore[attr-defined]
        if name != SAMPLE[0] or fault not in SAMPLE[1]:
            item.add_marker(pytest.mark.faults)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add the tries of a test to the report and its file."""
    for key, value in report.user_properties:
        if key == "fault" and report.when == "call":
            name, fault, tries = cast(Any, value)
            RESULTS[name, fault] = tries
    if RESULTS and (path := os.environ.get(REPORT)) and "PYTEST_XDIST_WORKER" not in os.environ:
        Path(path).write_text(make_report(RESULTS), encoding="utf-8")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the report."""
    if RESULTS:
        terminalreporter.write_line(make_report(RESULTS))
