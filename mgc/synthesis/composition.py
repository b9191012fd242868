"""Songs of the synthetic music: what each genre plays, and how a song is drawn from it.

To change a genre, edit its entry in :data:`GENRES`. Rhythms are written in sixteenths, harmony in
Roman numerals; sounds are in :mod:`mgc.synthesis.instruments`.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from mgc.synthesis.instruments import KITS, VOICES, Note, Stroke

# How often one ingredient of a song (rhythm section, harmony, tempo, a part) comes from any genre.
ATYPICAL = 0.06

Table = dict[str, float]  # choices with their weights


@dataclass(frozen=True)
class Genre:
    """What a genre is made of. Tables hold choices with their weights.

    Attributes:
        tempo: Beats per minute: two thirds of the songs lie between these.
        harmony: Chords, one a bar, or two joined by a comma.
        scales: Of the melody; keys of :data:`SCALES`.
        drums: Keys of :data:`DRUMS`.
        kits: Keys of :data:`mgc.synthesis.instruments.KITS`.
        bass: Sound and pattern of the bass, joined by a slash; keys of ``VOICES``, :data:`BASS`.
        chords: Sound and pattern of the accompaniment; keys of ``VOICES``, :data:`CHORDS`.
        leads: Sound and manner of the melody; keys of ``VOICES``, :data:`MANNERS`.
        chord_parts: Fewest and most parts of accompaniment.
        lead_parts: Fewest and most melodies at a time.
        swing: Range of the place of the second half of ``swung`` (0.5 straight, 0.67 triplets).
        swung: What is swung, in beats: 1 for eighths, 0.5 for sixteenths.
        waltz: Probability of three beats a bar.
        rubato: Largest share by which the tempo sways.
        swell: Largest share by which the loudness sways.
        drum_level: Level of the drums in dB beside other parts.
    """

    tempo: tuple[float, float]
    harmony: Table
    scales: Table
    drums: Table
    kits: Table
    bass: Table
    chords: Table
    leads: Table
    chord_parts: tuple[int, int] = (2, 3)
    lead_parts: tuple[int, int] = (1, 1)
    swing: tuple[float, float] = (0.5, 0.54)
    swung: float = 1.0
    waltz: float = 0.0
    rubato: float = 0.01
    swell: float = 0.1
    drum_level: float = 3.0


SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "bebop": (0, 2, 4, 5, 7, 8, 9, 11),
}

# Per sixteenth: X accent, x stroke, g ghost, ? in half of the bars. A space is for the eye.
DRUMS: dict[str, dict[str, str]] = {
    "none": {},
    "backbeat": {
        "kick": "X....... x.?.....",
        "snare": "....X... ....X...",
        "hat": "x.x.x.x. x.x.x.x.",
    },
    "rock": {
        "kick": "X.....x. x.x...?.",
        "snare": "....X... ....X..?",
        "open": "x.x.x.x. x.x.x.x.",
    },
    "half time": {
        "kick": "X.....?. ...x..?.",
        "snare": "........ X.......",
        "ride": "x...x... x...x...",
    },
    "sixteenths": {
        "kick": "X..x..x. ..x..?..",
        "snare": "....X..g .g..X...",
        "hat": "xgxgxgxg xgxgxgxg",
    },
    "four on the floor": {
        "kick": "X...X... X...X...",
        "clap": "....x... ....x...",
        "hat": "..x...x. ..x...x.",
    },
    "disco": {
        "kick": "X...X... X...X...",
        "snare": "....X... ....X...",
        "hat": "xx.xxx.x xx.xxx.x",
        "open": "..x...x. ..x...x.",
        "conga": "?..?..x. ..?.x.x.",
    },
    "boom bap": {
        "kick": "X.?....x ..x..?..",
        "snare": "....X... ....X..?",
        "hat": "x.x.x.x. x.x.x.x?",
    },
    "trap": {
        "kick": "X......? ..x.....",
        "clap": "........ X.......",
        "hat": "x.x.xxxx x.x.x?x?",
    },
    "shuffle": {
        "kick": "X...x... X...x...",
        "snare": "....X... ....X...",
        "hat": "x.x.x.x. x.x.x.x.",
    },
    "slow blues": {
        "kick": "X....... x.x.....",
        "snare": "....X... ....X...",
        "ride": "x.x.x.x. x.x.x.x.",
    },
    "train": {
        "kick": "x...x... x...x...",
        "snare": "g.ggX.gg g.ggX.gg",
    },
    "two-step": {
        "kick": "X....... X.......",
        "rim": "....x... ....x...",
        "hat": "x...x... x...x...",
    },
    "ride": {
        "kick": "?....... ?.....?.",
        "snare": "..?...g. ..g..?..",
        "ride": "x...x.x. x...x.x.",
        "hat": "....x... ....x...",
    },
    "bossa": {
        "kick": "x.....x. x.....x.",
        "rim": "x.....x. ....x...",
        "shaker": "xgxgxgxg xgxgxgxg",
    },
    "one drop": {
        "kick": "........ X.......",
        "rim": "........ X....?..",
        "hat": "x.x.x.x. x.x.x.x.",
    },
    "rockers": {
        "kick": "X.....?. X.......",
        "snare": "........ X.....?.",
        "hat": "..x...x. ..x...x?",
    },
    "steppers": {
        "kick": "X...X... X...X...",
        "rim": "...x..x. ..x.x...",
        "hat": "..x...x. ..x...x.",
    },
    "double kick": {
        "kick": "xxxxxxxx xxxxxxxx",
        "snare": "....X... ....X...",
        "crash": "X....... ?.......",
        "open": "x...x... x...x...",
    },
    "gallop": {
        "kick": "X.xxX.xx X.xxX.xx",
        "snare": "....X... ....X...",
        "ride": "x...x... x...x...",
    },
    "blast": {
        "kick": "x.x.x.x. x.x.x.x.",
        "snare": ".x.x.x.x .x.x.x.x",
        "crash": "x....... x.......",
    },
    "waltz": {"kick": "X...........", "snare": "....x...x...", "hat": "x...x...x..."},
}

# Per sixteenth, for a tone of the chord (0 is the root) or o (root an octave up), a (a semitone
# from the next root); - holds, . rests.
BASS = {
    "none": "................",
    "roots": "0------- 0-------",
    "long": "0--------------- ",
    "eighths": "0-0-0-0- 0-0-0-0-",
    "chug": "0.000.00 0.000.00",
    "syncopated": "0--0--0- ..0-2-..",
    "octaves": "0-o-0-o- 0-o-0-o-",
    "disco": "0-.o0-oo 0-.o2-a-",
    "root and fifth": "0---.... 2---....",
    "shuffle": "0-0-2-2- 3-3-2-2-",
    "walking": "0---1--- 2---a---",
    "walk down": "0---2--- 1---a---",
    "dub": "....0-0- 2--0-...",
    "dub roots": "0--0--.. 2-1-0---",
    "boom": "0----..0 ..0--...",
    "drop": "0------- ......0-",
    "waltz": "0---........",
}

# As BASS, and x for the chord, p for its root and fifth, m for these damped.
CHORDS = {
    "held": "x--------------- ",
    "halves": "x------- x-------",
    "quarters": "x---x--- x---x---",
    "strum": "x---x-x- .-x-x-x-",
    "eighths": "x-x-x-x- x-x-x-x-",
    "arpeggio": "0-1-2-3- 2-1-2-1-",
    "fast arpeggio": "01230123 01230123",
    "alberti": "0-2-1-2- 0-2-1-2-",
    "boom-chick": "0---x--- 2---x---",
    "roll": "0213o213 0213o21.",
    "boogie": "p-p-x-x- p-p-x-x-",
    "riff": "0-.0.1-2 ..0-3-2-",
    "charleston": "x-....x- ........",
    "comping": "..x-..x. ....x-.. x--...x- ..x-....",
    "skank": "....x... ....x...",
    "double skank": "..x...x. ..x...x.",
    "bubble": "..0x..0x ..0x..0x",
    "scratch": "x.xx..x. xx.x..x.",
    "stabs": "...x..x. ........ ...x..x. x.x.....",
    "loop": "x-----1- 2---....",
    "power": "p------- p-----p-",
    "power eighths": "p-p-p-p- p-p-p-p-",
    "chug": "p.mmp.mm p.mmp-p-",
    "tremolo": "pppppppp pppppppp",
    "gallop": "m.mmm.mm m.mmp---",
    "waltz": "0...x...x...",
}


@dataclass(frozen=True)
class Manner:
    """How a melody moves.

    Attributes:
        onsets: Probability of a note on a beat, on an eighth and on a sixteenth.
        rest: Probability that half a bar is silent.
        leap: Typical step in tones of the scale.
        legato: Share of the time to the next note for which a note sounds.
    """

    onsets: tuple[float, float, float]
    rest: float
    leap: float
    legato: float = 0.9


MANNERS = {
    "song": Manner((0.8, 0.45, 0.06), rest=0.3, leap=1.5),
    "phrases": Manner((0.7, 0.6, 0.15), rest=0.45, leap=1.5),
    "line": Manner((0.85, 0.85, 0.1), rest=0.25, leap=1.5),
    "runs": Manner((0.95, 0.95, 0.85), rest=0.4, leap=1.2),
    "long": Manner((0.4, 0.06, 0.0), rest=0.2, leap=2.0, legato=1.0),
    "hook": Manner((0.6, 0.5, 0.3), rest=0.5, leap=2.5, legato=0.6),
    "rap": Manner((0.85, 0.9, 0.65), rest=0.15, leap=0.7, legato=0.7),
}

_TWELVE_BARS = "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7"

GENRES: dict[str, Genre] = {
    "blues": Genre(
        tempo=(65, 125),
        harmony={
            _TWELVE_BARS: 16,
            "I7 IV7 I7 I7 IV7 IV7 I7 VI7 ii7 V7 I7 V7": 4,
            "i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7": 4,
            "I7 V7 IV7 IV7 I7 V7 I7 V7": 1,
            "I7": 1,
        },
        scales={"blues": 16, "minor pentatonic": 4, "mixolydian": 1},
        drums={"shuffle": 16, "slow blues": 9, "backbeat": 4, "none": 4},
        kits={"acoustic": 9, "brushes": 1},
        bass={
            "electric bass/shuffle": 9,
            "upright bass/walking": 4,
            "electric bass/walk down": 4,
            "electric bass/roots": 1,
            "upright bass/none": 4,
        },
        chords={
            "overdriven guitar/boogie": 9,
            "clean guitar/charleston": 4,
            "acoustic guitar/boogie": 4,
            "acoustic guitar/riff": 4,
            "piano/boogie": 4,
            "piano/quarters": 1,
            "organ/held": 4,
        },
        leads={
            "overdriven guitar/phrases": 16,
            "harmonica/phrases": 9,
            "singer/song": 9,
            "clean guitar/phrases": 4,
            "saxophone/phrases": 1,
        },
        swing=(0.56, 0.68),
        rubato=0.03,
    ),
    "classical": Genre(
        tempo=(60, 130),
        harmony={
            "I,V I IV,ii V I vi ii,V I": 9,
            "i iv V i bVI iv V,V7 i": 9,
            "I IV ii V7 iii vi ii,V7 I": 4,
            "I I V V7": 1,
            "i bVII bVI V": 1,
        },
        scales={"major": 16, "harmonic minor": 9, "minor": 1},
        drums={"none": 1},
        kits={"acoustic": 1},
        bass={
            "cello/long": 4,
            "cello/roots": 4,
            "cello/walking": 4,
            "upright bass/roots": 1,
            "cello/none": 9,
        },
        chords={
            "strings/held": 9,
            "strings/halves": 4,
            "strings/eighths": 1,
            "piano/alberti": 4,
            "piano/arpeggio": 4,
            "piano/fast arpeggio": 1,
            "harpsichord/alberti": 1,
            "church organ/halves": 1,
            "acoustic guitar/arpeggio": 1,
            "choir/held": 1,
            "brass/halves": 1,
        },
        leads={
            "violin/song": 9,
            "violin/runs": 4,
            "flute/line": 4,
            "clarinet/song": 4,
            "piano/line": 4,
            "piano/runs": 1,
            "trumpet/long": 1,
            "choir/long": 1,
            "harpsichord/line": 1,
        },
        lead_parts=(1, 2),
        swing=(0.5, 0.5),
        waltz=0.3,
        rubato=0.15,
        swell=0.7,
    ),
    "country": Genre(
        tempo=(85, 150),
        harmony={
            "I I IV I I I V V": 9,
            "I IV I V": 9,
            "I I IV IV V V I I": 4,
            "I V vi IV": 4,
            "I II IV,V I": 1,
        },
        scales={"major pentatonic": 9, "major": 9, "mixolydian": 1},
        drums={"train": 9, "two-step": 9, "backbeat": 9, "none": 1},
        kits={"acoustic": 9, "brushes": 4},
        bass={
            "electric bass/root and fifth": 16,
            "upright bass/root and fifth": 9,
            "electric bass/roots": 1,
            "upright bass/walking": 1,
        },
        chords={
            "acoustic guitar/boom-chick": 16,
            "acoustic guitar/strum": 9,
            "twang guitar/boom-chick": 4,
            "banjo/roll": 4,
            "piano/boom-chick": 1,
            "steel guitar/held": 4,
        },
        leads={
            "country singer/song": 16,
            "violin/phrases": 9,
            "steel guitar/phrases": 9,
            "twang guitar/line": 4,
            "banjo/runs": 1,
            "harmonica/phrases": 1,
        },
        swing=(0.5, 0.62),
        waltz=0.12,
        drum_level=0,
    ),
    "disco": Genre(
        tempo=(106, 128),
        harmony={
            "i7 IV7": 9,
            "i7 bVII bVImaj7 v7": 9,
            "ii7 V7 Imaj7 vi7": 4,
            "i7 i7 iv7 bVII": 4,
            "Imaj7 IVmaj7": 1,
        },
        scales={"minor pentatonic": 4, "dorian": 9, "major": 1, "minor": 1},
        drums={"disco": 16, "four on the floor": 9, "sixteenths": 1, "backbeat": 1},
        kits={"dry": 16, "machine": 1},
        bass={
            "electric bass/disco": 9,
            "electric bass/octaves": 9,
            "synth bass/octaves": 4,
            "electric bass/syncopated": 4,
        },
        chords={
            "funk guitar/scratch": 16,
            "strings/held": 9,
            "electric piano/stabs": 4,
            "brass/stabs": 4,
            "piano/eighths": 1,
            "synth pad/held": 1,
        },
        leads={
            "disco singer/song": 16,
            "strings/runs": 4,
            "strings/long": 1,
            "brass/hook": 4,
            "synth lead/hook": 4,
            "choir/long": 1,
        },
        drum_level=4,
    ),
    "hiphop": Genre(
        tempo=(76, 105),
        harmony={
            "i i i i": 4,
            "i7 iv7": 9,
            "i bVI": 4,
            "i9 i9 bVImaj7 V7": 4,
            "ii7 V7": 1,
            "i bVII bVI bVII": 1,
        },
        scales={"minor": 4, "minor pentatonic": 4, "dorian": 4, "phrygian": 1},
        drums={"boom bap": 25, "trap": 9, "sixteenths": 4},
        kits={"sampled": 9, "machine": 4},
        bass={
            "sub bass/boom": 16,
            "sub bass/drop": 4,
            "electric bass/boom": 4,
            "upright bass/syncopated": 1,
            "synth bass/syncopated": 1,
        },
        chords={
            "electric piano/loop": 9,
            "piano/loop": 4,
            "strings/stabs": 1,
            "strings/held": 1,
            "vibraphone/arpeggio": 1,
            "jazz guitar/loop": 1,
            "brass/stabs": 1,
            "synth pad/held": 1,
        },
        leads={
            "rapper/rap": 64,
            "singer/hook": 4,
            "synth lead/hook": 1,
            "flute/hook": 1,
            "saxophone/hook": 1,
        },
        swing=(0.5, 0.6),
        swung=0.5,
        drum_level=6,
    ),
    "jazz": Genre(
        tempo=(95, 200),
        harmony={
            "ii7 V7 Imaj7 Imaj7": 16,
            "ii7 V7 Imaj7 VI7": 4,
            "Imaj7,vi7 ii7,V7 iii7,VI7 ii7,V7": 9,
            "iim7b5 V7 i6 i6": 4,
            "i7 i7 i7 i7 bii7 bii7 i7 i7": 1,
            _TWELVE_BARS: 1,
            "Imaj7 II7 ii7,V7 Imaj7": 1,
        },
        scales={"bebop": 9, "major": 4, "dorian": 4, "mixolydian": 1},
        drums={"ride": 36, "bossa": 4, "none": 1, "slow blues": 1},
        kits={"brushes": 16, "acoustic": 1},
        bass={
            "upright bass/walking": 25,
            "upright bass/walk down": 9,
            "upright bass/root and fifth": 1,
            "upright bass/none": 1,
        },
        chords={
            "piano/comping": 16,
            "piano/charleston": 4,
            "jazz guitar/quarters": 4,
            "jazz guitar/comping": 1,
            "organ/comping": 1,
            "brass/stabs": 1,
            "electric piano/comping": 1,
        },
        leads={
            "saxophone/line": 16,
            "trumpet/line": 9,
            "piano/line": 9,
            "saxophone/runs": 1,
            "jazz guitar/line": 4,
            "vibraphone/line": 1,
            "clarinet/line": 1,
            "singer/song": 1,
        },
        chord_parts=(1, 2),
        swing=(0.56, 0.68),
        waltz=0.1,
        rubato=0.03,
        swell=0.3,
        drum_level=0,
    ),
    "metal": Genre(
        tempo=(95, 180),
        harmony={
            "i bII": 9,
            "i bVI bVII i": 9,
            "i i bII i": 4,
            "i bIII bVI V": 4,
            "i bV iv bII": 1,
            "i i i bVII": 1,
        },
        scales={"phrygian": 9, "minor": 9, "harmonic minor": 4},
        drums={"double kick": 16, "gallop": 4, "blast": 1, "half time": 4, "rock": 9},
        kits={"heavy": 16, "acoustic": 1},
        bass={
            "picked bass/chug": 9,
            "picked bass/eighths": 16,
            "electric bass/roots": 1,
        },
        chords={
            "distorted guitar/chug": 16,
            "distorted guitar/gallop": 4,
            "distorted guitar/tremolo": 4,
            "distorted guitar/power": 9,
            "distorted guitar/power eighths": 4,
            "clean guitar/arpeggio": 1,
        },
        leads={
            "growler/rap": 4,
            "growler/long": 4,
            "overdriven guitar/runs": 9,
            "rock singer/long": 4,
            "distorted guitar/line": 1,
        },
        drum_level=4,
    ),
    "pop": Genre(
        tempo=(84, 128),
        harmony={
            "I V vi IV": 16,
            "vi IV I V": 9,
            "I vi IV V": 4,
            "I IV vi V": 4,
            "IV V iii vi": 1,
            "I iii IV,V I": 1,
        },
        scales={"major": 16, "major pentatonic": 9, "minor": 1},
        drums={
            "backbeat": 16,
            "four on the floor": 9,
            "sixteenths": 4,
            "half time": 1,
            "trap": 1,
            "none": 1,
        },
        kits={"machine": 16, "acoustic": 1},
        bass={
            "synth bass/eighths": 9,
            "electric bass/eighths": 4,
            "electric bass/roots": 4,
            "sub bass/roots": 1,
            "synth bass/syncopated": 1,
        },
        chords={
            "synth pad/held": 9,
            "piano/quarters": 9,
            "piano/halves": 1,
            "acoustic guitar/strum": 4,
            "clean guitar/arpeggio": 4,
            "synth lead/fast arpeggio": 4,
            "strings/held": 1,
            "electric piano/halves": 1,
        },
        leads={"pop singer/song": 49, "synth lead/hook": 4, "choir/long": 1, "pop singer/hook": 4},
    ),
    "reggae": Genre(
        tempo=(66, 92),
        harmony={
            "I IV": 9,
            "i bVII": 9,
            "I V IV IV": 4,
            "i iv": 4,
            "I ii": 1,
            "I vi ii V": 1,
        },
        scales={"minor pentatonic": 4, "major": 4, "mixolydian": 1, "minor": 4},
        drums={"one drop": 25, "rockers": 9, "steppers": 4},
        kits={"tuned high": 16, "acoustic": 1},
        bass={
            "electric bass/dub": 16,
            "electric bass/dub roots": 16,
            "electric bass/syncopated": 4,
            "sub bass/dub roots": 1,
        },
        chords={
            "skank guitar/double skank": 16,
            "skank guitar/skank": 9,
            "organ/bubble": 9,
            "piano/double skank": 4,
            "organ/double skank": 1,
        },
        leads={
            "reggae singer/song": 25,
            "brass/hook": 4,
            "organ/phrases": 1,
            "rapper/rap": 1,
            "saxophone/phrases": 1,
            "harmonica/phrases": 1,
        },
        swing=(0.5, 0.64),
    ),
    "rock": Genre(
        tempo=(100, 155),
        harmony={
            "I bVII IV I": 9,
            "i bVII bVI bVII": 9,
            "I IV V IV": 9,
            "I V vi IV": 4,
            "I I IV V": 1,
            "i bIII bVII IV": 1,
            _TWELVE_BARS: 1,
        },
        scales={"minor pentatonic": 9, "mixolydian": 4, "blues": 4, "major": 1},
        drums={"rock": 25, "backbeat": 16, "half time": 1, "sixteenths": 1},
        kits={"acoustic": 16, "heavy": 1},
        bass={
            "picked bass/eighths": 16,
            "electric bass/eighths": 9,
            "electric bass/roots": 4,
            "electric bass/syncopated": 1,
        },
        chords={
            "crunch guitar/power eighths": 9,
            "crunch guitar/power": 9,
            "crunch guitar/strum": 9,
            "distorted guitar/power": 4,
            "clean guitar/arpeggio": 1,
            "acoustic guitar/strum": 1,
            "organ/held": 1,
            "piano/eighths": 1,
        },
        leads={
            "rock singer/song": 36,
            "overdriven guitar/phrases": 9,
            "overdriven guitar/line": 1,
            "rock singer/long": 1,
        },
    ),
}


@dataclass
class Part:
    """What one instrument plays: its name in ``VOICES``, its level in dB, and its notes."""

    voice: str
    level: float
    notes: list[Note] = field(default_factory=list)


@dataclass
class Song:
    """A composed track.

    Attributes:
        tempo: Beats per minute.
        parts: Pitched parts; the first one never pauses.
        kit: Name of the drum kit.
        drum_level: In dB.
        strokes: What the drums play.
        swell: Depth of the slow change of loudness, 0 to 1.
    """

    tempo: float
    parts: list[Part]
    kit: str
    drum_level: float
    strokes: list[Stroke]
    swell: float


@dataclass(frozen=True)
class _Meter:
    """Where the sixteenths of a song lie in time."""

    beats: int
    tempo: float
    swing: float
    swung: float
    rubato: float
    sway: float
    offset: float  # in sixteenths: a track begins anywhere in a bar

    @property
    def steps(self) -> int:
        return 4 * self.beats

    def seconds(self, step: float) -> float:
        unit, rest = divmod((step - self.offset) / 4 + 4 * self.beats, self.swung)
        rest /= self.swung
        if rest < 0.5:
            rest *= 2 * self.swing
        else:
            rest = self.swing + (rest - 0.5) * 2 * (1 - self.swing)
        beat = (unit + rest) * self.swung - 4 * self.beats
        sway = self.rubato * 16 / (2 * np.pi) * np.sin(2 * np.pi * beat / 16 + self.sway)
        return float((beat + sway) * 60 / self.tempo)


@dataclass(frozen=True)
class _Chord:
    root: int  # semitones above C
    tones: tuple[int, ...]  # semitones above the root


_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_NUMERAL = re.compile(r"(b?)([iv]+|[IV]+)(maj7|m7b5|5|6|7|9|)")


def parse_chord(numeral: str, key: int) -> tuple[int, tuple[int, ...]]:
    """Root and tones of a Roman numeral.

    Args:
        numeral: Such as ``ii7``: lower case for a minor third; with ``b``, a semitone lower; then
            nothing, ``5``, ``6``, ``7``, ``9``, ``maj7`` or ``m7b5``.
        key: Semitones of the tonic above C.

    Returns:
        Semitones of the root above C, and of the tones above the root.

    Raises:
        ValueError: If it is no such numeral.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None or match[2].lower() not in _NUMERALS:
        raise ValueError(f"{numeral} is no chord")
    root = (key + _NUMERALS[match[2].lower()] - len(match[1])) % 12
    third = 3 if match[2].islower() else 4
    tones = {
        "": (0, third, 7),
        "5": (0, 7),
        "6": (0, third, 7, 9),
        "7": (0, third, 7, 10),
        "9": (0, third, 7, 10, 14),
        "maj7": (0, third, 7, 11),
        "m7b5": (0, 3, 6, 10),
    }[match[3]]
    return root, tones


def compose(genre: str, seconds: float, rng: np.random.Generator) -> Song:
    """Draw a song.

    Args:
        genre: Key of :data:`GENRES`.
        seconds: Length of the track.
        rng: Source of all choices.
    """
    names = list(GENRES)

    def ingredient() -> Genre:
        borrowed = rng.random() < ATYPICAL
        return GENRES[str(rng.choice(names)) if borrowed else genre]

    style = GENRES[genre]
    rhythm, tonality, pace = ingredient(), ingredient(), ingredient()
    waltz = rng.random() < style.waltz
    low, high = np.log(pace.tempo)
    meter = _Meter(
        beats=3 if waltz else 4,
        tempo=float(np.exp(rng.normal((low + high) / 2, (high - low) / 2)).clip(50, 230)),
        swing=rng.uniform(*rhythm.swing),
        swung=rhythm.swung,
        rubato=style.rubato * rng.random(),
        sway=rng.uniform(0, 2 * np.pi),
        offset=rng.uniform(0, 16),
    )
    bars = int(np.ceil(seconds * meter.tempo / 60 * 1.1 / meter.beats)) + 4
    key = int(rng.integers(12))
    harmony = _harmony(draw(tonality.harmony, rng), key, bars, rng)
    scale = [(key + tone) % 12 for tone in SCALES[draw(tonality.scales, rng)]]
    timing = rng.uniform(0.0, 0.012)  # how loosely the musicians play, in seconds

    parts: list[Part] = []

    def rehearse(voice: str, level: float, scored: list[tuple[float, float, int, float]]) -> None:
        part = Part(voice, level + rng.normal(0, 2))
        active = _sections(bars, 1.0 if not parts else 0.92, rng)
        for step, length, pitch, velocity in scored:
            if not active[min(bars - 1, int(step // meter.steps))]:
                continue
            start = meter.seconds(step)
            duration = meter.seconds(step + length) - start
            start += rng.normal(0, timing)
            if start < seconds and start + duration > 0:
                loudness = velocity * float(np.exp(rng.normal(0, 0.15)))
                part.notes.append(Note(start, max(0.02, duration), pitch, loudness))
        parts.append(part)

    for _ in range(rng.integers(style.chord_parts[0], style.chord_parts[1] + 1)):
        voice, name = draw(ingredient().chords, rng).split("/")
        pattern = CHORDS["waltz" if waltz and rng.random() < 0.6 else name]
        rehearse(voice, 0, _accompany(pattern, VOICES[voice].register, harmony, meter.steps, rng))
    voice, name = draw(rhythm.bass, rng).split("/")
    if name != "none":
        pattern = BASS["waltz" if waltz and rng.random() < 0.6 else name]
        rehearse(voice, 0, _accompany(pattern, VOICES[voice].register, harmony, meter.steps, rng))
    for _ in range(rng.integers(style.lead_parts[0], style.lead_parts[1] + 1)):
        voice, name = draw(ingredient().leads, rng).split("/")
        register = VOICES[voice].register
        melody = _melody(MANNERS[name], register, scale, harmony, meter.steps, rng)
        rehearse(voice, 1, melody)

    name = draw(rhythm.drums, rng)
    strokes = []
    active = _sections(bars, 0.93, rng)
    for step, piece, velocity in _groove(
        "waltz" if waltz and name != "none" else name, bars, meter, rng
    ):
        start = meter.seconds(step) + rng.normal(0, timing / 2)
        if active[int(step // meter.steps)] and -3 < start < seconds:
            strokes.append(Stroke(start, piece, velocity * float(np.exp(rng.normal(0, 0.15)))))
    return Song(
        tempo=meter.tempo,
        parts=parts,
        kit=draw(rhythm.kits, rng),
        drum_level=rhythm.drum_level + rng.normal(0, 2.5),
        strokes=strokes,
        swell=style.swell * rng.random(),
    )


def draw(table: Table, rng: np.random.Generator) -> str:
    """One of the choices, as likely as its weight.

    Args:
        table: Choices and their weights.
        rng: Source of the choice.
    """
    weights = np.fromiter(table.values(), float)
    return list(table)[rng.choice(len(table), p=weights / weights.sum())]


def _sections(bars: int, presence: float, rng: np.random.Generator) -> np.ndarray:
    """For each bar, whether a part plays: sections have four bars."""
    return np.repeat(rng.random(bars // 4 + 1) < presence, 4)[:bars]


def _harmony(
    progression: str, key: int, bars: int, rng: np.random.Generator
) -> list[tuple[_Chord, ...]]:
    """The chords of each bar, beginning anywhere in the progression."""
    cycle = [
        tuple(_Chord(*parse_chord(numeral, key)) for numeral in bar.split(","))
        for bar in progression.split()
    ]
    first = rng.integers(len(cycle))
    return [cycle[(first + bar) % len(cycle)] for bar in range(bars)]


def _chord_at(harmony: list[tuple[_Chord, ...]], step: int, steps: int) -> _Chord:
    bar, place = divmod(step, steps)
    chords = harmony[min(bar, len(harmony) - 1)]
    return chords[place * len(chords) // steps]


def _accompany(
    pattern: str,
    register: tuple[int, int],
    harmony: list[tuple[_Chord, ...]],
    steps: int,
    rng: np.random.Generator,
) -> list[tuple[float, float, int, float]]:
    """Chords or a bass after a pattern: start and length in sixteenths, pitch, velocity."""
    pattern = pattern.replace(" ", "")
    base = register[0] + int(rng.integers(0, max(1, (register[1] - register[0]) // 2)))
    notes = []
    for step in range(len(harmony) * steps):
        # A pattern of four beats is cut in a bar of three; one of several bars goes on.
        place = step % len(pattern) if steps == 16 else step % steps % len(pattern)
        symbol = pattern[place]
        if symbol in ".-":
            continue
        length = 1
        while place + length < len(pattern) and pattern[place + length] == "-":
            length += 1
        chord = _chord_at(harmony, step, steps)
        bottom = base + (chord.root - base) % 12
        if symbol in "xX":
            # Close position: every tone in the octave above the lowest note that is in use.
            pitches = sorted({base + (chord.root + tone - base) % 12 for tone in chord.tones})
        elif symbol in "pm":
            pitches = [bottom, bottom + 7, bottom + 12]
        elif symbol == "o":
            pitches = [bottom + 12]
        elif symbol == "a":
            target = _chord_at(harmony, step + length, steps).root
            pitches = [base + (target - base) % 12 + int(rng.choice((-1, 1)))]
        else:
            octave, tone = divmod(int(symbol), len(chord.tones))
            pitches = [bottom + 12 * octave + chord.tones[tone]]
        gate = 0.4 if symbol == "m" else 0.92 * length if length > 1 else 0.7
        accent = 1.0 if place % 4 == 0 else 0.85
        notes += [(float(step), gate, pitch, accent) for pitch in pitches]
    return notes


def _melody(
    manner: Manner,
    register: tuple[int, int],
    scale: list[int],
    harmony: list[tuple[_Chord, ...]],
    steps: int,
    rng: np.random.Generator,
) -> list[tuple[float, float, int, float]]:
    """A melody in phrases of two bars, of which every second one repeats a rhythm."""
    ladder = [pitch for pitch in range(*register) if pitch % 12 in scale]
    place = int(rng.integers(len(ladder)))
    rhythm = np.zeros(0, np.int64)
    onsets: list[int] = []
    for bar in range(0, len(harmony), 2):
        if bar % 4 == 0 or rng.random() < 0.4:
            step = np.arange(2 * steps)
            level = np.where(step % 4 == 0, 0, np.where(step % 2 == 0, 1, 2))
            sounds = rng.random(2 * steps) < np.array(manner.onsets)[level]
            pauses = rng.random(4) < manner.rest
            rhythm = step[sounds & ~pauses[step * 4 // (2 * steps)]]
        onsets += (rhythm + bar * steps).tolist()
    notes = []
    for onset, following in zip(onsets, [*onsets[1:], len(harmony) * steps], strict=True):
        place += round(rng.normal(0, manner.leap))
        place = abs(place)
        if place >= len(ladder):  # the melody turns back at both ends of the register
            place = max(0, 2 * len(ladder) - 2 - place)
        pitch = ladder[place]
        if onset % 4 == 0 and rng.random() < 0.6:
            chord = _chord_at(harmony, onset, steps)
            pitch = min(
                (pitch + shift for shift in (0, -1, 1, -2, 2)),
                key=lambda near: (near - chord.root) % 12 not in {t % 12 for t in chord.tones},
            )
        length = min(following - onset, 8) * manner.legato
        notes.append((float(onset), length, pitch, 1.0 if onset % 4 == 0 else 0.8))
    return notes


def _groove(
    name: str, bars: int, meter: _Meter, rng: np.random.Generator
) -> list[tuple[float, str, float]]:
    """Strokes of the drums: start in sixteenths, piece, velocity."""
    levels = {"X": 1.1, "x": 0.9, "g": 0.35, "?": 0.8}
    # A fixed mix of the pieces, and one that differs between songs.
    pieces = {"kick": 1.3, "snare": 1.0, "clap": 0.9, "rim": 0.8, "tom": 0.9, "conga": 0.6}
    mix = {piece: pieces.get(piece, 0.8) * np.exp(rng.normal(0, 0.3)) for piece in KITS["acoustic"]}
    patterns = {piece: row.replace(" ", "") for piece, row in DRUMS[name].items()}
    strokes = []
    for bar in range(bars):
        fill = patterns and bar % 4 == 3 and rng.random() < 0.35
        for piece, row in patterns.items():
            for step in range(meter.steps):
                symbol = row[step % len(row)]
                if symbol == "." or (symbol == "?" and rng.random() < 0.5):
                    continue
                if fill and piece in ("snare", "kick") and step >= meter.steps - 4:
                    continue
                strokes.append(
                    (float(bar * meter.steps + step), piece, levels[symbol] * mix[piece])
                )
        if fill:
            for step in range(meter.steps - 4, meter.steps):
                piece = ("snare", "tom")[int(rng.integers(2))]
                strokes.append((float(bar * meter.steps + step), piece, 0.8 * mix[piece]))
    return strokes
