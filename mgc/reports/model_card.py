"""Model cards: what a checkpoint is, in the format of Hugging Face."""

import inspect
import logging
import re
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from huggingface_hub import EvalResult, ModelCardData
from scipy.stats import binomtest

from mgc import checkpoint, registry
from mgc.errors import MgcError
from mgc.evaluation.per_class import per_class
from mgc.evaluation.results import Results
from mgc.evaluation.scores import measure
from mgc.installation import pip_install
from mgc.runs.folder import CONFIG
from mgc.runs.record import read_record

log = logging.getLogger(__name__)

#: Samples of tracks for an interval, and the seed that they are drawn with.
RESAMPLES = 500

#: Names of the metrics: in words, and Hugging Face's.
METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "f1": ("macro F1", "f1"),
    "auroc": ("mean ROC-AUC of the tags", "roc_auc"),
    "average_precision": ("mean average precision of the tags", "average_precision"),
    "r2": ("mean r²", "r_squared"),
    "rmse": ("root-mean-square error", "rmse"),
}

#: Settings of the trainer that are told.
TRAINER = ("max_epochs", "precision", "accelerator", "devices", "num_nodes", "strategy",
           "accumulate_grad_batches", "gradient_clip_val")  # fmt: skip

Scores = dict[str, tuple[float, float, float]]


def model_card(
    path: str | PathLike[str],
    name: str | None = None,
    license: str | None = None,
    test: str | PathLike[str] | None = None,
) -> str:
    """Describe a checkpoint.

    Args:
        path: Checkpoint written by ``mgc fit``, in the folder of its run or not.
        name: Title; by default the model and the data set.
        license: Licence of the weights, by Hugging Face's name for it.
        test: Folder with results of ``mgc test``; by default that of the run.

    Returns:
        Markdown with a head of YAML.

    Raises:
        MgcError: If the checkpoint or the results cannot be read, or the results are of another
            checkpoint.
    """
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise MgcError(
            f"license={license!r}: give Hugging Face's name for it, such as mit or cc-by-4.0."
        )
    content = checkpoint.read(path)
    about = checkpoint.description(path)
    run = Path(path).absolute().parent.parent
    config = _read_config(run / CONFIG)
    record = read_record(run).get("fit") or {}
    results = _read_results(path, run / "test" if test is None else Path(test), about, test)
    data_name, data_help = _component("data", about.get("data"))
    model_name, model_help = _component("model", about["class_path"])
    title = name or f"{model_name} on {data_name}"
    scores = {} if results is None else measure_with_intervals(results)
    sections = [
        _head(title, license, data_name, about, scores),
        f"# {title}\n\n{_first(model_help)} It {_purpose(about)}",
        "## Model\n\n" + _model(about, content, model_name, model_help),
        "## Data\n\n" + _data(about, config, record, data_name, data_help),
        "## Training\n\n" + _training(content, config, record),
        "## Test\n\n" + _test(results, scores),
        "## Intended use and limits\n\n" + _limits(about, results, data_name),
        "## Licence\n\n" + _licence(license, data_help),
        "## How to use it\n\n" + _usage(Path(path).name, about),
    ]
    return "\n\n".join(sections) + "\n"


def measure_with_intervals(results: Results) -> Scores:
    """Measure decisions on tracks.

    Args:
        results: Results of a test.

    Returns:
        By metric its value and its 95 % interval: Wilson's (1927) for the accuracy, as ``mgc test``
        tells it; for others the percentile bootstrap over tracks (Efron 1979).
    """
    tracks, labels = results.tracks, results.labels
    outputs = torch.from_numpy(tracks[results.outputs].to_numpy(np.float32, copy=True))
    if results.task == "multiclass":
        index = {label: i for i, label in enumerate(labels)}
        target = torch.tensor([index[label] for label in tracks["label"]])
    else:
        columns = [f"target.{label}" for label in labels]
        target = torch.from_numpy(tracks[columns].to_numpy(np.float32, copy=True))
    measured = measure(outputs, target, results.task, labels)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES if len(tracks) > 1 else 0):
        rows = torch.from_numpy(rng.integers(len(tracks), size=len(tracks)))
        drawn.append(measure(outputs[rows], target[rows], results.task, labels))
    samples = pd.DataFrame(drawn, columns=list(measured), dtype=float)
    scores: Scores = {}
    for metric in METRICS.keys() & measured.keys():
        ends = samples[metric].quantile([0.025, 0.975])
        scores[metric] = (measured[metric], float(ends.iloc[0]), float(ends.iloc[1]))
    if "accuracy" in scores:
        right = int((tracks["label"] == tracks["decision"]).sum())
        wilson = binomtest(right, len(tracks)).proportion_ci(method="wilson")
        scores["accuracy"] = (right / len(tracks), wilson.low, wilson.high)
    return {metric: scores[metric] for metric in METRICS if metric in scores}


def _read_config(path: Path) -> dict[str, Any]:
    """Configuration of the fit; empty where there is none beside the checkpoint."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise MgcError(f"{path}: cannot be read as the configuration of a run.") from error


def _read_results(
    path: str | PathLike[str], folder: Path, about: dict[str, Any], asked: object
) -> Results | None:
    """Results of a test, if there is one of this checkpoint."""
    if asked is None and not (folder / "tracks.parquet").is_file():
        return None
    results = Results.load(folder)
    tested = results.source.get("checkpoint")
    same = tested and Path(tested).name == Path(path).name
    if list(results.labels) != list(about["labels"]) or not same:
        if asked is None:
            log.warning("%s: of another checkpoint (%s), so the card has no test.", folder, tested)
            return None
        raise MgcError(f"{folder}: results of another checkpoint ({tested}), not of {path}.")
    return results


def _component(kind: str, class_path: str | None) -> tuple[str, str]:
    """Short name and documentation of a model or data set, as far as it is installed."""
    claim = registry.entry_point_of(class_path or "")
    if claim:
        return claim.name, inspect.getdoc(registry.load_claim(kind, claim)) or ""
    return (class_path or "data that is not stated").rpartition(".")[2], ""


def _head(title: str, license: str | None, data: str, about: dict[str, Any], scores: Scores) -> str:
    """What Hugging Face reads."""
    results = [
        EvalResult(
            task_type="audio-classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type=METRICS[metric][1],
            metric_name=f"{METRICS[metric][0]} of tracks",
            metric_value=round(value, 4),
        )
        for metric, (value, _, _) in scores.items()
    ]
    tags = ["music", "music-information-retrieval", "mgc", about["task"]]
    card = ModelCardData(
        license=license,
        library_name="mgc",
        pipeline_tag="audio-classification",
        tags=[tag for tag in tags if tag],
        metrics=[METRICS[metric][1] for metric in scores] or None,
        model_name=title if results else None,
        eval_results=results or None,
    )
    return f"---\n{card.to_yaml()}\n---"


def _purpose(about: dict[str, Any]) -> str:
    count, task = len(about["labels"]), about["task"]
    what = {
        "multiclass": f"tells {count} classes apart",
        "multilabel": f"gives each of {count} tags a probability",
        "regression": f"rates {count} quantities",
    }.get(task, "offers features")
    labels = ", ".join(about["labels"])
    return f"{what}{': ' + labels if labels else ''}."


def _model(about: dict[str, Any], content: dict[str, Any], name: str, text: str) -> str:
    settings = content.get(checkpoint.HYPER) or about.get("init_args") or {}
    count = sum(v.numel() for k, v in content["state_dict"].items() if torch.is_floating_point(v))
    rows = {"model": f"`{name}` (`{about['class_path']}`)", "numbers in the weights": f"{count:,}"}
    if about["clip_seconds"]:
        rows["input"] = (
            f"mono audio at {about['sample_rate']} Hz, clips of {about['clip_seconds']:g} s; "
            "spectrograms and the like are computed in the model"
        )
    rows |= {f"`{key}`": _plain(value) for key, value in settings.items() if key[0] != "_"}
    source = "\n\n".join(text.split("\n\n")[1:2])
    return "\n\n".join(filter(None, [" ".join(source.split()), _table(rows)]))


def _data(
    about: dict[str, Any],
    config: dict[str, Any],
    record: dict[str, Any],
    name: str,
    text: str,
) -> str:
    settings = (config.get("data") or {}).get("init_args") or {}
    fingerprint = record.get("fingerprint") or {}
    sizes = fingerprint.get("sizes") or {}
    unknown = "not stated"
    rows = {
        # The module knows what the set is, not what its folder held.
        "data set": f"read by `{name}`: {_first(text)}" if text else name,
        "split": settings.get("split", record.get("split") or unknown),
    }
    if str(rows["split"]).startswith("fold"):
        rows["tested fold"] = settings.get("fold", unknown)
    rows["tracks"] = ", ".join(f"{n} {split}" for split, n in sizes.items()) or unknown
    if fingerprint:
        rows["fingerprint"] = (
            f"tracks and targets `{fingerprint['tracks']}`, split `{fingerprint['split']}`"
        )
    for key, unit in (("hop_seconds", " s"), ("short", ""), ("channel", ""), ("resampling", "")):
        if about.get(key) is not None:
            value = about[key]
            rows[f"`{key}`"] = f"{value:g}{unit}" if unit else str(value)
    return _table(rows)


def _training(content: dict[str, Any], config: dict[str, Any], record: dict[str, Any]) -> str:
    rows: dict[str, Any] = {}
    if "epoch" in content:
        rows["trained"] = f"{content['epoch'] + 1} epochs, {content['global_step']} steps"
    if not config:
        rows["configuration"] = "not known: there is none beside the checkpoint"
    else:
        trainer = config.get("trainer") or {}
        data = (config.get("data") or {}).get("init_args") or {}
        model = (config.get("model") or {}).get("init_args") or {}
        optimizer = config.get("optimizer")
        rows["optimizer"] = (
            f"{optimizer['class_path'].rpartition('.')[2]} {_plain(optimizer.get('init_args'))}"
            if optimizer
            else f"the model's own, learning rate {model.get('lr', 'not stated')}"
        )
        rows["batch size per device"] = data.get("batch_size", "not stated")
        trainer["precision"] = trainer.get("precision") or "32-true"
        rows |= {f"`{k}`": _plain(trainer[k]) for k in TRAINER if trainer.get(k) is not None}
        rows["seed"] = _plain(config.get("seed_everything"))
    git = record.get("git")
    if git:
        rows["commit"] = f"`{git['commit']}`{' with changes' if git['dirty'] else ''}"
    versions = record.get("packages") or {
        "mgc": content[checkpoint.KEY].get("version", "not stated"),
        "lightning": content.get("pytorch-lightning_version", "not stated"),
    }
    rows["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    return _table(rows)


def _test(results: Results | None, scores: Scores) -> str:
    if results is None:
        return "Not tested: there are no results of `mgc test` for this checkpoint."
    source = results.source
    fold = f", fold {source['fold']}" if str(source.get("split")).startswith("fold") else ""
    lines = [
        f"{len(results.tracks)} tracks ({len(results.clips)} clips) of the test split "
        f"`{source.get('split')}`{fold}. Outputs of a track are the means over its clips.",
        "| metric, of tracks | value | 95 % interval |\n| --- | --- | --- |\n"
        + "\n".join(
            f"| {METRICS[metric][0]} | {value:.3f} | {low:.3f} to {high:.3f} |"
            for metric, (value, low, high) in scores.items()
        ),
        "Intervals: Wilson's for the accuracy, bootstrap over tracks for others.",
    ]
    table = per_class(results)
    head = ["label", *(name.replace("_", " ") for name in table.columns)]
    body = [
        [str(label), *(str(v) if isinstance(v, int) else f"{v:.3f}" for v in row)]
        for label, row in zip(table.index, table.astype(object).to_numpy().tolist(), strict=True)
    ]
    rows: list[list[str]] = [head, ["---"] * len(head), *body]
    lines.append("\n".join("| " + " | ".join(row) + " |" for row in rows))
    return "\n\n".join(lines)


def _limits(about: dict[str, Any], results: Results | None, data: str) -> str:
    lines = [
        "- For research on music, and for sorting collections where a wrong label does no harm."
    ]
    if about["task"] == "multiclass":
        lines.append(
            f"- Whatever it hears becomes one of {len(about['labels'])} classes, also music of "
            "other kinds, speech and silence: the probabilities always add up to 1."
        )
    elif about["task"] == "multilabel":
        lines.append("- It knows no tags but these; a low probability does not mean another tag.")
    if about["clip_seconds"]:
        short = {
            "repeat": "repeated",
            "pad": "padded with silence",
            "keep": "taken as they are",
        }.get(about.get("short", "repeat"), "made longer")
        lines.append(
            f"- It hears {about['clip_seconds']:g} s at a time and nothing above "
            f"{about['sample_rate'] / 2:g} Hz. Shorter songs are {short}."
        )
    if results is None:
        lines.append("- How well it does is not known: it was not tested.")
    else:
        lines.append(
            f"- Tested on {len(results.tracks)} tracks of the collection that it was trained on "
            f"({data}), and on no other: on other music it may do worse."
        )
    return "\n".join(lines)


def _licence(license: str | None, data_help: str) -> str:
    sentences = re.split(r"(?<=[.;])\s+", " ".join(data_help.split()))
    told = [s for s in sentences if re.search(r"licen[cs]e|Creative Commons", s)]
    rows = {
        "weights": license or "not stated",
        "data": " ".join(told).rstrip(";") or "not stated",
    }
    return _table(rows)


def _usage(file: str, about: dict[str, Any]) -> str:
    lines = [pip_install()]
    if about["clip_seconds"]:
        lines += [
            f"mgc classify song.mp3 --ckpt {file}                # {_told(about)}",
            f"mgc extract music/ --ckpt {file} --out features.parquet",
            f"mgc export --ckpt {file} --out model.onnx          # to classify without PyTorch",
        ]
    else:
        lines.append(
            f"mgc predict --config config.yaml --ckpt_path {file}   # takes beats, no audio"
        )
    return "```\n" + "\n".join(lines) + "\n```"


def _told(about: dict[str, Any]) -> str:
    kinds = {"multiclass": "its class", "multilabel": "its tags", "regression": "its ratings"}
    return kinds.get(about["task"] or "", "its outputs")


def _first(text: str) -> str:
    """First sentence of a documentation, in a line."""
    return " ".join(text.partition("\n\n")[0].split())


def _plain(value: Any) -> str:
    """A setting as text, without the folders of somebody's machine."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return re.split(r"[/\\]", value)[-1]
    return str(value)


def _table(rows: dict[str, Any]) -> str:
    lines = [f"| {key} | {str(value).replace('|', chr(92) + '|')} |" for key, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines])
