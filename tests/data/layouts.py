"""Write tiny data sets in the real layouts, with generated audio and lists."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from mgc.data.extended_ballroom import COUNTS
from mgc.data.ismir2004 import GENRES
from mgc.data.urbansound8k import SOUNDS

SAMPLE_RATE = 8000

# Name in the list: name of the file in copies of the data set.
RENAMED = {"it's_here": "it_s_here", "kruhov\ufffd_objazd": "kruhovy_objazd"}


def write_tone(path: Path, hertz: float, seconds: float = 1.5, channels: int = 1) -> None:
    """Write a tone with noise that depends on the path; the extension sets the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(path.as_posix().encode()).digest()[:4], "big")
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    audio = 0.3 * np.sin(2 * np.pi * hertz * time)[:, None]
    audio = audio + np.random.default_rng(seed).normal(0, 0.02, (len(time), channels))
    soundfile.write(path, audio, SAMPLE_RATE)


def write_lines(path: Path, lines: Iterable[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + end for line in lines), encoding="utf-8", newline="")


def write_ismir2004(root: Path) -> None:
    """Write three lists of 27 songs by the same 27 artists."""
    genres = [genre for genre in GENRES for _ in range(12 if genre == "classical" else 3)]
    headers = {
        "training": '"class","artist","album","track","track number","file_path"',
        "development": '"class","artist","album","track","track number","file path"',
        "evaluation": None,
    }
    for name, header in headers.items():
        lines = [] if header is None else [header]
        for number, genre in enumerate(genres):
            artist = f"name_{number}"
            title = {0: "it's_here", 1: "kruhov\ufffd_objazd"}.get(number, f"song_{number}")
            # Copies number the file with the corrupted name with two digits.
            digits = "05" if "\ufffd" in title else "5"
            listed = f"{genre.split('_')[0]}/{artist}/album/5-{title}.mp3"
            file = f"{genre.split('_')[0]}/{artist}/album/{digits}-{RENAMED.get(title, title)}.mp3"
            if name == "development":
                artist = f"artist_{number + 1}"
                listed = file = f"{artist}_album_1_track_1.mp3"
            row = [genre, artist, "album", title, "5", listed]
            lines.append(",".join(f'"{cell}"' for cell in row + ["57578"] * (header is None)))
            write_tone(root / "audio" / name / file, 200 + 100 * GENRES.index(genre))
        write_lines(root / "metadata" / name / "tracklist.csv", lines)


def write_extended_ballroom(root: Path, songs: int = 4) -> None:
    """Write four songs per dance. Links join 0 to 1 and 1 to 2, so these three form a group."""
    lines = ["<ballroom>"]
    for d, dance in enumerate(COUNTS):
        lines.append(f"  <{dance}>")
        for n in range(songs):
            track = f"{100 + d}{n:03}"
            path = root / dance / f"{track}.mp3"
            write_tone(path, 200 + 50 * d)
            md5 = hashlib.md5(path.read_bytes()).hexdigest()
            link = {0: "exact", 1: "version"}.get(n)
            links = f'<{link} id="{100 + d}{n + 1:03}"/>' if link else ""
            lines.append(
                f'    <song album="A &amp; B" artist="Artist {n}" bpm="87" id="{track}" '
                f'title="Song" hash="{md5}">{links}</song>'
            )
        lines.append(f"  </{dance}>")
    write_lines(root / "extendedballroom_v1.1.xml", [*lines, "</ballroom>"])


def write_gtzan_speech_music(root: Path) -> None:
    """Write twelve clips per class; dialogue1 and dialogue2 form a group."""
    for label in ("music", "speech"):
        names = [f"clip{letter}" for letter in "abcdefghij"] + ["dialogue1", "dialogue2"]
        for name in names:
            write_tone(root / "music_speech" / f"{label}_wav" / f"{name}.wav", 440)


def write_emomusic(root: Path, clips: int = 26) -> None:
    """Write two clips by each of 13 artists, the last two artists in the evaluation set."""
    ratings = ["song_id,mean_arousal,std_arousal,mean_valence,std_valence"]
    songs = [
        "song_id,file_name,Artist,Song title,start of the segment (min.sec),"
        "end of the segment (min.sec),Genre,Mediaeval 2013 set"
    ]
    for n in range(clips):
        song, part = n + 2, "evaluation" if n // 2 >= 11 else "development"
        ratings.append(f"{song},{1.6 + 0.2 * n:.1f},0.99443,{8.1 - 0.1 * n:.1f},0.66667")
        songs.append(f'{song},{song}.mp3,"Artist {n // 2}\t",Song,1.12,1.57,Blues\t,{part}')
        write_tone(root / "clips_45seconds" / f"{song}.mp3", 300 + 20 * n, channels=2)
    write_lines(root / "annotations" / "static_annotations.csv", ratings)
    write_lines(root / "annotations" / "songs_info.csv", songs, "\r\n")


def write_jamendo_vocals(root: Path) -> None:
    """Write seven songs of 3 s, OGG and MP3, of three segments each."""
    for name, songs in {"train": 4, "valid": 2, "test": 1}.items():
        for n in range(songs):
            song = f"0{n} - Song of {name}"
            write_tone(root / name / f"{song}.{('ogg', 'mp3')[n % 2]}", 440, seconds=3)
            lab = ["0 1.25 nosing", "1.25 2.5 sing", "2.5 3.0 nosing"]
            write_lines(root / "jamendo_lab" / f"{song}.lab", lab)


def write_urbansound8k(root: Path, header: bool = False) -> None:
    """Write ten folds of two slices, each fold from one recording."""
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"] if header else []
    for fold in range(1, 11):
        for n in range(2):
            class_id = (fold + 5 * n) % 10  # each class is in two folds, five apart
            name = f"{100 + fold}-{class_id}-0-{n}.wav"
            row = (name, 100 + fold, 58.5, 62.5, 1, fold, class_id, SOUNDS[class_id])
            lines.append(",".join(map(str, row)))
            write_tone(root / "audio" / f"fold{fold}" / name, 440, seconds=0.4 + 0.1 * n)
    write_lines(root / "metadata" / "UrbanSound8K.csv", lines)


def write_folder(root: Path, labels: Sequence[str] = ("jazz", "rock"), tracks: int = 12) -> None:
    """Write sub-folders named by genre, with album folders and files of several formats."""
    for i, label in enumerate(labels):
        for n in range(tracks):
            suffix = ("wav", "flac", "mp3", "ogg")[n % 4]
            write_tone(root / label / f"album{n % 2}" / f"{n:02}.{suffix}", 300 * (i + 1))
