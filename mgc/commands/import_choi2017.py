"""``mgc import choi2017``: convert the published weights of the VGG tagger."""

import random
import sys
from typing import Annotated, Literal

from tqdm import tqdm

from mgc.core.ranges import Range
from mgc.core.terminal import print_line
from mgc.core.writing import writes_file
from mgc.errors import MgcError


@writes_file("out")
def import_choi2017(
    weights: str,
    out: str,
    statistics: Literal["per_clip", "calibrated"] | None = None,
    calibrate: str | None = None,
    clips: Annotated[int, Range(1, 10**6)] = 256,
) -> None:
    """Convert the weights published by Choi et al. (ISMIR 2017) to a checkpoint of the VGG tagger.

    The model takes clips of 29 s at 12 000 Hz and predicts 50 Last.fm tags. The published network
    normalises with the statistics of its input batch. The checkpoint replaces them: per_clip uses
    the statistics of each clip, like the released script with one clip at a time. calibrated
    uses fixed statistics of a music collection, which preserves differences between clips, such as
    their level, and is closer to the published features.

    Example: mgc import choi2017 weights_theano.hdf5 --out vgg_choi2017.ckpt --calibrate music/

    Args:
        weights: The released file weights_theano.hdf5.
        out: Checkpoint to write.
        statistics: per_clip or calibrated; by default calibrated with --calibrate, else per_clip.
        calibrate: Folder with music of various genres for calibration, searched recursively.
        clips: Maximum number of files to use, drawn at random with a fixed seed. The published
            features were computed in batches of 256. Needs 7 MB of memory per clip.

    Raises:
        MgcError: If the weights or the music cannot be read.
    """
    if statistics is None:
        statistics = "calibrated" if calibrate else "per_clip"
    if statistics == "calibrated" and not calibrate:
        raise MgcError("--statistics calibrated needs a music folder: add --calibrate.")
    if statistics == "per_clip" and calibrate:
        raise MgcError("--statistics per_clip uses no music: omit --calibrate.")

    from mgc.data.audio import find_files
    from mgc.models import choi2017_weights as choi2017

    state = choi2017.read_weights(weights)
    if calibrate is None:
        model = choi2017.make_model(state, per_clip=True, reference_db=None)
    else:
        files = find_files(calibrate)
        if not files:
            raise MgcError(f"--calibrate {calibrate}: no audio files in this folder.")
        if len(files) > clips:
            files = random.Random(0).sample(files, clips)  # noqa: S311 # no secret
        broken: list[str] = []
        shown = tqdm(files, unit="clip", desc="Reading", disable=not sys.stderr.isatty())
        decibels = choi2017.mel_decibels(choi2017.read_clips(shown, broken))
        model = choi2017.make_model(state, per_clip=False, reference_db=decibels.max().item())
        choi2017.calibrate(model, decibels)
        for line in broken:
            print_line(f"mgc: {line}", error=True)
        print_line(f"Calibrated on {len(decibels)} clips; skipped {len(broken)} unreadable files.")
    choi2017.write_checkpoint(model, out)
    print_line(f"Written to {out}")
