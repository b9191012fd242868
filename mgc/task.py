"""The kinds of task."""

from typing import Literal

#: One class per track, any number of tags per track, or numbers per track.
Task = Literal["multiclass", "multilabel", "regression"]
