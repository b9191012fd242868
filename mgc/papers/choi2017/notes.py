"""Notes on data and differences from Choi et al. (2017), for the tables."""

from collections.abc import Mapping, Sequence

from mgc.evaluation.results import Results
from mgc.papers.choi2017.claims import OPEN, describe_last_layer, describe_rankings
from mgc.papers.choi2017.tables import UNPUBLISHED, Experiment
from mgc.papers.tables import Cell

#: Smallest share of the paper's tracks with which scores are comparable.
MIN_SHARE = 0.95

DIFFERENCES = (
    "`paper` is the paper's protocol: the best setting on the test folds, so scores are "
    "optimistic. `nested` chooses settings within the training folds. The paper lists "
    "standardisation among the settings, but the released code does not apply it; `paper` scores "
    "are without, `nested` ones with it. Nested folds keep groups of tracks together, such as "
    "duplicates or an artist's, and then differ from those of `paper`.",
    f"The paper has 28 combinations of layers, without {', '.join(UNPUBLISHED)}; we have all 31. "
    "Section 4.2.2 says that the best seven for genres use more than three layers, of which only "
    "three are among the 28; we count those with at least three.",
    "Figure 2 and the released scores have r² 0.656 and 0.462 as the best for arousal and valence, "
    "section 4.2.4 has 0.633 and 0.415. Both are in the table.",
    "The tagger: the paper names 201,680 / 12,605 / 25,940 clips to train, validate and test, "
    "240,225 in total, where its text says 244,224; the released lists have 201,680 / 12,634 / "
    "28,540. The pooling in figure 1 does not fit 96 bands; ours is that of the released network.",
    "The released network normalises with the statistics of its input batch, 256 clips. Ours uses "
    "those of a collection (`--calibrate`) or of each clip, and a random network those of each "
    "clip. Running statistics of a network without training would let its values grow with "
    "depth.",
    "In the table of claims, r² is multiplied by 100, as accuracies are.",
    "State of the art: for ballroom dances weighted average recall, for genres the ceiling of "
    "94.5 % by faults of the data, for audio events the network with augmentation.",
)


def list_notes(
    experiments: Sequence[Experiment], cells: Mapping[Cell, Results], tagging: str | None
) -> list[str]:
    """Return paragraphs in Markdown: data, differences, rankings and open claims.

    Args:
        experiments: Results of each target.
        cells: Nested predictions.
        tagging: Results of the tagger, if given.
    """
    found = [_describe_data(experiment) for experiment in experiments]
    found += DIFFERENCES
    found += [describe_last_layer(cells), describe_rankings(experiments)]
    claims = list(OPEN)
    if tagging is None:
        claims.insert(
            0,
            "The tagger reaches a ROC-AUC of 0.849 (section 3.1): needs the Million Song Dataset's "
            "audio. Test a checkpoint with `mgc test` on `msd_tagging` and add `--tagging FOLDER`.",
        )
    found.append("Open, because our results cannot test them:")
    found.append("\n".join(f"- {claim}" for claim in claims))
    return [text for text in found if text]


def _describe_data(experiment: Experiment) -> str:
    results = next(iter(experiment.parts.values()))
    target, tracks = experiment.target, results.meta["tracks"]
    source = str(results.meta["source"].get("model", ""))
    kind = "released features" if source.startswith("released") else "our extraction"
    text = (
        f"Our data for {target.title}: {tracks} of the {target.tracks} tracks of {target.task}, "
        f"{kind}, {results.meta['folds']}."
    )
    if tracks < MIN_SHARE * target.tracks:
        return f"**Not comparable with the paper's scores.** {text}"
    return text
