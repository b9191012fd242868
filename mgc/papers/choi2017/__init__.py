"""Scores published by Choi et al. (2017), by target and combination of layers.

Source: K. Choi, G. Fazekas, M. Sandler, K. Cho, Transfer learning for music classification and
regression tasks, ISMIR 2017, figure 2 and section 4.2: accuracy, or r² for emotion, under the
``paper`` protocol. ``best`` is the best combination if the paper does not name it, and
``state_of_the_art`` the other system in the figures. For audio events, the text gives only its 74 %
without augmentation; 79 % with it are from the cited work (Salamon and Bello, 2017).
"""

from dataclasses import dataclass
from typing import Literal, get_args

#: Tasks by the name of their data set.
TaskName = Literal[
    "extended_ballroom", "gtzan", "gtzan_speech_music", "emomusic", "jamendo_vocals", "urbansound8k"
]
TASKS: tuple[TaskName, ...] = get_args(TaskName)


@dataclass(frozen=True)
class Target:
    """Target of a task; emotion has two, the other tasks one.

    Attributes:
        task: Name of the data set.
        column: Name of the target in the results of ``mgc transfer``.
        title: Title of our tables.
        figure: Number of the paper's figure.
        released: Name in the released scores.
        tracks: Number of tracks in the paper.
    """

    task: str
    column: str
    title: str
    figure: int
    released: str
    tracks: int


TARGETS: dict[str, Target] = {
    "extended_ballroom": Target(
        "extended_ballroom", "label", "ballroom dances", 3, "ballroom_extended", 4180
    ),
    "gtzan": Target("gtzan", "label", "genres", 4, "gtzan_genre", 1000),
    "gtzan_speech_music": Target(
        "gtzan_speech_music", "label", "speech or music", 6, "gtzan_speechmusic", 128
    ),
    "emomusic_arousal": Target("emomusic", "arousal", "arousal", 7, "emoMusic_a", 744),
    "emomusic_valence": Target("emomusic", "valence", "valence", 7, "emoMusic_v", 744),
    "jamendo_vocals": Target("jamendo_vocals", "label", "vocals", 8, "jamendo_vd", 4086),
    "urbansound8k": Target("urbansound8k", "label", "audio events", 9, "urbansound", 8732),
}

SCORES: dict[str, dict[str, float]] = {
    "extended_ballroom": {
        "123": 0.867, "1": 0.738, "mfcc": 0.622, "12345+mfcc": 0.819, "state_of_the_art": 0.949,
    },
    "gtzan": {"12345": 0.898, "mfcc": 0.660, "12345+mfcc": 0.781, "state_of_the_art": 0.945},
    "gtzan_speech_music": {
        "12345": 1.0, "mfcc": 0.992, "12345+mfcc": 0.992, "state_of_the_art": 1.0,
    },
    "emomusic_arousal": {
        "best": 0.656, "mfcc": 0.551, "12345+mfcc": 0.570, "state_of_the_art": 0.704,
    },
    "emomusic_valence": {
        "best": 0.462, "mfcc": 0.267, "12345+mfcc": 0.354, "state_of_the_art": 0.500,
    },
    "jamendo_vocals": {"best": 0.972, "mfcc": 0.917, "12345+mfcc": 0.952},
    "urbansound8k": {
        "best": 0.691, "mfcc": 0.651, "12345+mfcc": 0.714, "state_of_the_art": 0.790,
    },
}  # fmt: skip

#: Best scores in section 4.2.4, which differ from those in figure 2.
EMOTION_IN_TEXT = {"emomusic_arousal": 0.633, "emomusic_valence": 0.415}

#: ROC-AUC of the tagger on its test tracks (section 3.1).
TAGGING_AUC = 0.849

#: Genres of GTZAN that are not among the tags of the tagger (section 4.2.2).
UNTAGGED_GENRES = ("classical", "disco", "reggae")
