"""The Million Song Dataset: genres, artists, keys, tags, and tracks without labels."""

from mgc.data.msd.modules import MSDArtist, MSDGenre, MSDKey, MSDUnlabelled
from mgc.data.msd.tagging import MSDTagging

__all__ = ["MSDArtist", "MSDGenre", "MSDKey", "MSDTagging", "MSDUnlabelled"]
