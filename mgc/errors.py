"""Errors that a command reports in one line."""


class MgcError(Exception):
    """An error that the user can fix: in a setting, a file or a plugin.

    The message is one line: which setting or file, what is wrong, how to fix it. Commands print it
    without a traceback and exit with code 2.
    """


class ContractError(MgcError, AssertionError):
    """A model or data set returned something that mgc cannot use.

    It is an ``AssertionError`` too, because the checks of :mod:`mgc.testing` raise it.
    """
