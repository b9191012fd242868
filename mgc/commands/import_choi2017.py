"""``mgc import choi2017``: the published weights of the VGG tagger."""

import random
import sys
from typing import Literal

from tqdm import tqdm

from mgc.errors import MgcError


def import_choi2017(
    weights: str,
    out: str,
    statistics: Literal["per_clip", "calibrated"] | None = None,
    calibrate: str | None = None,
    clips: int = 256,
) -> None:
    """Turn the weights published by Choi et al. (ISMIR 2017) into a checkpoint of the VGG tagger.

    The checkpoint takes 29 s at 12 000 Hz and gives 50 Last.fm tags; every command takes it. The
    published network leans on the statistics of the batch it is given, so something must stand in
    for them. per_clip: each clip's own, which is what the released script does with one clip at a
    time. calibrated: those of a collection of music, computed once and then fixed, which keeps
    what tells one clip from another, such as its level, and is nearer to the published features.

    Example: mgc import choi2017 weights_theano.hdf5 --out vgg_choi2017.ckpt --calibrate music/

    Args:
        weights: The released file weights_theano.hdf5.
        out: Checkpoint to write.
        statistics: per_clip or calibrated; by default calibrated if a folder is given for it.
        calibrate: Folder of music to calibrate on, with sub-folders; mixed music is best.
        clips: How many files of the folder are used at most, drawn at random, always the same. The
            published features were computed with 256 at a time. Memory: 7 MB a clip.

    Raises:
        MgcError: If the weights or the music cannot be read.
    """
    if statistics is None:
        statistics = "calibrated" if calibrate else "per_clip"
    if statistics == "calibrated" and not calibrate:
        raise MgcError("statistics=calibrated needs music: give a folder with --calibrate.")
    if statistics == "per_clip" and calibrate:
        raise MgcError("statistics=per_clip uses no music: leave --calibrate out.")
    if clips < 1:
        raise MgcError(f"clips={clips}: at least 1 is needed.")

    from mgc.data.audio import find_files
    from mgc.models import choi2017_weights as choi2017

    state = choi2017.read_weights(weights)
    if calibrate is None:
        model = choi2017.make_model(state, per_clip=True, reference_db=None)
    else:
        files = find_files(calibrate)
        if not files:
            raise MgcError(f"{calibrate}: no audio files in this folder. Check --calibrate.")
        if len(files) > clips:
            files = random.Random(0).sample(files, clips)  # noqa: S311 # no secret
        broken: list[str] = []
        shown = tqdm(files, unit="clip", desc="Reading", disable=not sys.stderr.isatty())
        decibels = choi2017.mel_decibels(choi2017.read_clips(shown, broken))
        model = choi2017.make_model(state, per_clip=False, reference_db=decibels.max().item())
        choi2017.calibrate(model, decibels)
        for line in broken:
            print(f"mgc: {line}", file=sys.stderr)
        print(f"Calibrated on {len(decibels)} clips, {len(broken)} files could not be read.")
    choi2017.write_checkpoint(model, out)
    print(f"Written: {out}")
