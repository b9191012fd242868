"""Killed worker processes end a command with one line, or it completes."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from fault_cases import Case


def test_dead_workers(case: Case) -> None:
    """Killing a worker process gives one line or a complete output."""
    if not case.example.workers and not case.slow and case.name not in ("crossval", "sweep"):
        pytest.skip("has no workers")
    words = case.command
    if case.example.workers:
        head, dashes, rest = words.partition(" -- ")
        option = case.example.workers
        name = option.partition("=")[0].partition(" ")[0]
        kept = head.split()
        if name in kept:
            at = kept.index(name)
            del kept[at : at + 2]
        words = " ".join([*kept, option]) + dashes + rest
    for delay in case.delays():
        folder = case.new()
        process = case.server.start(words, folder)
        started = time.monotonic()
        workers: list[int] = []
        while not workers and time.monotonic() < started + 3 * case.reference.seconds + 5:
            time.sleep(0.02)
            workers = process.descendants()
            if not Path(f"/proc/{process.pid}").exists():
                break
        time.sleep(delay / 4)
        workers = process.descendants() or workers
        killed = False
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.Random(delay).choice(workers), signal.SIGKILL)
                killed = True
        ended = process.wait()
        if killed:
            problem = ended.problem(0, 2)
            case.add(
                f"killed {delay / 4:.1f} s after its start", problem or case.rerun(folder), words
            )
