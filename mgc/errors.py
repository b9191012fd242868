"""Errors that are told to the user in one line."""


class MgcError(Exception):
    """Something the user can mend: a setting, a file, a plugin.

    The message is one line: which file or setting, what is wrong, what to do. The command line
    prints it without a traceback and exits with code 2.
    """
