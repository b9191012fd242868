"""Old path of :mod:`mgc.data.msd.beats`, kept until mgc 0.2."""

from mgc.data.msd.beats import beat_align as beat_align
from mgc.data.msd.beats import normalise_timbre as normalise_timbre
