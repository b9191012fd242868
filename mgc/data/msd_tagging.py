"""Old path of :class:`mgc.data.msd.MSDTagging`, kept until mgc 0.2."""

from mgc.data.msd.tagging import MSDTagging as MSDTagging
