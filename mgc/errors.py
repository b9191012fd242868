"""Errors that a command reports in one line."""


class MgcError(Exception):
    """An error that the user can fix: in a setting, a file or a plugin.

    The message is one line: which setting or file, what is wrong, how to fix it. Commands print it
    without a traceback and exit with code 2.
    """
