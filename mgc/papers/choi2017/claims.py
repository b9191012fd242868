"""Claims of Choi et al. (2017) in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mgc.core import markdown
from mgc.evaluation.results import Results
from mgc.papers.choi2017 import TARGETS, UNTAGGED_GENRES
from mgc.papers.choi2017.tables import (
    ALL,
    BEST,
    BOTH,
    COMBINATIONS,
    LAST,
    MFCC,
    RANDOM_BEST,
    UNPUBLISHED,
    Experiment,
    random_row,
)
from mgc.papers.claims import Claim, evaluate_claim
from mgc.papers.tables import Cell

#: Columns with the genres of GTZAN that are, and are not, tags of the tagger.
TAGGED, UNTAGGED = "genres with tags", "genres without tags"

#: Layers that matter most, by target: layers and section.
IMPORTANT_LAYERS = {
    "extended_ballroom": ("12", "4.2.1"),
    "emomusic_arousal": ("51", "4.2.4"),
    "emomusic_valence": ("3", "4.2.4"),
    "jamendo_vocals": ("4", "4.2.5"),
}

#: Claims that our results cannot test, with reasons.
OPEN = (
    "The state of the art is typically better (section 4.2), and so are dedicated systems for each "
    "task: these are published scores without predictions, on other splits and by other measures. "
    "They are in the tables and pictures, but cannot be paired.",
    "Convnet features beat the SVM on 4,777 features (section 4.2.4: r² 0.541 and 0.320) and the "
    "SVM on 225 MFCC statistics (section 4.2.6: 68 %): published scores, as above.",
    "Genres without a tag are not classified worse with the last layer alone (section 4.2.2): "
    "compares different tracks. The picture of figure 5 has the accuracy of each genre.",
    "Deep layers are invariant to tempo, and the structure of the network explains a part of its "
    "strength (section 4.2): explanations, which scores do not test.",
    "SVMs beat nearest neighbours in a preliminary experiment (section 2.3): not published. Run "
    "`mgc transfer --classifier knn` on our features to compare.",
)


def list_claims() -> list[Claim]:
    """List the paper's claims about the order of features, by target."""
    claims: list[Claim] = []
    for name, target in TARGETS.items():
        claims += [
            replace(claim, title=f"{target.title.capitalize()}: {claim.title}")
            for claim in [*_claims_of_all(name, target.title), *_claims_of_one(name, target.title)]
        ]
    return claims


def _claims_of_all(name: str, column: str) -> list[Claim]:
    def claim(title: str, better: str, worse: str, source: str) -> Claim:
        return Claim(title, (((better, column), (worse, column)),), source)

    means = [(c, MFCC) for c in COMBINATIONS], [(c, random_row(c)) for c in COMBINATIONS]
    over_mfcc, over_random = (
        tuple(((better, column), (worse, column)) for better, worse in pairs) for pairs in means
    )
    concatenated = claim("all layers over all layers with MFCCs", ALL, BOTH, "section 4.2")
    if name == "urbansound8k":
        concatenated = claim("all layers with MFCCs over all layers", BOTH, ALL, "section 4.2.6")
    return [
        claim("convnet features over MFCCs", BEST, MFCC, "section 5"),
        Claim("convnet features over MFCCs, mean of all combinations", over_mfcc, "section 4.2"),
        claim("convnet features over random ones", BEST, RANDOM_BEST, "section 4.2"),
        Claim(
            "convnet features over random ones, mean of all combinations",
            over_random,
            "section 4.2",
        ),
        claim("random convnet features over MFCCs", RANDOM_BEST, MFCC, "section 4.2"),
        concatenated,
        claim("all layers over the last one", ALL, LAST, "section 5"),
        claim("the best combination over the last layer", BEST, LAST, "section 2.2"),
    ]


def _claims_of_one(name: str, column: str) -> list[Claim]:
    claims = []
    layers, section = IMPORTANT_LAYERS.get(name, ("", ""))
    for layer in layers:
        pairs = [(c, c.replace(layer, "")) for c in COMBINATIONS if layer in c and c != layer]
        claims.append(
            Claim(
                f"combinations with layer {layer} over the same without",
                _in_column(pairs, column),
                f"section {section}",
            )
        )
    if name == "emomusic_valence":
        pairs = [("3", other) for other in "1245"]
        title = "layer 3 over the other single layers"
        claims.append(Claim(title, _in_column(pairs, column), "section 4.2.4"))
    if name in ("gtzan", "urbansound8k"):
        few = [c for c in COMBINATIONS if len(c) <= 2]
        many = [c for c in COMBINATIONS if len(c) > 3]
        pairs = [(more, fewer) for more in many for fewer in few]
        section = "4.2.2" if name == "gtzan" else "4.2.6"
        title = "more than three layers over one or two"
        claims.append(Claim(title, _in_column(pairs, column), f"section {section}"))
    if name == "gtzan":
        others = [(ALL, c) for c in COMBINATIONS if c != ALL]
        title = "all layers over the other combinations"
        claims.append(Claim(title, _in_column(others, column), "section 4.2.2"))
        for part in (UNTAGGED, TAGGED):
            title = f"all layers over the last one in {part}"
            claims.append(Claim(title, _in_column([(ALL, LAST)], part), "section 4.2.2"))
    if name == "urbansound8k":
        claims.append(
            Claim(
                "all layers with MFCCs over MFCCs",
                _in_column([(BOTH, MFCC)], column),
                "section 4.2.6",
            )
        )
    return claims


def _in_column(pairs: Iterable[tuple[str, str]], column: str) -> tuple[tuple[Cell, Cell], ...]:
    return tuple(((better, column), (worse, column)) for better, worse in pairs)


def split_genres(cells: Mapping[Cell, Results]) -> dict[Cell, Results]:
    """Return the results of GTZAN on the genres with and without tags."""
    found = {}
    for row in (ALL, LAST):
        results = cells.get((row, TARGETS["gtzan"].title))
        if results is None:
            continue
        for column, untagged in ((TAGGED, False), (UNTAGGED, True)):
            tracks = results.tracks
            tracks = tracks[tracks["label"].isin(UNTAGGED_GENRES) == untagged]
            if len(tracks):
                found[row, column] = replace(results, tracks=tracks, clips=tracks)
    return found


@dataclass(frozen=True)
class Ranking:
    """Claim about the best or worst combinations of a target.

    Attributes:
        target: Key of :data:`mgc.papers.choi2017.TARGETS`.
        count: Number of combinations: the best ones, or the worst ones if negative.
        layers: Layers that all of them have; ``-`` and layers that none of them has.
        fewest: Fewest layers.
        most: Most layers.
        paper: Number of combinations in the paper that fit.
        source: Section.
    """

    target: str
    count: int
    paper: int
    source: str
    layers: str = ""
    without: str = ""
    fewest: int = 1
    most: int = 5

    @property
    def title(self) -> str:
        """The claim in words."""
        side = "best" if self.count > 0 else "worst"
        what = [f"layers {' and '.join(self.layers)}"] if self.layers else []
        what += [f"no layer {self.without}"] if self.without else []
        what += [f"at least {self.fewest} layers"] if self.fewest > 1 else []
        what += [f"at most {self.most} layers"] if self.most < 5 else []
        title = TARGETS[self.target].title
        return f"{title.capitalize()}: {abs(self.count)} {side} have {', '.join(what)}"

    def fits(self, combination: str) -> bool:
        """Return whether a combination has these layers."""
        return (
            set(self.layers) <= set(combination)
            and not set(self.without) & set(combination)
            and self.fewest <= len(combination) <= self.most
        )


RANKINGS = (
    Ranking("extended_ballroom", 7, 7, "4.2.1", layers="2"),
    Ranking("extended_ballroom", 7, 6, "4.2.1", layers="1"),
    Ranking("extended_ballroom", -7, 7, "4.2.1", without="1"),
    Ranking("gtzan", 7, 7, "4.2.2", fewest=3),
    Ranking("gtzan", -7, 7, "4.2.2", most=2),
    Ranking("emomusic_arousal", 7, 7, "4.2.4", layers="5"),
    Ranking("emomusic_arousal", 5, 5, "4.2.4", layers="15"),
    Ranking("emomusic_valence", 6, 6, "4.2.4", layers="3"),
    Ranking("jamendo_vocals", 14, 14, "4.2.5", layers="4"),
)


def describe_rankings(experiments: Sequence[Experiment]) -> str:
    """Compare the paper's claims about the order of combinations with ours, as a table."""
    head = ["", "paper", "ours", "ours, nested"]
    rows = []
    for experiment in experiments:
        if experiment.convnet is None:
            continue
        summary = experiment.summary(experiment.convnet)
        known = summary[summary.index.isin(COMBINATIONS) & ~summary.index.isin(UNPUBLISHED)]
        protocols = [p for p in ("paper", "nested") if p in known]
        title = experiment.target.title.capitalize()
        if MFCC in summary.index:
            above = [int((known[p] > summary.loc[MFCC, p]).sum()) for p in protocols]
            counts = [f"{count} of {len(known)}" for count in above]
            rows.append([f"{title}: combinations above MFCCs (section 4.2)", "majority", *counts])
        if experiment.random is not None:
            random = experiment.summary(experiment.random)
            both = known.index.intersection(random.index)
            above = [int((known[p][both] > random[p][both]).sum()) for p in protocols]
            counts = [f"{count} of {len(both)}" for count in above]
            rows.append([f"{title}: combinations above random ones (section 4.2)", "most", *counts])
        for ranking in RANKINGS:
            if ranking.target != experiment.name or len(known) < len(COMBINATIONS) - 3:
                continue
            found = []
            for protocol in protocols:
                order = known[protocol].sort_values(ascending=ranking.count < 0, kind="stable")
                top = order.index[: abs(ranking.count)]
                found.append(f"{sum(map(ranking.fits, top))} of {len(top)}")
            name = f"{ranking.title} (section {ranking.source})"
            rows.append([name, f"{ranking.paper} of {abs(ranking.count)}", *found])
    if not rows:
        return ""
    note = (
        "Claims about the order of combinations count those of the paper, 28 of 31 (without "
        f"{', '.join(UNPUBLISHED)}). Those about the best and worst need all of them."
    )
    return f"{note}\n\n{markdown.table(head, [row + [''] * (4 - len(row)) for row in rows])}"


def describe_last_layer(cells: Mapping[Cell, Results]) -> str:
    """Say for which targets all layers score higher than the last one, on the tracks tested."""
    found = []
    for target in TARGETS.values():
        cell = (ALL, target.title), (LAST, target.title)
        if not all(part in cells for part in cell):
            continue
        result = evaluate_claim(Claim("", (cell,)), cells)
        order = {"confirmed": "above", "contradicted": "below", "open": "not different from"}
        points = 100 * result.difference
        found.append(f"{order[result.verdict]} the last in {target.title} ({points:+.1f} points)")
    return f"All layers score {'; '.join(found)}." if found else ""
