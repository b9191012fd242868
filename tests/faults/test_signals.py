"""Stopped or killed commands end at once, and a rerun completes their output."""

import signal
import time

from fault_cases import Case

#: Seconds within which a command must end after a signal.
END_SECONDS = 5.0


def check_signal(case: Case, signum: signal.Signals) -> None:
    for delay in case.delays():
        folder = case.new()
        process = case.server.start(case.command, folder)
        time.sleep(delay)
        sent = time.monotonic()
        process.send(signum)
        ended = process.wait()
        late = ended.ended - sent
        # Outside of main, SIGTERM has its default action: 143 in a shell, too.
        accepted = (case.example.code, -signum if signum != signal.SIGINT else 128 + signum)
        if signum == signal.SIGTERM:
            accepted = (*accepted, 128 + signum)
        problem = ended.problem(*accepted)
        if late > END_SECONDS:
            problem = f"ended after {late:.1f} s"
        case.add(f"after {delay:.1f} s", problem or case.rerun(folder))


def test_SIGKILL(case: Case) -> None:
    check_signal(case, signal.SIGKILL)


def test_SIGTERM(case: Case) -> None:
    check_signal(case, signal.SIGTERM)


def test_SIGINT(case: Case) -> None:
    check_signal(case, signal.SIGINT)
