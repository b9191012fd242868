"""Creates model cards in the format of Hugging Face."""

import inspect
import logging
import re
import shlex
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData
from lightning.pytorch import LightningModule

from mgc import checkpoint, registry
from mgc.core import markdown
from mgc.core.fingerprint import hash_file
from mgc.core.markdown import Markdown, code, escape
from mgc.core.text import visible
from mgc.core.yaml_files import read_yaml
from mgc.errors import MgcError
from mgc.evaluation.intervals import Score, measures
from mgc.evaluation.per_class import per_class
from mgc.evaluation.results import Results
from mgc.installation import pip_install
from mgc.runs.folder import CONFIG
from mgc.runs.record import read_record

log = logging.getLogger(__name__)

#: Name of each metric in the card and on the Hugging Face Hub.
METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "f1": ("macro F1", "f1"),
    "auroc": ("mean ROC-AUC of the tags", "roc_auc"),
    "average_precision": ("mean average precision of the tags", "average_precision"),
    "r2": ("mean r²", "r_squared"),
    "rmse": ("root-mean-square error", "rmse"),
}

#: Settings of the trainer that the card lists.
TRAINER_SETTINGS = ("max_epochs", "precision", "accelerator", "devices", "num_nodes", "strategy",
                    "accumulate_grad_batches", "gradient_clip_val")  # fmt: skip

Scores = dict[str, Score]


def model_card(
    path: str | PathLike[str],
    name: str | None = None,
    license: str | None = None,
    test: str | PathLike[str] | None = None,
    model: str | type[LightningModule] | None = None,
) -> str:
    """Return a model card: Markdown with YAML metadata.

    Args:
        path: Checkpoint of ``mgc fit``. Configuration and record of the run are used if the
            checkpoint is still in the run's folder.
        name: Title; by default the model and the data set.
        license: Licence of the weights, as a Hugging Face identifier.
        test: Folder with results of ``mgc test``; by default that of the run.
        model: Class of the model (see :func:`mgc.load`), for its description.

    Raises:
        MgcError: If the checkpoint or the results cannot be read, or the results belong to another
            checkpoint.
    """
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise MgcError(
            f"license={license!r} is not a Hugging Face identifier such as mit or cc-by-4.0."
        )
    content = checkpoint.read(path)
    about = checkpoint.description(path)
    run = Path(path).absolute().parent.parent
    config = _read_config(run / CONFIG)
    record = read_record(run).get("fit") or {}
    folder = run / "test" if test is None else Path(test)
    results = _read_results(path, folder, about, required=test is not None)
    data_name, data_help = _load_component("data", about.get("data"))
    model_name, model_help = _load_component("model", about["class_path"])
    if model is not None:
        model_help = inspect.getdoc(checkpoint.find_class(path, about["class_path"], model)) or ""
    title = name or f"{model_name} on {data_name}"
    scores = {} if results is None else measures(results)
    sections = [
        _metadata(title, license, data_name, about, scores),
        f"{markdown.heading(title)}\n\n{escape(_summary(model_help))} "
        f"It {_describe_purpose(about)}",
        "## Model\n\n" + _model_section(about, content, model_name, model_help),
        "## Data\n\n" + _data_section(about, config, record, data_name, data_help),
        "## Training\n\n" + _training_section(content, config, record),
        "## Test\n\n" + _test_section(results, scores),
        "## Intended use and limits\n\n" + _limits_section(about, results, data_name),
        "## Licence\n\n" + _licence_section(license, data_help),
        "## How to use it\n\n" + _usage_section(Path(path).name, about),
    ]
    return "\n\n".join(sections) + "\n"


def _read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of the fit; empty if the file does not exist."""
    return (read_yaml(path) or {}) if path.exists() else {}


def _read_results(
    path: str | PathLike[str], folder: Path, about: dict[str, Any], required: bool
) -> Results | None:
    """Load test results of this checkpoint; None if not found and not required."""
    if not required and not (folder / "tracks.parquet").is_file():
        return None
    results = Results.load(folder)
    tested = results.source.get("checkpoint")
    digest = hash_file(path, content_only=True)
    if list(results.labels) != list(about["labels"]) or results.source.get("sha256") != digest:
        problem = f"{folder} has results of another checkpoint, or of an earlier {tested}"
        if required:
            raise MgcError(f"{problem}, not of {path}. Run mgc test --ckpt_path {path}.")
        log.warning("Ignored: %s. Run mgc test --ckpt_path %s.", problem, path)
        return None
    return results


def _load_component(kind: str, class_path: str | None) -> tuple[str, str]:
    """Return the registered name and the docstring of a model or data set, if installed."""
    claim = registry.entry_point_of(class_path or "")
    if claim:
        return claim.name, inspect.getdoc(registry.load_claim(kind, claim)) or ""
    return (class_path or "unknown data").rpartition(".")[2], ""


def _metadata(
    title: str, license: str | None, data: str, about: dict[str, Any], scores: Scores
) -> str:
    """Build the YAML metadata for the Hugging Face Hub."""
    results = [
        EvalResult(
            task_type="audio-classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type=METRICS[metric][1],
            metric_name=f"{METRICS[metric][0]} of tracks",
            metric_value=round(score.value, 4),
        )
        for metric, score in scores.items()
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


def _describe_purpose(about: dict[str, Any]) -> str:
    count, task = len(about["labels"]), about["task"]
    purpose = {
        "multiclass": f"classifies music into {count} classes",
        "multilabel": f"predicts the probabilities of {count} tags",
        "regression": f"predicts {count} quantities",
    }.get(task, "extracts features")
    labels = escape(", ".join(about["labels"]))
    return f"{purpose}{': ' + labels if labels else ''}."


def _model_section(about: dict[str, Any], content: dict[str, Any], name: str, text: str) -> str:
    settings = content.get(checkpoint.HYPER) or about.get("init_args") or {}
    tensors = [x for x in content["state_dict"].values() if isinstance(x, torch.Tensor)]
    count = sum(x.numel() for x in tensors if x.is_floating_point())
    rows = {
        "model": Markdown(f"{code(name)} ({code(about['class_path'])})"),
        "parameters and buffers": f"{count:,}",
    }
    if about["clip_seconds"]:
        rows["input"] = (
            f"mono audio at {about['sample_rate']} Hz, clips of {about['clip_seconds']:g} s; "
            "the model computes its own spectrograms or other features"
        )
    rows |= {code(key): _format(value) for key, value in settings.items() if key[0] != "_"}
    source = "\n\n".join(text.split("\n\n")[1:2])
    return "\n\n".join(filter(None, [escape(" ".join(source.split())), _key_value_table(rows)]))


def _data_section(
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
        # The data module describes the data set, not the content of the folder.
        "data set": Markdown(f"read by {code(name)}: {escape(_summary(text))}") if text else name,
        "split": settings.get("split", record.get("split") or unknown),
    }
    if str(rows["split"]).startswith("fold"):
        rows["tested fold"] = settings.get("fold", unknown)
    rows["tracks"] = ", ".join(f"{n} {split}" for split, n in sizes.items()) or unknown
    if fingerprint:
        tracks, split = code(fingerprint["tracks"]), code(fingerprint["split"])
        rows["fingerprint"] = Markdown(f"tracks and targets {tracks}, split {split}")
    for key, unit in (("hop_seconds", " s"), ("short", ""), ("channel", ""), ("resampling", "")):
        if about.get(key) is not None:
            value = about[key]
            rows[code(key)] = f"{value:g}{unit}" if unit else str(value)
    return _key_value_table(rows)


def _training_section(
    content: dict[str, Any], config: dict[str, Any], record: dict[str, Any]
) -> str:
    rows: dict[str, Any] = {}
    if "epoch" in content and "global_step" in content:
        rows["trained"] = f"{content['epoch'] + 1} epochs, {content['global_step']} steps"
    if not config:
        rows["configuration"] = "unknown: no configuration in the run's folder"
    else:
        trainer = config.get("trainer") or {}
        data = (config.get("data") or {}).get("init_args") or {}
        model = (config.get("model") or {}).get("init_args") or {}
        optimizer = config.get("optimizer")
        rows["optimizer"] = (
            f"{optimizer['class_path'].rpartition('.')[2]} {_format(optimizer.get('init_args'))}"
            if optimizer
            else f"default of the model, learning rate {model.get('lr', 'not stated')}"
        )
        rows["batch size per device"] = data.get("batch_size", "not stated")
        trainer["precision"] = trainer.get("precision") or "32-true"
        rows |= {
            code(k): _format(trainer[k]) for k in TRAINER_SETTINGS if trainer.get(k) is not None
        }
        rows["seed"] = _format(config.get("seed_everything"))
    git = record.get("git")
    if git:
        changes = " with uncommitted changes" if git["dirty"] else ""
        rows["commit"] = Markdown(f"{code(git['commit'])}{changes}")
    versions = record.get("packages") or {
        "mgc": content[checkpoint.KEY].get("version", "not stated"),
        "lightning": content.get("pytorch-lightning_version", "not stated"),
    }
    rows["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    return _key_value_table(rows)


def _test_section(results: Results | None, scores: Scores) -> str:
    if results is None:
        return "Not tested: no results of `mgc test` were found for this checkpoint."
    source = results.source
    fold = f", fold {escape(source['fold'])}" if str(source.get("split")).startswith("fold") else ""
    rows = [
        [METRICS[metric][0], value, interval, interval.name]
        for metric, (value, interval) in scores.items()
    ]
    classes = per_class(results).rename(columns=lambda name: name.replace("_", " "))
    return "\n\n".join(
        [
            f"{len(results.tracks)} tracks ({len(results.clips)} clips) of the test split "
            f"{code(source.get('split'))}{fold}. A track's outputs are means over its clips.",
            markdown.table(["metric, of tracks", "value", "interval", ""], rows),
            markdown.frame_table(classes.rename_axis("label")),
        ]
    )


def _limits_section(about: dict[str, Any], results: Results | None, data: str) -> str:
    lines = [
        "- Intended for music research and for sorting collections where a wrong label is harmless."
    ]
    if about["task"] == "multiclass":
        lines.append(
            f"- It assigns one of {len(about['labels'])} classes to any input, even to other "
            "music, speech or silence: the probabilities always sum to 1."
        )
    elif about["task"] == "multilabel":
        lines.append("- It predicts only these tags; low probabilities do not suggest other tags.")
    if about["clip_seconds"]:
        short = {
            "repeat": "repeated",
            "pad": "padded with silence",
            "keep": "used unchanged",
        }.get(about.get("short", "repeat"), "extended")
        lines.append(
            f"- It processes clips of {about['clip_seconds']:g} s and ignores frequencies above "
            f"{about['sample_rate'] / 2:g} Hz. Shorter songs are {short}."
        )
    if results is None:
        lines.append("- Its performance is unknown: it was not tested.")
    else:
        lines.append(
            f"- Tested only on {len(results.tracks)} tracks of the collection it was trained on "
            f"({escape(data)}): scores on other music may be lower."
        )
    return "\n".join(lines)


def _licence_section(license: str | None, data_help: str) -> str:
    sentences = re.split(r"(?<=[.;])\s+", " ".join(data_help.split()))
    found = [s for s in sentences if re.search(r"licen[cs]e|Creative Commons", s)]
    data = " ".join(found).rstrip(";")
    return _key_value_table({"weights": license or "not stated", "data": data or "not stated"})


def _usage_section(file: str, about: dict[str, Any]) -> str:
    file = visible(shlex.quote(file))
    unregistered = registry.entry_point_of(about["class_path"]) is None
    model = f" --model {visible(shlex.quote(about['class_path']))}" if unregistered else ""
    lines = [pip_install()]
    kinds = {"multiclass": "its class", "multilabel": "its tags", "regression": "its ratings"}
    output = kinds.get(about["task"] or "", "its outputs")
    if about["clip_seconds"]:
        lines += [
            f"mgc classify song.mp3 --ckpt {file}{model}                # {output}",
            f"mgc extract music/ --ckpt {file}{model} --out features.parquet",
            f"mgc export --ckpt {file}{model} --out model.onnx          # without PyTorch",
        ]
    else:
        lines.append(
            f"mgc predict --config config.yaml --ckpt_path {file}   # input: beats, not audio"
        )
    return "```\n" + "\n".join(lines) + "\n```"


def _summary(text: str) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join(text.partition("\n\n")[0].split())


def _format(value: Any) -> str:
    """Format a setting, with paths reduced to the file name."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format(item)}" for key, item in value.items())
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return re.split(r"[/\\]", value)[-1]
    return str(value)


def _key_value_table(rows: dict[str, Any]) -> str:
    return markdown.table(
        ["", ""], [[k, v if isinstance(v, str) else str(v)] for k, v in rows.items()]
    )
