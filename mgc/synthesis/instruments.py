"""Synthetic instruments: pitched voices from wavetables, and percussion.

To change or add an instrument, edit :data:`VOICES` or :data:`KITS`. The tables of
:mod:`mgc.synthesis.genres` refer to their keys.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import signal

TABLE_BITS = 13  # a wavetable has 2 ** 13 samples: a step of the 40th harmonic is under 2 degrees
MAX_HARMONICS = 64
BANDS = (4, 10)  # first harmonics of the middle and high bands, which decay faster
TAKES = 3  # versions of each drum sound, drawn at random
DECAY_60_DB = float(np.log(1000))


class Note(NamedTuple):
    """Note of a pitched voice.

    Attributes:
        start: Seconds since the start of the track; may be negative.
        duration: Seconds until the key is released.
        pitch: MIDI number (69 is A at 440 Hz).
        velocity: Amplitude; 1 is normal.
    """

    start: float
    duration: float
    pitch: int
    velocity: float


class Stroke(NamedTuple):
    """Stroke on a percussion instrument: start in seconds, key in the kit, amplitude."""

    start: float
    piece: str
    velocity: float


@dataclass(frozen=True)
class Voice:
    """Pitched instrument.

    Attributes:
        register: Lowest and highest MIDI number that a melody or chord uses.
        slope: Attenuation of the harmonics in dB per octave.
        drawbars: Amplitudes of the first harmonics; replaces ``slope``.
        even: Amplitude of the even harmonics (0 for a closed pipe).
        formants: Resonances: centre in Hz and gain in dB.
        vowels: Factors for the formants' centres; each note draws one.
        attack: Seconds to full amplitude.
        bloom: Relative increase of the attack per band of higher harmonics.
        decay: Seconds in which middle C decays by 60 dB; 0 for a sustained sound.
        damping: Factor of the decay rate per band of higher harmonics.
        release: Seconds of fade-out after the key is released.
        vibrato: Depth in semitones.
        slide: Semitones above the pitch at which a note starts to glide.
        detune: Detuning in cents of a second oscillator; 0 for none.
        breath: Amplitude of noise that follows the envelope.
        drive: Gain before a soft clipper for the whole line; 0 for none.
        cabinet: Cut-off in Hz of a low-pass filter for the whole line; 0 for none.
        tremolo: Depth of a periodic variation of amplitude, 0 to 1.
    """

    register: tuple[int, int]
    slope: float = 9.0
    drawbars: tuple[float, ...] = ()
    even: float = 1.0
    formants: tuple[tuple[float, float], ...] = ()
    vowels: tuple[float, ...] = (1.0,)
    attack: float = 0.004
    bloom: float = 0.0
    decay: float = 0.0
    damping: float = 2.0
    release: float = 0.06
    vibrato: float = 0.0
    slide: float = 0.0
    detune: float = 0.0
    breath: float = 0.0
    drive: float = 0.0
    cabinet: float = 0.0
    tremolo: float = 0.0


VOICES = {
    # plucked and struck
    "acoustic guitar": Voice((45, 72), slope=6, formants=((200, 5), (2500, 4)), decay=1.6),
    "clean guitar": Voice((48, 76), slope=8, formants=((900, 4),), decay=1.8, cabinet=5000),
    "jazz guitar": Voice((46, 76), slope=13, decay=1.5, damping=3, cabinet=2200),
    "twang guitar": Voice((45, 78), slope=4, formants=((2800, 7),), decay=1.2, damping=1.5),
    "funk guitar": Voice((54, 80), slope=3, formants=((2200, 8), (300, -8)), decay=0.35),
    "skank guitar": Voice(
        (52, 76), slope=6, formants=((1300, 7), (250, -6)), decay=0.3, cabinet=4000
    ),
    "crunch guitar": Voice(
        (40, 72), slope=5, decay=4, drive=6, cabinet=4500, formants=((2200, 4),)
    ),
    "overdriven guitar": Voice((43, 76), slope=8, decay=3, drive=3, cabinet=4500),
    "distorted guitar": Voice(
        (38, 62), slope=5, decay=5, drive=12, cabinet=5000, formants=((1800, 4),)
    ),
    "banjo": Voice((50, 76), slope=4, formants=((800, 6),), decay=0.5, damping=1.5),
    "harpsichord": Voice((48, 84), slope=3, decay=1.5, damping=1.6),
    "piano": Voice((45, 84), slope=9, decay=2.5, damping=2.5, detune=1.5),
    "electric piano": Voice(
        (45, 79), drawbars=(1, 0.35, 0.1, 0.2, 0.05), decay=2, damping=4, tremolo=0.3
    ),
    "vibraphone": Voice(
        (53, 84), drawbars=(1, 0, 0, 0.4, 0, 0, 0, 0, 0.1), decay=3, damping=3, tremolo=0.4
    ),
    "steel guitar": Voice((55, 84), slope=8, decay=4, slide=-1.5, vibrato=0.25),
    # bowed and blown
    "strings": Voice(
        (48, 86),
        slope=6,
        formants=((450, 3), (2800, 4)),
        attack=0.1,
        release=0.25,
        vibrato=0.12,
        detune=9,
        breath=0.05,
    ),
    "violin": Voice(
        (57, 91), slope=5, formants=((500, 4), (3000, 5)), attack=0.05, vibrato=0.3, breath=0.06
    ),
    "flute": Voice((60, 91), slope=14, attack=0.05, vibrato=0.2, breath=0.2),
    "clarinet": Voice((52, 84), slope=6, even=0.15, attack=0.03, breath=0.05),
    "trumpet": Voice((55, 82), slope=4, formants=((1500, 6),), attack=0.03, bloom=2, vibrato=0.15),
    "saxophone": Voice(
        (49, 78),
        slope=5,
        formants=((700, 5), (1700, 4)),
        attack=0.03,
        bloom=1,
        vibrato=0.2,
        slide=-0.6,
        breath=0.15,
    ),
    "brass": Voice((46, 77), slope=4, formants=((1100, 5),), attack=0.03, bloom=2, detune=7),
    "harmonica": Voice(
        (57, 84),
        slope=3,
        formants=((1800, 5),),
        attack=0.03,
        vibrato=0.25,
        slide=-1,
        breath=0.1,
        drive=1.5,
    ),
    # keys
    "organ": Voice((48, 82), drawbars=(1, 0.8, 0.7, 0.5, 0, 0.3, 0, 0.4), detune=4, tremolo=0.2),
    "church organ": Voice(
        (43, 84),
        drawbars=(1, 0.7, 0.3, 0.6, 0.1, 0.3, 0, 0.5, 0, 0, 0, 0.2),
        attack=0.05,
        release=0.2,
        detune=3,
    ),
    "synth pad": Voice((45, 79), slope=9, attack=0.2, release=0.4, detune=14),
    "synth lead": Voice((55, 88), slope=5, detune=10, vibrato=0.1, release=0.08),
    # voices
    "singer": Voice(
        (50, 76),
        slope=7,
        formants=((600, 9), (1200, 8), (2700, 8)),
        vowels=(0.7, 1.0, 1.3),
        attack=0.04,
        vibrato=0.3,
        slide=-0.8,
        breath=0.1,
    ),
    "pop singer": Voice(
        (55, 81),
        slope=5,
        formants=((750, 8), (1500, 8), (3500, 10)),
        vowels=(0.75, 1.0, 1.25),
        attack=0.03,
        vibrato=0.12,
        slide=-0.4,
        detune=8,
        breath=0.3,
    ),
    "rock singer": Voice(
        (54, 78),
        slope=3,
        formants=((800, 10), (1600, 9), (2900, 9)),
        vowels=(0.8, 1.0, 1.2),
        attack=0.02,
        vibrato=0.2,
        slide=-1.2,
        breath=0.3,
        drive=3,
    ),
    "country singer": Voice(
        (48, 72),
        slope=6,
        formants=((500, 8), (1900, 11), (2600, 9)),
        vowels=(0.8, 1.0, 1.2),
        attack=0.03,
        vibrato=0.2,
        slide=-1.5,
    ),
    "disco singer": Voice(
        (58, 84),
        slope=5,
        formants=((900, 8), (1500, 8), (3000, 9)),
        vowels=(0.8, 1.0, 1.2),
        attack=0.02,
        vibrato=0.5,
        detune=12,
        breath=0.08,
    ),
    "reggae singer": Voice(
        (52, 74),
        slope=8,
        formants=((500, 8), (1000, 7), (2400, 5)),
        vowels=(0.8, 1.0, 1.3),
        attack=0.05,
        vibrato=0.2,
        slide=-1,
        cabinet=3500,
    ),
    "choir": Voice(
        (48, 79),
        slope=8,
        formants=((650, 8), (1100, 7), (2600, 6)),
        attack=0.15,
        release=0.3,
        vibrato=0.2,
        detune=15,
        breath=0.08,
    ),
    "rapper": Voice(
        (43, 55),
        slope=5,
        formants=((550, 9), (1400, 9), (2500, 8)),
        vowels=(0.6, 0.8, 1.0, 1.25, 1.5),
        attack=0.015,
        slide=2.5,
        breath=0.35,
    ),
    "growler": Voice(
        (36, 48),
        slope=3,
        formants=((500, 8), (1300, 9)),
        vowels=(0.7, 1.0, 1.2),
        attack=0.03,
        slide=-2,
        breath=0.8,
        drive=5,
    ),
    # basses
    "upright bass": Voice((28, 52), slope=11, formants=((120, 5),), decay=1.2, damping=3),
    "electric bass": Voice((28, 52), slope=9, formants=((700, 3),), decay=2.5),
    "picked bass": Voice((28, 50), slope=6, formants=((1500, 4),), decay=3, drive=1.5),
    "synth bass": Voice((28, 52), slope=6, decay=1, damping=4, detune=6),
    "sub bass": Voice((26, 45), drawbars=(1, 0.25, 0.1), decay=2, damping=2, slide=4),
    "cello": Voice(
        (36, 60),
        slope=6,
        formants=((250, 4), (900, 3)),
        attack=0.08,
        release=0.15,
        vibrato=0.2,
        breath=0.05,
    ),
}


@dataclass(frozen=True)
class Hit:
    """Percussion instrument: a tone with falling pitch and a burst of noise.

    Attributes:
        tone: Final frequency of the tone in Hz; 0 for none.
        sweep: Relative increase of the frequency at the start.
        ring: Seconds in which the tone decays by 60 dB.
        noise: Amplitude of the noise relative to the tone.
        rattle: Seconds in which the noise decays by 60 dB.
        band: Pass band of the noise in Hz.
        metal: Proportion of inharmonic square waves in the noise, as in cymbals.
        bursts: Number of onsets of the noise (claps).
    """

    tone: float = 0.0
    sweep: float = 0.0
    ring: float = 0.1
    noise: float = 1.0
    rattle: float = 0.1
    band: tuple[float, float] = (300.0, 9000.0)
    metal: float = 0.0
    bursts: int = 1


_ACOUSTIC = {
    "kick": Hit(58, sweep=1.5, ring=0.35, noise=0.25, rattle=0.05, band=(800, 5000)),
    "snare": Hit(190, sweep=0.3, ring=0.2, noise=1.0, rattle=0.3, band=(400, 8000)),
    "rim": Hit(480, ring=0.07, noise=0.7, rattle=0.04, band=(1200, 7000)),
    "hat": Hit(rattle=0.12, band=(5000, 10000), metal=0.5),
    "open": Hit(rattle=0.7, band=(4500, 10000), metal=0.5),
    "ride": Hit(rattle=1.2, band=(3000, 9500), metal=0.75),
    "crash": Hit(rattle=2.5, band=(2000, 10000), metal=0.4),
    "clap": Hit(rattle=0.25, band=(700, 5000), bursts=3),
    "tom": Hit(110, sweep=0.5, ring=0.5, noise=0.2, rattle=0.1),
    "shaker": Hit(rattle=0.09, band=(4000, 10000)),
    "conga": Hit(230, sweep=0.2, ring=0.3, noise=0.3, rattle=0.04, band=(500, 4000)),
}

KITS = {
    "acoustic": _ACOUSTIC,
    "brushes": _ACOUSTIC
    | {
        "kick": Hit(62, sweep=0.8, ring=0.3, noise=0.1, rattle=0.04, band=(400, 2500)),
        "snare": Hit(200, ring=0.12, noise=1.6, rattle=0.22, band=(1200, 8000)),
        "hat": Hit(rattle=0.08, band=(5500, 10000), metal=0.4),
    },
    "dry": _ACOUSTIC  # damped with tape and towels, as in disco
    | {
        "kick": Hit(68, sweep=1.5, ring=0.14, noise=0.5, rattle=0.03, band=(1500, 5000)),
        "snare": Hit(170, ring=0.1, noise=1.0, rattle=0.13, band=(600, 7000)),
        "hat": Hit(rattle=0.06, band=(6500, 10500), metal=0.3),
        "open": Hit(rattle=0.22, band=(6000, 10500), metal=0.3),
    },
    "tuned high": _ACOUSTIC  # a timbale-like snare, as in reggae
    | {
        "kick": Hit(55, sweep=0.6, ring=0.3, noise=0.05, rattle=0.03, band=(400, 2000)),
        "snare": Hit(330, sweep=0.1, ring=0.25, noise=0.6, rattle=0.15, band=(1500, 7000)),
        "rim": Hit(620, ring=0.1, noise=0.6, rattle=0.05, band=(1500, 7000)),
        "hat": Hit(rattle=0.06, band=(7000, 10500), metal=0.6),
    },
    "sampled": _ACOUSTIC  # from a worn record, as in hip hop
    | {
        "kick": Hit(60, sweep=1.2, ring=0.3, noise=0.4, rattle=0.1, band=(200, 2500)),
        "snare": Hit(200, sweep=0.2, ring=0.15, noise=1.4, rattle=0.2, band=(300, 4000)),
        "hat": Hit(rattle=0.1, band=(3000, 6500), metal=0.3),
    },
    "heavy": _ACOUSTIC
    | {
        "kick": Hit(65, sweep=2, ring=0.22, noise=0.6, rattle=0.04, band=(2000, 7000)),
        "snare": Hit(210, sweep=0.4, ring=0.25, noise=1.3, rattle=0.35, band=(500, 9000)),
    },
    "machine": _ACOUSTIC
    | {
        "kick": Hit(50, sweep=4, ring=0.6, noise=0.15, rattle=0.02, band=(1000, 6000)),
        "snare": Hit(180, sweep=0.2, ring=0.15, noise=0.9, rattle=0.22, band=(900, 9500)),
        "hat": Hit(rattle=0.07, band=(6500, 10500), metal=0.85),
        "open": Hit(rattle=0.5, band=(6000, 10500), metal=0.85),
    },
}


def vary(voice: Voice, rng: np.random.Generator) -> Voice:
    """Return a random variation of an instrument."""

    def about(value: float, spread: float) -> float:
        return float(value * np.exp(rng.normal(0, 0.6 * spread)))

    return replace(
        voice,
        slope=max(2.0, voice.slope + rng.normal(0, 1.5)),
        even=min(1.0, about(voice.even, 0.3)),
        formants=tuple((about(centre, 0.15), about(gain, 0.3)) for centre, gain in voice.formants),
        attack=about(voice.attack, 0.4),
        decay=about(voice.decay, 0.4),
        damping=1 + about(voice.damping - 1, 0.4),
        release=about(voice.release, 0.3),
        vibrato=about(voice.vibrato, 0.5),
        slide=about(voice.slide, 0.4),
        detune=about(voice.detune, 0.4),
        breath=about(voice.breath, 0.5),
        drive=about(voice.drive, 0.5),
        cabinet=about(voice.cabinet, 0.25),
        tremolo=min(0.8, about(voice.tremolo, 0.5)),
    )


def play(
    voice: Voice,
    notes: Iterable[Note],
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Synthesise a line: float32 of shape (samples,), of arbitrary amplitude."""
    line = np.zeros(samples, np.float32)
    rendered: dict[tuple[int, int, float], np.ndarray] = {}
    for note in notes:
        vowel = voice.vowels[rng.integers(len(voice.vowels))]
        key = (
            note.pitch,
            round(note.duration * 50),
            vowel,
        )  # notes that differ by less than 20 ms share a sound
        if key not in rendered:
            rendered[key] = _render_note(
                voice, note.pitch, max(1, key[1]) / 50, vowel, sample_rate, rng
            )
        _add(line, rendered[key], note.start, note.velocity, sample_rate)
    if voice.drive > 0:
        level = np.sqrt(np.mean(np.square(line))) + 1e-9
        line = np.tanh(line * np.float32(voice.drive / level / 3))
    if voice.cabinet > 0:
        cutoff = min(voice.cabinet, 0.45 * sample_rate)
        sections = signal.butter(2, cutoff, fs=sample_rate, output="sos").astype(np.float32)
        line = signal.sosfilt(sections, line)
    if voice.tremolo > 0:
        phase = rng.uniform(0, 2 * np.pi) + np.arange(samples) * (
            2 * np.pi * rng.uniform(4, 7) / sample_rate
        )
        line *= (1 - voice.tremolo * (0.5 + 0.5 * np.sin(phase))).astype(np.float32)
    return line


def drum(
    kit: str, strokes: Iterable[Stroke], samples: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Synthesise a kit of :data:`KITS`: float32 of shape (samples,), of arbitrary amplitude."""
    line = np.zeros(samples, np.float32)
    # Retune in the order of the table, so that the sounds do not depend on the strokes.
    tuned = {name: _retune(hit, rng) for name, hit in KITS[kit].items()}
    takes: dict[str, list[np.ndarray]] = {}
    for stroke in strokes:
        piece = stroke.piece
        if piece not in takes:
            takes[piece] = [_render_hit(tuned[piece], sample_rate, rng) for _ in range(TAKES)]
        take = takes[piece][rng.integers(TAKES)]
        _add(line, take, stroke.start, stroke.velocity, sample_rate)
    return line


def _add(
    line: np.ndarray, sound: np.ndarray, start: float, velocity: float, sample_rate: int
) -> None:
    first = round(start * sample_rate)
    sound = sound[max(0, -first) : max(0, len(line) - first)]
    first = max(0, first)
    line[first : first + len(sound)] += sound * np.float32(velocity)


def _make_wavetables(voice: Voice, f0: float, vowel: float, sample_rate: int) -> np.ndarray:
    """Return a period of the low, middle and high harmonics: shape (3, 2 ** TABLE_BITS)."""
    number = np.arange(1, max(2, min(MAX_HARMONICS + 1, int(0.45 * sample_rate / f0))))
    if voice.drawbars:
        amplitude = np.zeros(len(number))
        drawbars = voice.drawbars[: len(number)]
        amplitude[: len(drawbars)] = drawbars
    else:
        amplitude = 10 ** (-voice.slope * np.log2(number) / 20)
    amplitude[1::2] *= voice.even
    for centre, gain in voice.formants:
        distance = np.log2(number * f0 / (centre * vowel)) / 0.35
        amplitude *= 10 ** (gain * np.exp(-(distance**2)) / 20)
    spectrum = np.zeros((len(BANDS) + 1, 2 ** (TABLE_BITS - 1) + 1), np.complex128)
    spectrum[np.searchsorted(BANDS, number, side="right"), number] = -1j * amplitude
    tables = np.fft.irfft(spectrum)
    return (tables / np.sqrt(np.mean(np.square(tables.sum(0))))).astype(np.float32)


def _render_note(
    voice: Voice,
    pitch: int,
    duration: float,
    vowel: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    f0 = 440 * 2 ** ((pitch - 69) / 12)
    decay = voice.decay * (262 / f0) ** 0.5  # lower strings ring longer
    length = duration + voice.release
    samples = int((min(length, decay) if decay > 0 else length) * sample_rate)
    t = np.arange(samples, dtype=np.float32) / np.float32(sample_rate)
    tables = _make_wavetables(voice, f0, vowel, sample_rate)

    # Phases are unsigned 32-bit fractions of a period, so that they wrap around.
    step = f0 / sample_rate * 2**32
    if voice.vibrato > 0 or voice.slide != 0:
        rate = np.float32(2 * np.pi * rng.uniform(4.5, 6.5))
        bend = voice.vibrato * np.minimum(1, t / 0.3) * np.sin(rate * t)
        bend += voice.slide * np.exp(-t / 0.04)
        phase = np.cumsum(step * np.exp2(bend / 12), dtype=np.float64).astype(np.uint64)
        phase = phase.astype(np.uint32)
    else:
        phase = np.arange(samples, dtype=np.uint32) * np.uint32(step)
    wave = tables[:, phase >> np.uint32(32 - TABLE_BITS)]
    if voice.detune > 0:
        cents = np.uint32(step * (2 ** (voice.detune / 1200) - 1))
        phase += np.arange(samples, dtype=np.uint32) * cents + np.uint32(2**30)
        wave += tables[:, phase >> np.uint32(32 - TABLE_BITS)]

    sound = np.zeros(samples, np.float32)
    for band, harmonics in enumerate(wave):
        envelope = np.minimum(1, t / np.float32(voice.attack * (1 + band * voice.bloom)))
        if decay > 0:
            envelope *= np.exp(t * np.float32(-DECAY_60_DB * voice.damping**band / decay))
        sound += harmonics * envelope
        if band == 0 and voice.breath > 0:
            noise = rng.standard_normal(samples, np.float32)
            sound += noise * envelope * np.float32(voice.breath)
    fade = min(samples, int(voice.release * sample_rate))
    if fade > 0:
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound


def _retune(hit: Hit, rng: np.random.Generator) -> Hit:
    tone, ring, noise, rattle, colour = np.exp(
        rng.normal(0, 0.7, 5) * (0.15, 0.3, 0.35, 0.35, 0.2)
    ).tolist()
    return replace(
        hit,
        tone=hit.tone * tone,
        ring=hit.ring * ring,
        noise=hit.noise * noise,
        rattle=hit.rattle * rattle,
        band=(hit.band[0] * colour, hit.band[1] * colour),
    )


def _render_hit(hit: Hit, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    samples = int(max(hit.ring, hit.rattle) * sample_rate) + 1
    t = np.arange(samples, dtype=np.float32) / np.float32(sample_rate)
    sound: np.ndarray = rng.standard_normal(samples, np.float32)
    if hit.metal > 0:
        # Frequency ratios of the six cymbal oscillators in analogue drum machines.
        ratios = np.array((2.0, 3.0, 4.16, 5.43, 6.79, 8.21)) * rng.uniform(95, 105)
        squares = np.sign(np.sin(2 * np.pi * ratios[:, None].astype(np.float32) * t)).sum(0)
        sound = (1 - hit.metal) * sound + hit.metal * squares
    high = min(hit.band[1], 0.46 * sample_rate)
    low = min(hit.band[0], 0.8 * high)
    sections = signal.butter(2, (low, high), "bandpass", fs=sample_rate, output="sos")
    sound = signal.sosfilt(sections, sound)
    sound /= np.sqrt(np.mean(np.square(sound)))
    envelope = np.zeros(samples)
    for burst in range(hit.bursts):
        since = t - 0.011 * burst
        envelope += np.exp(np.minimum(0, -DECAY_60_DB * since / hit.rattle)) * (since >= 0)
    sound *= hit.noise * envelope / hit.bursts
    if hit.tone > 0:
        frequency = hit.tone * (1 + hit.sweep * np.exp(-t / 0.025))
        tone = np.sin(2 * np.pi * np.cumsum(frequency) / sample_rate)
        sound += 2 * tone * np.exp(-DECAY_60_DB * t / hit.ring)
    edge = min(samples, sample_rate // 200)
    sound[-edge:] *= np.linspace(1, 0, edge)
    return sound.astype(np.float32)
