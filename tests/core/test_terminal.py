"""Names in the output of commands."""

import logging

import pytest

from mgc.core.terminal import print_line, print_table, report_user_errors, show_log
from mgc.errors import MgcError

NAME = "song\x1b[2J\n\u202emgc: error: forged.wav"
SHOWN = r"song\x1b[2J\n\u202emgc: error: forged.wav"


def test_names_stay_in_their_line(capsys):
    print_line(f"{NAME}: rock 0.90")
    print_table([("song", "genre"), (NAME, "rock")])
    show_log()
    logging.getLogger("mgc.test").warning("%s: %d of %.1f s", NAME, 3, 4.0)
    with pytest.raises(SystemExit), report_user_errors():
        raise MgcError(f"{NAME}: unreadable.")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{SHOWN}: rock 0.90"
    assert lines[2] == f"{SHOWN}  rock"
    assert lines[3] == f"{SHOWN}: 3 of 4.0 s"
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err
