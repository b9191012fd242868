import errno
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mgc.data import audio, store
from mgc.data.base import AudioDataModule
from mgc.data.store import PackedReader, PackedStore, find_store, pack, store_folder, to_int16
from mgc.errors import MgcError

RATE = 8000


class ListedData(AudioDataModule):
    """A data set from ``tracks.csv``, which may list excerpts of files."""

    labels = ("a", "b")

    def read_catalogue(self) -> pd.DataFrame:
        catalogue = pd.read_csv(self.root / "tracks.csv", dtype={"track": str})
        paths = [str(self.root / path) for path in catalogue["path"]]
        return catalogue.assign(path=paths, group=catalogue["track"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty 16-bit files of 1 s at 8000 Hz, which make several parts."""
    root = tmp_path / "set"
    rng = np.random.default_rng(0)
    (root / "audio").mkdir(parents=True)
    for number in range(30):
        samples = rng.integers(-32768, 32768, RATE + number, dtype=np.int16)
        soundfile.write(root / "audio" / f"{number:02}.wav", samples, RATE)
    names = [f"{number:02}" for number in range(30)]
    catalogue = pd.DataFrame({"track": names, "path": [f"audio/{name}.wav" for name in names]})
    catalogue["label"] = ["a", "b"] * 15
    catalogue.to_csv(root / "tracks.csv", index=False)
    return root


def module(root: Path, **settings) -> ListedData:
    settings = {"sample_rate": RATE, "clip_seconds": 0.25, "max_broken": 0.2} | settings
    return ListedData(str(root), **settings)


def pack_all(root: Path, **settings) -> pd.DataFrame | None:
    return pack(module(root).read_catalogue(), root, **{"sample_rate": RATE} | settings)


def contents(root: Path, sample_rate: int = RATE) -> dict[str, bytes]:
    folder = store_folder(root, sample_rate)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def batches(data: AudioDataModule, split: str = "train") -> list[dict]:
    data.setup()
    clips = data.datasets[split]
    return [clips.__getitems__([(epoch, i) for i in range(len(clips))]) for epoch in range(2)]


def test_16_bit_audio_of_the_same_rate_is_stored_exactly(root: Path) -> None:
    index = pack_all(root)
    row = index.iloc[17]
    original, _ = soundfile.read(root / row["path"], dtype="int16")
    part = np.fromfile(store_folder(root, RATE) / f"audio-{row['part']:05}.s16", "<i2")
    np.testing.assert_array_equal(part[row["offset"] :][: row["length"]], original)


def test_rounding_error_is_half_a_step(root: Path) -> None:
    pack_all(root, sample_rate=6000)
    data = module(root, sample_rate=6000)
    data.setup()
    worst = 0.0
    for track, path in enumerate(data.tracks["path"]):
        expected = np.clip(audio.read(path, 6000), -1, 32767 / 32768)
        out = np.empty(len(expected), np.float32)
        assert data.reader().read(track, 0, out) == len(expected)
        worst = max(worst, np.abs(out - expected).max())
    assert 2**-17 < worst <= 2**-16


def test_samples_beyond_full_scale_are_clipped_and_counted() -> None:
    samples = np.array([-2, -1, -0.5, 0, 32767 / 32768, 1, 2], np.float32)
    packed, clipped = to_int16(samples)
    assert packed.tolist() == [-32768, -32768, -16384, 0, 32767, 32767, 32767]
    assert clipped == 3


def test_clips_from_the_store_equal_clips_from_files(root: Path) -> None:
    from_files = batches(module(root))
    pack_all(root)
    shutil.rmtree(root / "audio")
    data = module(root)
    from_store = batches(data)
    assert isinstance(data.reader(), PackedReader)
    for file, packed in zip(from_files, from_store, strict=True):
        for key in ("audio", "track", "target", "clip", "start", "broken"):
            np.testing.assert_array_equal(file[key], packed[key])


def test_excerpts_of_files_are_read_from_the_store(root: Path) -> None:
    catalogue = pd.read_csv(root / "tracks.csv", dtype=str)
    parts = pd.concat(
        [
            catalogue.assign(track=catalogue["track"] + suffix, begin=begin, end=end)
            for suffix, begin, end in (("x", 0.1, 0.5), ("y", 0.5, 0.9))
        ]
    )
    parts.to_csv(root / "tracks.csv", index=False)
    from_files = batches(module(root))
    index = pack_all(root)
    assert len(index) == 30
    data = module(root)
    from_store = batches(data)
    assert isinstance(data.reader(), PackedReader)
    assert set(data.tracks["length"]) == {3200}
    for file, packed in zip(from_files, from_store, strict=True):
        np.testing.assert_array_equal(file["audio"], packed["audio"])
        np.testing.assert_array_equal(file["track"], packed["track"])


def test_mp3_at_another_rate_matches_to_rounding(root: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        stereo = rng.normal(0, 0.1, (44100, 2))
        soundfile.write(root / "audio" / f"{number:02}.mp3", stereo, 44100)
    lines = (root / "tracks.csv").read_text().replace(".wav", ".mp3").splitlines()
    (root / "tracks.csv").write_text("\n".join(lines[:11]))
    from_files = batches(module(root, sample_rate=22050))
    pack_all(root, sample_rate=22050)
    from_store = batches(module(root, sample_rate=22050))
    for file, packed in zip(from_files, from_store, strict=True):
        np.testing.assert_array_equal(file["start"], packed["start"])
        np.testing.assert_allclose(file["audio"], packed["audio"], atol=2**-16 + 1e-7, rtol=0)


def test_long_files_are_decoded_in_blocks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(1).integers(-9999, 9999, 3 * RATE, dtype=np.int16)
    soundfile.write(root / "audio" / "00.wav", samples, RATE)
    pack_all(root, sample_rate=6000)
    whole = contents(root, 6000)
    shutil.rmtree(store_folder(root, 6000))
    monkeypatch.setattr(store, "BLOCK_SECONDS", 1)
    pack_all(root, sample_rate=6000)
    blocks = contents(root, 6000)
    for name in whole:
        if name.endswith(".s16"):
            difference = np.frombuffer(whole[name], "<i2") - np.frombuffer(blocks[name], "<i2")
            assert np.abs(difference).max() <= 1


def test_each_channel_has_its_own_store(root: Path) -> None:
    stereo = np.random.default_rng(0).integers(-9999, 9999, (RATE, 2), dtype=np.int16)
    soundfile.write(root / "audio" / "00.wav", stereo, RATE)
    index = pack_all(root, channel=1)
    assert index["reason"].notna().sum() == 29
    assert "no channel 1" in index["reason"].iloc[5]
    data = module(root, channel=1, max_broken=1.0)
    data._store = find_store(root, RATE, 1)
    out = np.empty(RATE, np.float32)
    path = str(root / "audio" / "00.wav")
    data._store.reader([path], np.array([0]), np.array([RATE])).read(0, 0, out)
    np.testing.assert_array_equal(out, stereo[:, 1] / 32768)
    assert find_store(root, RATE) is None


def test_two_shards_equal_one(root: Path) -> None:
    pack_all(root)
    single = contents(root)
    shutil.rmtree(store_folder(root, RATE))
    assert pack_all(root, shard=(1, 2)) is None
    assert find_store(root, RATE) is None
    assert pack_all(root, shard=(0, 2)) is not None
    assert contents(root) == single


def test_shards_from_separate_disks_are_merged(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(root, other)
    pack_all(root)
    single = contents(root)
    shutil.rmtree(store_folder(root, RATE))
    pack_all(root, shard=(0, 2))
    pack_all(other, shard=(1, 2))
    shutil.copytree(store_folder(other, RATE), store_folder(root, RATE), dirs_exist_ok=True)
    assert pack_all(root) is not None
    assert contents(root) == single


def test_workers_and_interruptions_do_not_change_the_store(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_all(root)
    single = contents(root)
    shutil.rmtree(store_folder(root, RATE))
    decoded = []
    decode = store._Decoder._decode

    def interrupted(self: store._Decoder, path: str) -> tuple[np.ndarray, int]:
        decoded.append(path)
        if len(decoded) == 20:
            raise KeyboardInterrupt
        return decode(self, path)

    monkeypatch.setattr(store._Decoder, "_decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack_all(root)
    monkeypatch.setattr(store._Decoder, "_decode", decode)
    left = contents(root)
    assert not any("partial" in name or name == "index.parquet" for name in left)
    assert left["audio-00000.s16"] == single["audio-00000.s16"]
    assert find_store(root, RATE) is None
    pack_all(root, workers=2)
    assert contents(root) == single


def test_packed_files_are_not_decoded_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_all(root)
    before = contents(root)
    monkeypatch.setattr(store._Decoder, "_decode", None)
    pack_all(root)
    assert contents(root) == before


def test_broken_and_missing_files_are_listed(root: Path) -> None:
    (root / "audio" / "03.wav").write_bytes(b"no audio")
    (root / "audio" / "04.wav").unlink()
    soundfile.write(root / "audio" / "05.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    index = pack_all(root).set_index("track")
    assert "Format not recognised" in index.loc["03", "reason"]
    assert index.loc["04", "reason"] == "missing"
    assert "not finite" in index.loc["05", "reason"]
    assert index["reason"].notna().sum() == 3
    data = module(root)
    data.setup()
    assert set(data.broken) == {"03", "04", "05"}
    assert len(data.tracks) == 27


def test_no_readable_file_raises_error(root: Path) -> None:
    for path in (root / "audio").iterdir():
        path.write_bytes(b"")
    with pytest.raises(MgcError, match="none of the 30 files is readable"):
        pack_all(root)
    assert find_store(root, RATE) is None


def test_changed_file_is_reported_and_its_part_repacked(root: Path) -> None:
    pack_all(root)
    before = contents(root)
    soundfile.write(root / "audio" / "00.wav", np.zeros(RATE, np.int16), RATE)
    with pytest.raises(MgcError, match=r"1 files have changed .*00\.wav.*mgc data pack"):
        module(root).setup()
    pack_all(root)
    after = contents(root)
    assert {name for name in before if before[name] != after[name]} == {
        "audio-00000.s16",
        "part-00000.parquet",
        "index.parquet",
    }
    module(root).setup()


def test_other_modification_time_is_no_change(root: Path) -> None:
    pack_all(root)
    os.utime(root / "audio" / "00.wav", (1, 1))
    module(root).setup()


@pytest.mark.parametrize("set_back", [False, True])
def test_a_rewritten_part_of_a_file_is_reported_and_repacked(root: Path, set_back: bool) -> None:
    path = root / "audio" / "00.wav"
    pack_all(root)
    before, times = contents(root), path.stat()
    with path.open("r+b") as file:
        file.seek(times.st_size // 4)
        file.write(bytes(200))
    if set_back:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(MgcError, match=r"1 files have changed .*00\.wav"):
        module(root).setup()
    pack_all(root)
    assert contents(root)["audio-00000.s16"] != before["audio-00000.s16"]
    module(root).setup()


@pytest.mark.parametrize("name", ["audio-00001.s16", "part-00001.parquet", "index.parquet"])
def test_an_edited_store_is_repaired(root: Path, name: str) -> None:
    pack_all(root)
    before = contents(root)
    path = store_folder(root, RATE) / name
    content = path.read_bytes()
    path.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    pack_all(root)
    assert contents(root) == before


def test_new_file_is_reported_and_packed(root: Path) -> None:
    pack_all(root)
    shutil.copy(root / "audio" / "00.wav", root / "audio" / "99.wav")
    with (root / "tracks.csv").open("a") as file:
        file.write("99,audio/99.wav,a\n")
    with pytest.raises(MgcError, match=r"1 of 31 files are not in .*99\.wav.*mgc data pack"):
        module(root).setup()
    assert len(pack_all(root)) == 31
    module(root).setup()


def test_old_parts_are_deleted(root: Path) -> None:
    pack_all(root)
    lines = (root / "tracks.csv").read_text().splitlines(keepends=True)
    (root / "tracks.csv").write_text("".join(lines[:11]))
    pack_all(root)
    assert len(list(store_folder(root, RATE).glob("*.s16"))) == 2


def test_damaged_store_is_reported_and_repaired(root: Path) -> None:
    pack_all(root)
    before = contents(root)
    path = store_folder(root, RATE) / "audio-00001.s16"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(MgcError, match=r"audio-00001\.s16 is missing or truncated"):
        module(root).setup()
    pack_all(root)
    assert contents(root) == before


def test_incomplete_store_is_not_used(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack_all(root, shard=(0, 2))
    data = module(root)
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert not isinstance(data.reader(), PackedReader)
    assert "packing is not finished" in caplog.text


def test_pickled_reader_contains_no_audio(root: Path) -> None:
    pack_all(root)
    data = module(root)
    data.setup()
    reader = data.reader()
    out, again = np.empty((2, 100), np.float32)
    reader.read(3, 50, out)
    copy = pickle.dumps(reader)
    assert len(copy) < 3000
    assert pickle.loads(copy).read(3, 50, again) == 100
    np.testing.assert_array_equal(out, again)


def test_number_of_open_parts_is_limited(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_FILES_RANGE", (1, 1))
    monkeypatch.setattr(store, "MAX_OPEN_PARTS", 4)
    pack_all(root)
    data = module(root)
    reader = PackedStore(store_folder(root, RATE), root).reader(
        data.read_catalogue()["path"].tolist(), np.zeros(30, int), np.full(30, RATE)
    )
    out = np.empty(RATE, np.float32)
    for track in [*range(30), *range(30)]:
        reader.read(track, 0, out)
        expected, _ = soundfile.read(root / "audio" / f"{track:02}.wav", dtype="float32")
        np.testing.assert_array_equal(out, expected[:RATE])
    assert reader._open.cache_info().currsize == 4


def test_workers_read_the_store(root: Path) -> None:
    pack_all(root)
    alone, several = module(root), module(root, num_workers=2)
    alone.setup("test")
    several.setup("test")
    for first, second in zip(alone.test_dataloader(), several.test_dataloader(), strict=True):
        np.testing.assert_array_equal(first["audio"], second["audio"])


def test_full_disk_raises_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MgcError, match="cannot be written: No space left on device"):
        pack_all(root)
    assert not (root / "packed").exists()


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_invalid_shard_raises_error(root: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(MgcError, match="Shard"):
        pack_all(root, shard=shard)


def test_store_of_real_clips(real_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "genres" / "jazz"
    folder.mkdir(parents=True)
    for path in sorted((real_data / "gtzan_mini/genres/jazz").iterdir())[:5]:
        shutil.copy(path, folder)
    shutil.copy(real_data / "bad_audio" / "jazz.00054.wav", folder)
    paths = sorted(map(str, folder.iterdir()))
    catalogue = pd.DataFrame({"track": range(6), "path": paths})
    index = pack(catalogue, tmp_path, 12000)
    assert index["reason"].notna().tolist() == [False] * 5 + [True]
    reader = PackedStore(store_folder(tmp_path, 12000), tmp_path).reader(
        paths[:5], np.zeros(5, int), index["length"].to_numpy()[:5]
    )
    out = np.empty(36000, np.float32)
    for track, path in enumerate(paths[:5]):
        reader.read(track, 100_000, out)
        expected = np.clip(audio.read(path, 12000, 100_000, 36000), -1, 32767 / 32768)
        np.testing.assert_allclose(out, expected, atol=2**-16 + 1e-7, rtol=0)


def test_files_that_could_not_be_read_are_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of a file was lost for a while; its size and times are the same as before."""
    lost, read = str(root / "audio/00.wav"), audio.probe

    def fail(path: str) -> audio.AudioInfo:
        if path == lost:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(audio, "probe", fail)
    assert module(root, max_broken=1.0).pack().broken["audio/00.wav"] == "Input/output error"
    monkeypatch.undo()
    assert "audio/00.wav" not in module(root, max_broken=1.0).pack().broken
