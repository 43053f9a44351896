"""Does the interval cover? Studies are simulated whose truth is known, and judged as the claims are.

A simulated study has `cells` methods and one baseline, `seeds` trainings of each, and two test sets of `groups` groups
of people, each with two reals and two fakes. Margins are the sum of what a person, a video, a method on a video, a
seed on a whole set and a seed on a video do, so that AUCs agree within people, between methods and between seeds as
trained detectors' do. With several `generators`, seed s belongs to generator s mod their number: each has people of its
own, and a training set of its own that moves all of its runs. `python -m dfrepro.report.coverage` prints the tables of
docs/tables/coverage.csv, draws.csv and looks.csv.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfrepro.report import looks
from dfrepro.report.effects import Effect, Influence, probit, variance

SETS, PER, SEPARATION = 2, 2, 1.0
PERSON, VIDEO, METHOD, SEED, INTERACTION = 0.5, 0.5, 0.4, 0.15, 0.7  # standard deviations of the parts of a margin
GENERATOR = 0.05  # of what a draw's training set does to a run, where there are several
BAND = (0.935, 0.965)  # of intervals at .95
AT_ONCE = 2_000_000  # margins held at a time


class Case(NamedTuple):
    seeds: int
    cells: int
    groups: int
    effect: float  # added to the margins of the methods' fakes
    generators: int = 1


CASES = [
    Case(seeds, cells, groups, effect)
    for seeds in (5, 10, 20) for cells in (1, 8, 48) for groups in (8, 40) for effect in (0.0, 0.25)
]  # fmt: skip
DRAWS = [
    Case(seeds, cells, 40, 0.25, generators)
    for seeds, generators in ((5, 5), (10, 2), (10, 5), (20, 4), (20, 10), (20, 20)) for cells in (1, 8)
]  # fmt: skip
LOOKED = [Case(looks.LAST, cells, groups, 0.0) for cells in (1, 8) for groups in (8, 40)]


class Studies(NamedTuple):
    """Simulated studies: each one's effect by seed (T, S), influences by generator and set, and baseline (T,)."""

    by_seed: np.ndarray
    influences: list[tuple[np.ndarray, np.ndarray]]  # the places of the generator's seeds (S_g,), and (T, S_g, C)
    base: np.ndarray
    drawn: np.ndarray  # each seed's generator (S,)

    def effect(self, study: int, seeds: int | None = None) -> Effect:
        """The primary contrast of one study on its first seeds."""
        n = self.by_seed.shape[1] if seeds is None else seeds
        values, drawn = self.by_seed[study, :n], self.drawn[:n]
        parts = [Influence(rows[rows < n], table[study, rows < n]) for rows, table in self.influences if rows[0] < n]
        found = variance(values, parts, drawn.tolist())
        return Effect(
            tuple(range(n)), tuple(values), found, self.base[study], confidence=looks.level(n), generators=tuple(drawn)
        )


def studies(case: Case, trials: int, rng: np.random.Generator) -> Iterator[Studies]:
    """That many simulated studies, as many at a time as memory is for."""
    runs, drawn = case.cells + 1, np.arange(case.seeds) % case.generators
    size = runs * case.seeds * case.groups * PER * 2
    while trials > 0:
        number = min(trials, max(1, AT_ONCE // size))
        trials -= number
        by_seed, influences, base = np.zeros((number, case.seeds)), [], np.zeros(number)
        for generator in range(case.generators):
            rows = np.flatnonzero(drawn == generator)
            for _ in range(SETS):
                whole, left = _measured(case, number, len(rows), rng)
                by_seed[:, rows] += (whole[:, 1:].mean(axis=1) - whole[:, 0]) / SETS
                change = left - whole[..., None]  # (T, runs, S_g, C)
                influences.append((rows, (change[:, 1:].mean(axis=1) - change[:, 0]) / SETS))
                base += whole[:, 0].sum(axis=1) / case.seeds / SETS
        yield Studies(by_seed, influences, base, drawn)


def _measured(case: Case, number: int, seeds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probits of the AUCs on one test set of one generator: whole (T, runs, S_g), without each group (..., C)."""
    runs, n = case.cells + 1, case.groups * PER
    shape = number, runs, seeds
    on_set = rng.normal(0, SEED, (*shape, 1))
    if case.generators > 1:
        on_set += rng.normal(0, GENERATOR, (number, runs, 1, 1))
    on_set += SEPARATION + np.r_[0.0, np.full(case.cells, case.effect)][None, :, None, None]
    person = np.repeat(rng.normal(0, PERSON, (number, 1, 1, case.groups)), PER, axis=-1)
    fakes, reals = (
        person + rng.normal(0, VIDEO, (number, 1, 1, n)) + rng.normal(0, METHOD, (number, runs, 1, n))
        + rng.normal(0, INTERACTION, (*shape, n))
        for _ in range(2)
    )  # fmt: skip
    whole, left = aucs(fakes + on_set, reals, case.groups)
    return probit(whole), probit(left)


def aucs(fakes: np.ndarray, reals: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The AUC (...) of margins (..., n) of groups that follow each other, and without each group (..., C).

    By ranks: a fake wins over as many reals as stand before it in the order of all. An item's place is written into the
    lowest bits of its margin, so that sorting the margins sorts the items.
    """
    n = fakes.shape[-1]
    bits = (1 << int(2 * n).bit_length()) - 1
    items = np.concatenate([reals, fakes], axis=-1).view(np.int64)
    items = (items & ~bits | np.arange(2 * n)).view(np.float64)
    items.sort(axis=-1)
    place = items.view(np.int64) & bits
    fake = place >= n
    before = np.cumsum(~fake, axis=-1, dtype=np.int32)  # reals up to here
    after = (n - np.cumsum(fake, axis=-1, dtype=np.int32)).astype(np.int32)  # fakes from here on
    wins = np.empty(place.shape, np.int32)
    np.put_along_axis(wins, place, np.where(fake, before, after), axis=-1)
    by_group = wins.reshape(*fakes.shape[:-1], 2, groups, n // groups).sum(axis=-1)  # of its reals, of its fakes
    own_fakes, own_reals = (part.reshape(*part.shape[:-1], groups, n // groups) for part in (fakes, reals))
    own = (own_fakes[..., :, None] > own_reals[..., None, :]).sum(axis=(-1, -2))
    both = by_group[..., 1, :].sum(axis=-1)
    left = both[..., None] - by_group.sum(axis=-2) + own
    return both / n**2, left / (n - n // groups) ** 2


def truth(case: Case) -> float:
    """The effect in probits with test sets without end: what is added, by the deviation of a fake less a real.

    A seed moves a whole set's fakes, and with it the AUC that it is part of no deviation of.
    """
    return case.effect / float(np.sqrt(2 * (PERSON**2 + VIDEO**2 + METHOD**2 + INTERACTION**2)))


def rates(case: Case, trials: int, seed: int = 0, level: float = looks.LEVEL) -> dict[str, float]:
    """How often the interval covers the truth, lies above it, and lies below it."""
    true, above, below = truth(case), 0, 0
    for batch in studies(case, trials, _rng(case, seed)):
        for study in range(len(batch.base)):
            found = batch.effect(study)
            low, high = found.interval(level) or (-np.inf, np.inf)
            above, below = above + (low > found.shown(true)), below + (high < found.shown(true))
    return {"covers": 1 - (above + below) / trials, "above": above / trials, "below": below / trials}


def false_over_looks(case: Case, trials: int, seed: int = 0) -> dict[str, float]:
    """How often the interval of at least one look misses the truth, each at its own level."""
    true, missed = truth(case), 0
    for batch in studies(case, trials, _rng(case, seed)):
        for study in range(len(batch.base)):
            found = [batch.effect(study, look) for look in looks.reached(case.seeds)]
            bounds = [(each.interval() or (-np.inf, np.inf), each.shown(true)) for each in found]
            missed += any(not low <= at <= high for (low, high), at in bounds)
    return {"wrong": missed / trials}


def _rng(case: Case, seed: int) -> np.random.Generator:
    return np.random.default_rng(
        [seed, case.seeds, case.cells, case.groups, int(100 * case.effect), case.generators - 1]
    )


def rows(
    path: Path, trials: int, cases: Sequence[Case], measure: Callable[[Case, int], dict[str, float]]
) -> pd.DataFrame:
    """A row a case, written into the CSV file once it is found; those that stand there, of as many studies, stay.

    A case that covers outside of BAND is simulated again, from the same seed, with ten times as many studies.
    """
    columns, found = list(Case._fields), {}
    if path.exists():
        kept = pd.read_csv(path).to_dict("records")
        found = {Case(*(row[name] for name in columns)): row for row in kept if row["studies"] >= trials}
    for case in cases:
        if case not in found:
            row = {"studies": trials} | measure(case, trials)
            if not BAND[0] <= row.get("covers", 0.95) <= BAND[1]:
                row = {"studies": 10 * trials} | measure(case, 10 * trials)
            found[case] = case._asdict() | row
            pd.DataFrame([found[each] for each in cases if each in found]).round(4).to_csv(path, index=False)
    return pd.DataFrame([found[case] for case in cases])


def main(folder: Path, trials: int = 2000) -> None:
    """Three tables: all cases of one generator, those of several, and how often one of the looks is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cases, measure in (
        ("coverage", CASES, rates),
        ("draws", DRAWS, rates),
        ("looks", LOOKED, false_over_looks),
    ):
        print(rows(folder / f"{name}.csv", trials, cases, measure).to_string(index=False), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
