"""Codes of segments learned without labels: sparse coding, autoencoder, deep belief net.

The three that Zhang et al. (2015) compare their network with. All see the same segment vectors as
the audio words of mgc's ``kcnn``; their codes are max-pooled over the track.
"""
