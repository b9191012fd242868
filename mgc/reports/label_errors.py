"""Finds tracks whose labels are contradicted by out-of-sample probabilities.

Confident learning by cleanlab: it counts the tracks of each class that models confidently assign to
another class, and ranks the tracks by the probability of their label.

Source: Northcutt et al., "Confident learning: estimating uncertainty in dataset labels", Journal of
Artificial Intelligence Research 70, 2021.
"""

import base64
import functools
import html
import io
import os
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from mgc import registry
from mgc.core import markdown
from mgc.core.csv import write_csv
from mgc.core.text import visible
from mgc.core.writing import all_or_nothing
from mgc.core.yaml_files import read_yaml
from mgc.data.corrections import LABEL_SEPARATOR
from mgc.errors import MgcError
from mgc.evaluation.alignment import align, check_alike
from mgc.evaluation.intervals import Score, bootstrap_score
from mgc.evaluation.results import Results
from mgc.evaluation.tested_runs import RunLike, as_runs
from mgc.installation import pip_install
from mgc.runs.folder import CONFIG

#: Estimated share above which the report doubts the models rather than the labels.
MAX_SHARE = 0.15

#: Approximate number of bootstrap resamples of the estimated share.
RESAMPLES = 500

#: Pictures of spectrograms: sample rate in Hz, longest excerpt in seconds, height and width.
RATE, MAX_SECONDS, SIZE = 22050, 60.0, (96, 600)

METHOD = (
    "Method: confident learning (cleanlab) estimates the number of wrong labels from out-of-sample "
    "probabilities, {mean}, and suspects that many tracks: those that get another {kind} and whose "
    "label has the lowest probability. Limits: a contradiction is evidence and no proof, because "
    "{confusion} looks the same, and wrong labels that the models agree with are missed. The "
    "interval covers the choice of tracks, not this bias, which grows with the errors of the "
    "models; listen to each track before you change its label, and do not report scores of a test "
    "split that was cleaned by its own errors."
)

DOUBT = (
    "Warning: with so many contradictions, these are probably errors of the models, not of the "
    "labels. Use models with a higher accuracy."
)

STYLE = (
    "<style>body{font-family:sans-serif;margin:2em}section{margin:2em 0}"
    "img{display:block;max-width:100%}audio{width:600px;max-width:100%}</style>"
)


@dataclass(frozen=True)
class LabelErrors:
    """Suspected wrong labels.

    Attributes:
        tracks: One row per track, the most suspicious first: ``track``, ``label``, ``suggested``,
            ``probability_label``, ``probability_suggested``, ``quality`` (from 0, certainly wrong,
            to 1) and ``suspected``. Tags are separated by ``|``, and both probabilities are those
            of ``tag``, the most doubtful one.
        classes: One row per class or tag, with the number of its tracks and of suspected ones, and
            what the models suggest.
        share: Estimated share of wrong labels (for tags, of all labels of all tracks), with a 95 %
            bootstrap interval over tracks.
        runs: Names of the runs.
        multilabel: Whether tracks have tags.
    """

    tracks: pd.DataFrame
    classes: pd.DataFrame
    share: Score
    runs: tuple[str, ...]
    multilabel: bool

    @property
    def text(self) -> str:
        """Report in Markdown."""
        suspected, total = int(self.tracks["suspected"].sum()), len(self.tracks)
        interval = self.share.interval
        classes = self.classes[self.classes["suspected"] > 0].reset_index(drop=True)
        agree = (self.tracks["label"] == self.tracks["suggested"]).mean()
        lines = [
            markdown.heading("Wrong labels"),
            "",
            f"Suspected: {suspected} of {total} tracks."
            + ("" if self.multilabel else f" The models agree with {agree:.1%} of the labels."),
            "",
            f"Estimated share of wrong {'tags' if self.multilabel else 'labels'}: "
            f"{self.share.value:.1%} ({interval.name}: {interval:.1%}).",
            "",
        ]
        if self.share.value > MAX_SHARE:
            lines += [DOUBT, ""]
        if len(classes):
            lines += [markdown.table(list(classes), classes.to_numpy(object), aligned=True), ""]
        lines += [
            self.method,
            "",
            "To correct labels, edit the column label of labels.csv, or write yes into its column "
            "exclude; then train with --data.relabel labels.csv --data.exclude labels.csv.",
            "",
            f"Results: {markdown.escape(', '.join(self.runs))}.",
            "",
        ]
        return "\n".join(lines)

    @property
    def method(self) -> str:
        """Method and limits in three sentences."""
        several = len(self.runs) > 1
        return METHOD.format(
            mean="the means over all runs" if several else "for each track the mean of its tests",
            kind="tag" if self.multilabel else "class",
            confusion="a model that misses or adds a tag systematically"
            if self.multilabel
            else "a model's systematic confusion of two classes",
        )

    def save(
        self,
        folder: str | os.PathLike[str],
        audio: pd.DataFrame | None = None,
        top: int = 50,
        no_audio: str = "The files of the tracks are unknown.",
    ) -> None:
        """Write labels.csv, report.md and labels.html to ``folder``, created if missing.

        Args:
            folder: Output folder.
            audio: Files of the tracks (see :func:`find_audio`), for players and spectrograms.
            top: Number of tracks in labels.html.
            no_audio: Why there is no ``audio``.
        """
        page = self._page(Path(folder), audio, top, no_audio)
        with all_or_nothing(folder) as out:
            table = self.tracks.assign(
                suspected=np.where(self.tracks["suspected"], "true", "false"), exclude=""
            )
            write_csv(table.round(6), out / "labels.csv", index=False)
            (out / "report.md").write_text(self.text, encoding="utf-8")
            (out / "labels.html").write_text(visible(page, lines=True), encoding="utf-8")

    def _repr_html_(self) -> str:
        """Show the share and the first tracks in a notebook."""
        first = self.tracks.head(10).to_html(index=False)
        return f"<p>Estimated share of wrong labels: {self.share.sentence}</p>{first}"

    def _page(self, folder: Path, audio: pd.DataFrame | None, top: int, no_audio: str) -> str:
        rows = [] if audio is None else audio.to_dict("records")
        files = {str(row["track"]): row for row in rows}
        parts = [
            '<!doctype html>\n<meta charset="utf-8">\n<title>Wrong labels</title>',
            STYLE,
            "<h1>Wrong labels</h1>",
            f"<p>{int(self.tracks['suspected'].sum())} of {len(self.tracks)} tracks are suspected; "
            f"this page has the first {min(top, len(self.tracks))}.</p>",
            f"<p>{html.escape(self.method)}</p>",
        ]
        if audio is None:
            parts.append(f"<p>This page has no players. {html.escape(no_audio)}</p>")
        for number, row in enumerate(self.tracks.head(top).to_dict("records"), 1):
            parts += [f"<section><h2>{number}. {html.escape(visible(row['track']))}</h2>"]
            for name, title in (("label", "Label"), ("suggested", "Suggested")):
                about = f" of {row['tag']}" if self.multilabel else ""
                text = (
                    f"{row[name] or 'none'} (probability{about} {row[f'probability_{name}']:.3f})"
                )
                parts.append(f"<p>{title}: <b>{html.escape(visible(text))}</b></p>")
            parts += ["" if row["suspected"] else "<p>Not suspected.</p>"]
            if row["track"] in files:
                parts += _draw_player(folder, files[row["track"]])
            elif audio is not None:
                parts += ["<p>The data set has no such track.</p>"]
            parts += ["</section>"]
        return "\n".join(parts) + "\n"


def find_label_errors(runs: Sequence[RunLike] | Mapping[str, RunLike]) -> LabelErrors:
    """Find tracks whose labels are contradicted by out-of-sample probabilities.

    Each track gets its mean probabilities over models and seeds. Tracks of training splits are not
    used.

    Example:
        >>> errors = mgc.reports.label_errors.find_label_errors(["runs/crossval/stft"])
        >>> errors.save("report")

    Args:
        runs: Runs on the same tracks, in a sequence or by name: output folders of cross-validations
            or tests (see :func:`mgc.evaluation.tested_runs.load_runs`), or their results.

    Raises:
        MgcError: If runs differ in tracks or labels, have no results on test tracks or no
            probabilities, or are of a regression; or cleanlab is not installed.
    """
    loaded = as_runs(runs)
    if not loaded:
        raise MgcError("Set the result folder of at least one run.")
    means = {run.name: _mean_by_track(run.name, run.test) for run in loaded}
    check_alike(means, clips=False)
    results = next(iter(means.values()))
    probabilities = np.mean([r.tracks[r.outputs].to_numpy(np.float64) for r in means.values()], 0)
    if not np.isfinite(probabilities).all():
        raise MgcError(f"{loaded[0].name}: some probabilities are not finite. Test it again.")
    find = _find_in_tags if results.task == "multilabel" else _find_in_classes
    return replace(find(results, probabilities), runs=tuple(means))


def find_audio(
    runs: Sequence[str | os.PathLike[str]],
    data: str | None = None,
    root: str | None = None,
    data_args: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Return the audio file of each track: ``track``, ``path``, and ``begin`` and ``end`` if known.

    Args:
        runs: Folders of runs; the first with a configuration gives the settings of the data.
        data: Name of the data set, instead of the runs' configuration.
        root: Folder of the data set, if it is not that of the configuration.
        data_args: Other arguments of the data set.

    Raises:
        MgcError: If there is no configuration, or the data set cannot be read.
    """
    if data is not None:
        if root is None:
            raise MgcError(f"--data {data} also needs --root, the folder of the data set.")
        module: Any = registry.make_data_module(data, root, data_args)
    else:
        section = _read_data_settings(runs)
        settings = {**(section.get("init_args") or {}), **(data_args or {})}
        settings |= {"root": root} if root is not None else {}
        component = registry.load("data", str(section.get("class_path")))
        registry.check_arguments(component, settings, "data.{}".format)
        module = component(**settings)
    if module.kind != "audio":
        raise MgcError(f"The data set has no audio files: {module.kind}.")
    module.prepare_data()
    catalogue = module.load_catalogue()
    return catalogue[[c for c in ("track", "path", "begin", "end") if c in catalogue]]


def _read_data_settings(runs: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    for folder in map(Path, runs):
        near = [folder / CONFIG, folder.absolute().parent / CONFIG]
        for path in [*near, *sorted(folder.glob(f"seed*/fold*/{CONFIG}"))[:1]]:
            section = (read_yaml(path) or {}).get("data") if path.is_file() else None
            if isinstance(section, dict) and "class_path" in section:
                return section
    raise MgcError("The runs have no configuration of the data. Set --data and --root.")


def _mean_by_track(name: str, results: Results) -> Results:
    """Return results with one row per track: means over seeds and folds."""
    if results.task == "regression":
        raise MgcError(f"{name}: expected classes or tags; a regression has no labels to check.")
    stage = results.source.get("stage")
    if stage in ("fit", "train"):
        raise MgcError(f"{name}: these are results of training. Use the results of mgc test.")
    missing = [column for column in results.outputs if column not in results.tracks]
    if missing:
        raise MgcError(
            f"{name}: has no probabilities ({missing[0]}). Run mgc transfer with --probabilities."
        )
    groups = results.tracks.groupby("track", sort=True)
    tracks = groups.first()
    tracks[results.outputs] = groups[results.outputs].mean()
    tracks = tracks.reset_index().drop(columns=["seed", "fold"], errors="ignore")
    return replace(align(replace(results, tracks=tracks)), clips=results.clips.head(0))


def _find_in_classes(results: Results, probabilities: np.ndarray) -> LabelErrors:
    names = np.array(results.labels, object)
    labels = pd.Index(results.labels).get_indexer(pd.Index(results.tracks["label"]))
    rows = np.arange(len(labels))
    suggested = probabilities.argmax(axis=1)
    quality = _score_labels(labels, probabilities)
    order = np.lexsort((quality, suggested == labels))
    suspected = np.zeros(len(labels), bool)
    suspected[order[: _count_issues(labels, probabilities)]] = True
    table = pd.DataFrame(
        {
            "track": results.tracks["track"],
            "label": names[labels],
            "suggested": names[suggested],
            "probability_label": probabilities[rows, labels],
            "probability_suggested": probabilities[rows, suggested],
            "quality": quality,
            "suspected": suspected,
        }
    )
    classes = pd.DataFrame(
        [
            {
                "label": label,
                "tracks": len(group),
                "suspected": int(group["suspected"].sum()),
                "suggested": _count_words(group.loc[group["suspected"], "suggested"]),
            }
            for label, group in table.groupby("label", sort=False)
        ]
    ).sort_values("suspected", ascending=False, kind="stable", ignore_index=True)
    share = _estimate_share(
        lambda drawn: _count_issues(labels[drawn], probabilities[drawn]), labels
    )
    return LabelErrors(table.iloc[order].reset_index(drop=True), classes, share, (), False)


def _find_in_tags(results: Results, probabilities: np.ndarray) -> LabelErrors:
    """Find wrong tags. As in cleanlab, each tag is a problem of two classes."""
    from_cleanlab = _import_cleanlab("multilabel_classification").get_label_quality_scores
    targets = results.tracks[[f"target.{label}" for label in results.labels]].to_numpy() > 0.5
    quality = from_cleanlab([np.flatnonzero(row).tolist() for row in targets], probabilities)
    sure = np.where(targets, probabilities, 1 - probabilities)  # probability of what is given
    wrong = np.zeros(targets.shape, bool)
    for tag, (given, probability) in enumerate(zip(targets.T, probabilities.T, strict=True)):
        order = np.argsort(sure[:, tag], kind="stable")
        wrong[order[: _count_tag_issues(given, probability)], tag] = True
    suggested = targets ^ wrong
    doubtful = np.where(wrong, sure, sure + 1).argmin(axis=1)
    rows = np.arange(len(targets))
    table = pd.DataFrame(
        {
            "track": results.tracks["track"],
            "label": _join_tags(targets, results.labels),
            "suggested": _join_tags(suggested, results.labels),
            "tag": np.array(results.labels, object)[doubtful],
            "probability_label": sure[rows, doubtful],
            "probability_suggested": 1 - sure[rows, doubtful],
            "quality": quality,
            "suspected": wrong.any(axis=1),
        }
    )
    classes = pd.DataFrame(
        {
            "tag": results.labels,
            "tracks": targets.sum(axis=0),
            "suspected": wrong.sum(axis=0),
            "to add": (wrong & ~targets).sum(axis=0),
            "to remove": (wrong & targets).sum(axis=0),
        }
    ).sort_values("suspected", ascending=False, kind="stable", ignore_index=True)

    def count(drawn: np.ndarray) -> float:
        pairs = zip(targets[drawn].T, probabilities[drawn].T, strict=True)
        return sum(_count_tag_issues(*pair) for pair in pairs) / targets.shape[1]

    order = np.lexsort((quality, ~table["suspected"]))
    share = _estimate_share(count, targets)
    return LabelErrors(table.iloc[order].reset_index(drop=True), classes, share, (), True)


def _estimate_share(count: Callable[[np.ndarray], float], labels: np.ndarray) -> Score:
    """Return the share of wrong labels; ``count`` gives their number among the given rows."""
    tracks = len(labels)

    def share(counts: np.ndarray) -> np.ndarray:
        drawn = (np.repeat(np.arange(tracks), column.astype(int)) for column in counts.T)
        return np.array([count(rows) / tracks for rows in drawn])

    return bootstrap_score(share, tracks, RESAMPLES)


def _count_issues(labels: np.ndarray, probabilities: np.ndarray) -> int:
    """Estimate the number of wrong labels: at most that of labels that are not the best class."""
    if len(np.unique(labels)) < 2:
        return 0
    count = _import_cleanlab("count").num_label_issues
    return int(count(labels, probabilities))


def _count_tag_issues(given: np.ndarray, probability: np.ndarray) -> int:
    return _count_issues(given.astype(int), np.stack([1 - probability, probability], axis=1))


def _score_labels(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    scores: np.ndarray = _import_cleanlab("rank").get_label_quality_scores(labels, probabilities)
    return scores


def _import_cleanlab(module: str) -> Any:
    try:
        import cleanlab
    except ImportError as error:
        raise MgcError(f"cleanlab is not installed: {pip_install('labels')}.") from error
    return getattr(cleanlab, module)


def _join_tags(targets: np.ndarray, labels: Sequence[str]) -> list[str]:
    return [LABEL_SEPARATOR.join(labels[int(i)] for i in np.flatnonzero(row)) for row in targets]


def _count_words(words: pd.Series) -> str:
    return ", ".join(f"{word} ({number})" for word, number in Counter(words).most_common())


def _draw_player(folder: Path, file: Mapping[Hashable, Any]) -> list[str]:
    """Return a player and a spectrogram of a track. Links are relative to ``folder``."""
    path = os.path.abspath(file["path"])
    begin, end = file.get("begin", 0.0), file.get("end", float("inf"))
    part = ""
    if begin > 0 or np.isfinite(end):
        part = f"#t={begin:g}" + (f",{end:g}" if np.isfinite(end) else "")
    link = quote(Path(os.path.relpath(path, os.path.abspath(folder))).as_posix()) + part
    player = f'<audio controls preload="none" src="{html.escape(link)}"></audio>'
    try:
        picture = _draw_spectrogram(path, begin, min(end - begin, MAX_SECONDS))
    except MgcError as error:
        return [player, f"<p>No spectrogram: {html.escape(visible(error))}</p>"]
    data = base64.b64encode(picture).decode("ascii")
    return [player, f'<img alt="spectrogram" src="data:image/png;base64,{data}">']


def _draw_spectrogram(path: str, begin: float, seconds: float) -> bytes:
    """Return a mel spectrogram as PNG."""
    import torch
    from matplotlib.image import imsave

    from mgc.data import audio

    samples = audio.read(path, RATE, round(begin * RATE), round(seconds * RATE))
    with torch.inference_mode():
        values = _spectrogram_image()(torch.from_numpy(samples)[None])[0, 0].numpy()
    file = io.BytesIO()
    imsave(file, values, cmap="magma", vmin=0, vmax=1, format="png")
    return file.getvalue()


@functools.cache
def _spectrogram_image() -> Any:
    from mgc.features.spectrogram_image import SpectrogramImage

    return SpectrogramImage(RATE, SIZE, [0.0], [1.0], frequency="mel", n_mels=SIZE[0])
