"""Scores published by Choi et al. (2017), by task and combination of layers.

Source: K. Choi, G. Fazekas, M. Sandler, K. Cho, Transfer learning for music classification and
regression tasks, ISMIR 2017, figure 2 and section 4.2: accuracy, or r² for emotion, under the
``paper`` protocol. ``best`` is the best combination if the paper does not name it.
"""

SCORES: dict[str, dict[str, float]] = {
    "extended_ballroom": {"123": 0.867, "1": 0.738, "mfcc": 0.622, "12345+mfcc": 0.819},
    "gtzan": {"12345": 0.898, "mfcc": 0.660, "12345+mfcc": 0.781},
    "gtzan_speech_music": {"12345": 1.0, "mfcc": 0.992, "12345+mfcc": 0.992},
    "emomusic_arousal": {"best": 0.656, "mfcc": 0.551, "12345+mfcc": 0.570},
    "emomusic_valence": {"best": 0.462, "mfcc": 0.267, "12345+mfcc": 0.354},
    "jamendo": {"best": 0.972, "mfcc": 0.917, "12345+mfcc": 0.952},
    "urbansound8k": {"best": 0.691, "mfcc": 0.651, "12345+mfcc": 0.714},
}
