"""Reports are logged to W&B."""

from pathlib import Path

import pandas as pd
from wandb_offline import read_run

from mgc.cli import main
from mgc.evaluation.results import Results


def test_report_is_logged_to_wandb(workdir: Path) -> None:
    rows = pd.DataFrame({"track": ["t0", "t1", "t2"], "label": ["a", "b", "a"]})
    rows = rows.assign(decision="a", vote="a", **{"probability.a": 0.6, "probability.b": 0.4})
    clips = rows.drop(columns="vote").assign(clip=0, start=0.0)
    Results(clips, rows, "multiclass", ("a", "b"), {}).save("one")
    main(["report", "experiment", "one", "--out=report", "--wandb", "--project=mine"])
    (folder,) = workdir.glob("runs/wandb/offline-run-*")
    run = read_run(folder)
    assert (run["project"], run["job_type"], run["name"]) == ("mine", "report", "experiment one")
    logged = {key for step in run["history"] for key in step}
    assert {"systems", "classes", "confusion_one"} <= logged
