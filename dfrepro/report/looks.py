"""When a claim is judged: at looks fixed beforehand, each with a share of the 5 % of false verdicts.

A study that is judged again and again as seeds come in, each time at 95 %, would find something by chance much more
often than in 5 % of cases. So claims are judged at 5, 10, 20 and 40 seeds alone, at each look with an interval of a
level of its own (group sequential testing; the shares of the error as Lan and DeMets, 1983, spend it). Wrong at any of
the four looks, where nothing but seeds varies, is an interval in 4.9 % of studies: found by simulating 8 million runs
of Student's t over 40 independent seeds, whose looks share their first seeds (standard error .01 %). What looks share
besides, such as the people in the test sets, makes their errors coincide and the rate smaller. As intervals of all
looks hold the truth together with that probability, so do all kinds of verdicts. tests/report/test_looks.py does both.
"""

LEVEL = 0.95  # of an interval that decides no claim: of a control, a table, fewer seeds than the first look has
LOOKS = {5: 0.005, 10: 0.012, 20: 0.014, 40: 0.027}  # seeds: two-sided error spent
FIRST, LAST = min(LOOKS), max(LOOKS)


def reached(seeds: int) -> list[int]:
    """The looks that so many seeds allow, the earliest first."""
    return [look for look in LOOKS if look <= seeds]


def following(seeds: int) -> int | None:
    """The first look that needs more seeds; None after the last."""
    return next((look for look in LOOKS if look > seeds), None)


def level(seeds: int) -> float:
    """Of the interval over so many seeds: that of the last look reached."""
    return 1 - LOOKS[reached(seeds)[-1]] if seeds >= FIRST else LEVEL


def in_words() -> str:
    """The levels, for those who read intervals."""
    return ", ".join(f"{100 * (1 - error):g} % at {look} seeds" for look, error in LOOKS.items())
