"""``mgc card``: write the model card of a checkpoint."""

import logging
from pathlib import Path

from mgc.core.terminal import print_text
from mgc.core.writing import writes_file
from mgc.errors import MgcError

log = logging.getLogger(__name__)


@writes_file("out")
def card(
    *,
    ckpt: str,
    out: str | None = None,
    name: str | None = None,
    license: str | None = None,
    test: str | None = None,
    model: str | None = None,
) -> None:
    """Write the model card of a checkpoint, in the format of Hugging Face.

    The card describes the model and its settings, the data set with its split and licence, the
    training, the test results with 95 % intervals, and how to use the model. It is created from the
    checkpoint, the configuration of the run and the results of mgc test. Missing information is
    marked as unknown.

    Example: mgc card --ckpt runs/mgc/abc/checkpoints/best.ckpt --license cc-by-4.0 --out README.md

    Args:
        ckpt: Checkpoint written by mgc fit.
        out: File to write; by default the card is printed.
        name: Title of the card; by default the model and the data set.
        license: Licence of the weights, as a Hugging Face identifier: mit, cc-by-nc-4.0, ….
        test: Folder with the results of mgc test; by default that of the checkpoint's run.
        model: Class path of the model, such as my_package.MyNet, to describe a model that no
            installed package registers.

    Raises:
        MgcError: If the checkpoint or the results cannot be read, or do not belong together.
    """
    from mgc.core.writing import replacing
    from mgc.reports.model_card import model_card

    if out is not None and Path(out).is_dir():
        raise MgcError(f"--out {out} is a folder. Set a file, such as {Path(out, 'README.md')}.")
    text = model_card(ckpt, name=name, license=license, test=test, model=model)
    if out is None:
        print_text(text, end="")
        return
    with replacing(out) as partial:
        partial.write_text(text, encoding="utf-8")
    log.info("Model card: %s", out)
