"""Outputs that cannot be written are reported in one line, and a rerun with room completes them."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_cases import Case
from fault_runs import Ended


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def names_a_path(ended: Ended) -> str:
    """Describe what is wrong with the error of a command that could not write."""
    problem = ended.problem(0, 2)
    if not problem and ended.code == 2 and "/" not in ended.errors[0]:
        problem = f"no path: {ended.errors[0][:160]}"
    return problem


def test_disk_full(case: Case) -> None:
    case.needs_output()
    for share in (0.3, 0, 0.7)[: case.limit(3)]:
        folder = case.new()
        size = max(4096, int(case.reference.size * share))
        with disk(folder / case.example.writes, f"size={size}"):
            ended = case.server.run(case.command, folder)
            remount(folder / case.example.writes, "size=1g")
            problem = names_a_path(ended)
            if not problem and ended.code == 0:
                problem = case.difference(folder)
            case.add(f"{size} bytes", problem or case.rerun(folder))


def test_no_inodes(case: Case) -> None:
    case.needs_output()
    folder = case.new()
    with disk(folder / case.example.writes, "size=1g,nr_inodes=2"):
        ended = case.server.run(case.command, folder)
        remount(folder / case.example.writes, "nr_inodes=100000")
        problem = names_a_path(ended)
        case.add("2 inodes", problem or case.rerun(folder))


def test_file_size_limit(case: Case) -> None:
    case.needs_output()
    logged = max(len(case.reference.ended.out), len(case.reference.ended.err))
    limit = case.reference.largest // 2
    if limit <= 2 * logged:
        pytest.skip("the output is smaller than the log")
    folder = case.new()
    ended = case.server.run(case.command, folder, RLIMIT_FSIZE=limit)
    problem = names_a_path(ended)
    if not problem and ended.code == 0:
        problem = case.difference(folder)
    case.add(f"limit {limit} bytes", problem or case.rerun(folder))


def test_read_only(case: Case) -> None:
    case.needs_output()
    folder = case.new()
    with disk(folder / case.example.writes, "size=1g,ro"):
        ended = case.server.run(case.command, folder)
        problem = ended.problem(2) or names_a_path(ended)
        remount(folder / case.example.writes, "rw")
        case.add("read-only", problem or case.rerun(folder))


def test_bad_output(case: Case) -> None:
    """Outputs that cannot be written: in a file, too long a name, a folder or pipe in the way."""
    case.needs_output()
    if case.example.writes != "out":
        pytest.skip("has no option for its output")
    output = case.example.output
    is_file = (case.reference.folder / output).is_file()

    folder = case.new()
    (folder / "out").rmdir()
    (folder / "out").write_text("kept")
    ended = case.server.run(case.command, folder)
    problem = ended.problem(2) or names_a_path(ended)
    if (folder / "out").read_text() != "kept":
        problem = problem or "overwrote the file"
    case.add("its folder is a file", problem)

    folder = case.new()
    long = "out/" + "x" * 300 + Path(output).suffix
    words = case.command.replace(output, long)
    if words != case.command:
        ended = case.server.run(words, folder)
        case.add("name of 300 characters", ended.problem(2) or names_a_path(ended), words)

    folder = case.new()
    if is_file:
        (folder / output).mkdir()
        (folder / output / "kept").touch()
    else:
        (folder / output).write_text("kept")
    ended = case.server.run(case.command, folder)
    problem = ended.problem(2) or names_a_path(ended)
    kept = (folder / output / "kept").exists() if is_file else (folder / output).is_file()
    case.add(
        "it is a folder" if is_file else "it is a file",
        problem or ("" if kept else "replaced it"),
    )

    folder = case.new()
    os.mkfifo(folder / output)
    ended = case.server.run(case.command, folder, timeout=30 + 5 * case.reference.seconds)
    problem = ended.problem(2) or names_a_path(ended)
    if not problem and not (folder / output).is_fifo():
        problem = "replaced the pipe"
    case.add("it is a named pipe", problem)
