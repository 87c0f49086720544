"""Length, repeats, reward mass and score as functions of KL: a line a row."""

from leaderboard.analysis.lines import LENGTH, MASS, QUANTITIES, REPEATS, Line
from leaderboard.analysis.stability import Stability
from leaderboard.plots.data import Plot, Point

NAMES = {
    LENGTH: ("matched-length", "Length at equal KL", "tokens a response, on validation prompts"),
    REPEATS: ("matched-repeats", "Repeats at equal KL", "share of repeated 4-grams"),
    MASS: ("matched-mass", "Reward mass at equal KL", "sum of |reward| over tokens"),
}
X_LABEL = "KL to the SFT policy, nats a response"


def named(found: Stability, quantity: str) -> tuple[str, str, str]:
    """Of a quantity's plot: the name of its files, its title, the label of its axis."""
    score = found.score or "validation score"
    own = ("matched-score", f"{score[0].upper()}{score[1:]} at equal KL", score)
    return NAMES.get(quantity, own)


def matched_plots(found: Stability) -> list[Plot]:
    """One plot for each quantity that some row has; a line ends where one of its seeds does."""
    plots = [_plot(found, quantity) for quantity in QUANTITIES]
    return [plot for plot in plots if plot.points]


def _plot(found: Stability, quantity: str) -> Plot:
    name, title, y_label = named(found, quantity)
    lines = sorted(found.lines, key=lambda line: line.label)
    points = [point for line in lines for point in _points(found, line, quantity)]
    return Plot(name, title, X_LABEL, y_label, points, by="KL", first_read=found.matched)


def _points(found: Stability, line: Line, quantity: str) -> list[Point]:
    read = [(level, line.at(quantity, level)) for level in found.levels]
    return [
        Point(
            line.label, level, level, e.mean, *(e.ci95 or (e.mean, e.mean)), e.n,
            line.stretched(quantity, level),
        )
        for level, e in read
        if e is not None
    ]  # fmt: skip
