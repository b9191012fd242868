"""Unsupervised codes of segments: sparse coding, autoencoder, deep belief net.

Zhang et al. (2015) compare their network (``kcnn``) with these three. All use the segment vectors
of ``kcnn`` and max-pool the codes over the track.
"""
