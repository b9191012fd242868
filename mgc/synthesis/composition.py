"""Composes synthetic songs: draws notes and drum strokes from the tables of a genre.

The tables are in :mod:`mgc.synthesis.genres`, the sounds in :mod:`mgc.synthesis.instruments`.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from mgc.synthesis.genres import (
    BASS,
    CHORD_TONES,
    CHORDS,
    DRUM_GAINS,
    DRUMS,
    GENRES,
    MELODY_STYLES,
    NUMERALS,
    SCALES,
    STROKE_VELOCITIES,
    Genre,
    MelodyStyle,
    Table,
)
from mgc.synthesis.instruments import KITS, VOICES, Note, Stroke

# Probability that an element of a song (rhythm, harmony, tempo, a line) is from a random genre.
ATYPICAL_PROBABILITY = 0.06


@dataclass
class Line:
    """Notes of one instrument. ``voice`` is its key in ``VOICES``, ``level`` is in dB."""

    voice: str
    level: float
    notes: list[Note] = field(default_factory=list)


@dataclass
class Song:
    """Composed track.

    Attributes:
        tempo: Beats per minute.
        lines: Pitched lines; the first one never pauses.
        kit: Key of the drum kit.
        drum_level: Level of the drums in dB.
        strokes: Drum strokes.
        swell: Depth of the slow variation of loudness, 0 to 1.
    """

    tempo: float
    lines: list[Line]
    kit: str
    drum_level: float
    strokes: list[Stroke]
    swell: float


@dataclass(frozen=True)
class _Meter:
    """Converts sixteenths of a song to seconds."""

    beats: int
    tempo: float
    swing: float
    swung: float
    rubato: float
    sway: float
    offset: float  # position in the bar where the track starts, in sixteenths

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


_NUMERAL = re.compile(r"(b?)([iv]+|[IV]+)(maj7|m7b5|5|6|7|9|)")


def parse_chord(numeral: str, key: int) -> tuple[int, tuple[int, ...]]:
    """Return the root (semitones above C) and the tones (semitones above the root) of a chord.

    Args:
        numeral: Roman numeral such as ``ii7``. Lower case means a minor third, a leading ``b`` a
            root one semitone lower. Suffix: none, ``5``, ``6``, ``7``, ``9``, ``maj7``, ``m7b5``.
        key: Semitones of the tonic above C.

    Raises:
        ValueError: If the numeral is invalid.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None or match[2].lower() not in NUMERALS:
        raise ValueError(f"Invalid chord {numeral!r}.")
    root = (key + NUMERALS[match[2].lower()] - len(match[1])) % 12
    tones = CHORD_TONES[match[3]]
    if match[2].islower():
        tones = tuple(3 if tone == 4 else tone for tone in tones)
    return root, tones


def compose(genre: str, seconds: float, rng: np.random.Generator) -> Song:
    """Compose a song of ``seconds`` in a genre of :data:`mgc.synthesis.genres.GENRES`."""
    names = list(GENRES)

    def draw_genre() -> Genre:
        borrowed = rng.random() < ATYPICAL_PROBABILITY
        return GENRES[str(rng.choice(names)) if borrowed else genre]

    style = GENRES[genre]
    rhythm, tonality, pace = draw_genre(), draw_genre(), draw_genre()
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
    harmony = _draw_harmony(draw(tonality.harmony, rng), key, bars, rng)
    scale = [(key + tone) % 12 for tone in SCALES[draw(tonality.scales, rng)]]
    timing = rng.uniform(0.0, 0.012)  # standard deviation of note onsets, in seconds

    lines: list[Line] = []

    def add_line(voice: str, level: float, score: list[tuple[float, float, int, float]]) -> None:
        line = Line(voice, level + rng.normal(0, 2))
        active = _draw_sections(bars, 1.0 if not lines else 0.92, rng)
        for step, length, pitch, velocity in score:
            if not active[min(bars - 1, int(step // meter.steps))]:
                continue
            start = meter.seconds(step)
            duration = meter.seconds(step + length) - start
            start += rng.normal(0, timing)
            if start < seconds and start + duration > 0:
                loudness = velocity * float(np.exp(rng.normal(0, 0.15)))
                line.notes.append(Note(start, max(0.02, duration), pitch, loudness))
        lines.append(line)

    for _ in range(rng.integers(style.chord_lines[0], style.chord_lines[1] + 1)):
        voice, name = draw(draw_genre().chords, rng).split("/")
        pattern = CHORDS["waltz" if waltz and rng.random() < 0.6 else name]
        add_line(voice, 0, _accompany(pattern, VOICES[voice].register, harmony, meter.steps, rng))
    voice, name = draw(rhythm.bass, rng).split("/")
    if name != "none":
        pattern = BASS["waltz" if waltz and rng.random() < 0.6 else name]
        add_line(voice, 0, _accompany(pattern, VOICES[voice].register, harmony, meter.steps, rng))
    for _ in range(rng.integers(style.lead_lines[0], style.lead_lines[1] + 1)):
        voice, name = draw(draw_genre().leads, rng).split("/")
        register = VOICES[voice].register
        melody = _draw_melody(MELODY_STYLES[name], register, scale, harmony, meter.steps, rng)
        add_line(voice, 1, melody)

    name = draw(rhythm.drums, rng)
    strokes = []
    active = _draw_sections(bars, 0.93, rng)
    for step, piece, velocity in _draw_strokes(
        "waltz" if waltz and name != "none" else name, bars, meter, rng
    ):
        start = meter.seconds(step) + rng.normal(0, timing / 2)
        if active[int(step // meter.steps)] and -3 < start < seconds:
            strokes.append(Stroke(start, piece, velocity * float(np.exp(rng.normal(0, 0.15)))))
    return Song(
        tempo=meter.tempo,
        lines=lines,
        kit=draw(rhythm.kits, rng),
        drum_level=rhythm.drum_level + rng.normal(0, 2.5),
        strokes=strokes,
        swell=style.swell * rng.random(),
    )


def draw(table: Table, rng: np.random.Generator) -> str:
    """Draw a key of the table with probability proportional to its value."""
    weights = np.fromiter(table.values(), float)
    return list(table)[rng.choice(len(table), p=weights / weights.sum())]


def _draw_sections(bars: int, presence: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the bars in which a line plays, in sections of four bars."""
    return np.repeat(rng.random(bars // 4 + 1) < presence, 4)[:bars]


def _draw_harmony(
    progression: str, key: int, bars: int, rng: np.random.Generator
) -> list[tuple[_Chord, ...]]:
    """Return the chords of each bar, starting at a random bar of the progression."""
    cycle = [
        tuple(_Chord(*parse_chord(numeral, key)) for numeral in bar.split(","))
        for bar in progression.split()
    ]
    first = int(rng.integers(len(cycle)))
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
    """Return notes of chords or bass: start and length in sixteenths, pitch, velocity."""
    pattern = pattern.replace(" ", "")
    base = register[0] + int(rng.integers(0, max(1, (register[1] - register[0]) // 2)))
    notes = []
    for step in range(len(harmony) * steps):
        # Patterns may span several bars; bars of three beats restart and truncate them.
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
            # Close position: all tones within an octave above the base.
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


def _draw_melody(
    style: MelodyStyle,
    register: tuple[int, int],
    scale: list[int],
    harmony: list[tuple[_Chord, ...]],
    steps: int,
    rng: np.random.Generator,
) -> list[tuple[float, float, int, float]]:
    """Return a melody in phrases of two bars; every second phrase may repeat the rhythm."""
    ladder = [pitch for pitch in range(*register) if pitch % 12 in scale]
    place = int(rng.integers(len(ladder)))
    rhythm = np.zeros(0, np.int64)
    onsets: list[int] = []
    for bar in range(0, len(harmony), 2):
        if bar % 4 == 0 or rng.random() < 0.4:
            step = np.arange(2 * steps)
            level = np.where(step % 4 == 0, 0, np.where(step % 2 == 0, 1, 2))
            sounds = rng.random(2 * steps) < np.array(style.onsets)[level]
            pauses = rng.random(4) < style.rest
            rhythm = step[sounds & ~pauses[step * 4 // (2 * steps)]]
        onsets += (rhythm + bar * steps).tolist()
    notes = []
    for onset, following in zip(onsets, [*onsets[1:], len(harmony) * steps], strict=True):
        place += round(rng.normal(0, style.leap))
        place = abs(place)
        if place >= len(ladder):  # reflect at both ends of the register
            place = max(0, 2 * len(ladder) - 2 - place)
        pitch = ladder[place]
        if onset % 4 == 0 and rng.random() < 0.6:
            chord = _chord_at(harmony, onset, steps)
            pitch = min(
                (pitch + shift for shift in (0, -1, 1, -2, 2)),
                key=lambda near: (near - chord.root) % 12 not in {t % 12 for t in chord.tones},
            )
        length = min(following - onset, 8) * style.legato
        notes.append((float(onset), length, pitch, 1.0 if onset % 4 == 0 else 0.8))
    return notes


def _draw_strokes(
    name: str, bars: int, meter: _Meter, rng: np.random.Generator
) -> list[tuple[float, str, float]]:
    """Return drum strokes: start in sixteenths, piece, velocity."""
    mix = {
        piece: DRUM_GAINS.get(piece, 0.8) * np.exp(rng.normal(0, 0.3)) for piece in KITS["acoustic"]
    }
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
                velocity = STROKE_VELOCITIES[symbol] * mix[piece]
                strokes.append((float(bar * meter.steps + step), piece, velocity))
        if fill:
            for step in range(meter.steps - 4, meter.steps):
                piece = ("snare", "tom")[int(rng.integers(2))]
                strokes.append((float(bar * meter.steps + step), piece, 0.8 * mix[piece]))
    return strokes
