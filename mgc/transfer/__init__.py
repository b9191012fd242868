"""Transfer learning: feature tables, extraction, folds, classifiers, reports.

The package itself is callable: ``mgc.transfer(features)`` calls
:func:`mgc.transfer.files.transfer`. A function with this name would hide the package from
``import mgc.transfer.files as files``.
"""

import sys
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from mgc.transfer.files import transfer

        return transfer(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        from mgc.transfer.files import transfer

        return signature(transfer)


sys.modules[__name__].__class__ = _CallableModule
