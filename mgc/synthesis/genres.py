"""Tables of the synthetic genres: tempo, harmony, rhythm patterns, instruments.

To change a genre, edit its entry in :data:`GENRES`. Rhythms are in sixteenths, harmony in Roman
numerals. Sounds are in :mod:`mgc.synthesis.instruments`.
"""

from dataclasses import dataclass

Table = dict[str, float]  # choices and weights


@dataclass(frozen=True)
class Genre:
    """Style of a genre. Each table contains choices and their weights.

    Attributes:
        tempo: Range of beats per minute that covers two thirds of the songs.
        harmony: Progressions with one chord per bar, or several joined by commas.
        scales: Scales of the melody; keys of :data:`SCALES`.
        drums: Keys of :data:`DRUMS`.
        kits: Keys of :data:`mgc.synthesis.instruments.KITS`.
        bass: ``voice/pattern`` of the bass; keys of ``VOICES`` and :data:`BASS`.
        chords: ``voice/pattern`` of the accompaniment; keys of ``VOICES`` and :data:`CHORDS`.
        leads: ``voice/style`` of the melody; keys of ``VOICES`` and :data:`MELODY_STYLES`.
        chord_lines: Minimum and maximum number of accompaniment lines.
        lead_lines: Minimum and maximum number of simultaneous melodies.
        swing: Range of the position of the offbeat within ``swung`` (0.5 straight, 0.67 triplets).
        swung: Swung unit in beats: 1 for eighths, 0.5 for sixteenths.
        waltz: Probability of three beats per bar.
        rubato: Maximum relative variation of the tempo.
        swell: Maximum relative variation of the loudness.
        drum_level: Level of the drums relative to the other lines, in dB.
    """

    tempo: tuple[float, float]
    harmony: Table
    scales: Table
    drums: Table
    kits: Table
    bass: Table
    chords: Table
    leads: Table
    chord_lines: tuple[int, int] = (2, 3)
    lead_lines: tuple[int, int] = (1, 1)
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


# Semitones of each degree above the tonic, and of chord tones above the root, by suffix of the
# numeral. Lower-case numerals have a minor third (3) in place of 4.
NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
CHORD_TONES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7),
    "5": (0, 7),
    "6": (0, 4, 7, 9),
    "7": (0, 4, 7, 10),
    "9": (0, 4, 7, 10, 14),
    "maj7": (0, 4, 7, 11),
    "m7b5": (0, 3, 6, 10),
}


# Gains of the drums; 0.8 for others.
DRUM_GAINS = {"kick": 1.3, "snare": 1.0, "clap": 0.9, "rim": 0.8, "tom": 0.9, "conga": 0.6}

# Per sixteenth: X accent, x stroke, g ghost note, ? played in half of the bars. Spaces are ignored.
STROKE_VELOCITIES = {"X": 1.1, "x": 0.9, "g": 0.35, "?": 0.8}
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


# Per sixteenth: a digit is a tone of the chord (0 is the root), o the root an octave higher, a a
# semitone from the next root; - holds, . rests.
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


# Like BASS; x is the chord, p its root and fifth (power chord), m a muted power chord.
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
class MelodyStyle:
    """Motion of a melody.

    Attributes:
        onsets: Probability of a note on a beat, an eighth and a sixteenth.
        rest: Probability that half a bar is silent.
        leap: Standard deviation of the steps, in tones of the scale.
        legato: Length of a note relative to the time until the next note.
    """

    onsets: tuple[float, float, float]
    rest: float
    leap: float
    legato: float = 0.9


MELODY_STYLES = {
    "song": MelodyStyle((0.8, 0.45, 0.06), rest=0.3, leap=1.5),
    "phrases": MelodyStyle((0.7, 0.6, 0.15), rest=0.45, leap=1.5),
    "line": MelodyStyle((0.85, 0.85, 0.1), rest=0.25, leap=1.5),
    "runs": MelodyStyle((0.95, 0.95, 0.85), rest=0.4, leap=1.2),
    "long": MelodyStyle((0.4, 0.06, 0.0), rest=0.2, leap=2.0, legato=1.0),
    "hook": MelodyStyle((0.6, 0.5, 0.3), rest=0.5, leap=2.5, legato=0.6),
    "rap": MelodyStyle((0.85, 0.9, 0.65), rest=0.15, leap=0.7, legato=0.7),
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
        lead_lines=(1, 2),
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
        chord_lines=(1, 2),
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
