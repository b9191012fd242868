"""Of two commands with the same output, one is refused, or both are right."""

import signal
import time

from fault_cases import Case


def check_writers(case: Case, commands: tuple[str, str], delay: float) -> str:
    """Run two commands with the same output; describe what is wrong."""
    folder = case.new()
    first = case.server.start(commands[0], folder, log="1")
    time.sleep(delay)
    second = case.server.start(commands[1], folder, log="2")
    ends = (first.wait(), second.wait())
    for ended in ends:
        if problem := ended.problem(0, 2):
            return problem
    done = [command for command, ended in zip(commands, ends, strict=True) if ended.code == 0]
    if not done:
        return f"both refuse: {ends[0].errors} {ends[1].errors}"
    differences = [case.difference(folder, case.reference_of(command)) for command in done]
    return "" if "" in differences else differences[-1]


def test_two_writers(case: Case) -> None:
    case.needs_output()
    for delay in case.delays(2):
        delay = 0.0 if delay < case.reference.seconds / 2 else delay / 2
        both = (case.command, case.command)
        case.add(f"the same {delay:.1f} s later", check_writers(case, both, delay))
        if case.example.other:
            both = (case.command, case.other_command)
            case.add(f"{both[1]} {delay:.1f} s later", check_writers(case, both, delay))


def test_killed_writer(case: Case) -> None:
    """After kill -9 of one of two writers, the other one or a rerun completes the output."""
    case.needs_output()
    for delay in case.delays(2):
        folder = case.new()
        first = case.server.start(case.command, folder, log="1")
        second = case.server.start(case.command, folder, log="2")
        time.sleep(delay)
        first.send(signal.SIGKILL)
        first.wait()
        ended = second.wait()
        problem = ended.problem(0, 2)
        if not problem:
            problem = case.difference(folder) if ended.code == 0 else case.rerun(folder)
        case.add(f"killed after {delay:.1f} s", problem)
