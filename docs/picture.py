"""Draw what the project is, in one picture: a rank, analysed, simulated, played and ranked.

python docs/picture.py     # docs/_static/picture.svg and .png, in half a minute
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from llmqueue_gym import Scenario, analyse, policy, predictor, size_law
from llmqueue_gym.boards import boards
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.stored import stored

STATIC = Path(__file__).parent / "_static"
STORED = Path(__file__).parents[1] / "experiments" / "leaderboard"
LOADS = (0.5, 0.6, 0.7, 0.8, 0.9)
SIZE, NOISE = "exponential", "exponential"
BLUE, GREY, ORANGE, INK = "#0072b2", "#8a8a8a", "#d55e00", "#222222"


def half_life(job, params):
    """Rank of the picture; lower is served first."""
    return job.predicted - 0.5 * job.age


def main() -> None:
    """Draw and write it."""
    plt.rcParams |= {"font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "0", "axes.edgecolor": "#bbbbbb"}
    figure = plt.figure(figsize=(11.0, 3.5), facecolor="white")
    words = "def half_life(job, params):\n    return job.predicted - 0.5 * job.age"
    box = {"boxstyle": "round,pad=0.7", "fc": "#f4f6f8", "ec": "#d5dbe1"}
    figure.text(
        0.5, 0.875, words, family="monospace", fontsize=11, ha="center", va="center", ma="left", color=INK, bbox=box
    )
    titles = ("analysed and simulated", "played", "ranked")
    panels = [figure.add_axes((left, 0.14, width, 0.52)) for left, width in ((0.04, 0.25), (0.35, 0.29), (0.78, 0.2))]
    for panel, title, draw in zip(panels, titles, (times, frame, ranking), strict=True):
        draw(panel)
        panel.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=7)
    figure.savefig(STATIC / "picture.svg", metadata={"Date": None})
    figure.savefig(STATIC / "picture.png", dpi=160)


def times(panel: plt.Axes) -> None:
    """Draw exact mean response times against load, and simulated ones on them."""
    panel.spines[["top", "right"]].set_visible(False)
    size, noise = size_law(SIZE), predictor(NOISE)
    lines = (("fcfs", GREY, -3), (half_life, BLUE, 3), ("gittins", ORANGE, -9))
    for rank, colour, above in lines:
        name = rank if isinstance(rank, str) else rank.__name__
        exact = [analyse(policy(rank), size, noise, load=load).mean_response_time for load in LOADS]
        panel.plot(LOADS, exact, color=colour, lw=1.6)
        runs = [Scenario("mg1", size=SIZE, predictor=NOISE, load=load, n_jobs=1_000_000) for load in LOADS]
        means = [run.simulate(rank, seed=0).after_warmup().response_times.mean() for run in runs]
        panel.plot(LOADS, means, "o", ms=4.5, color=colour, mfc="white")
        panel.annotate(name, (LOADS[-1], exact[-1]), (6, above), textcoords="offset points", color=colour, fontsize=8.5)
    panel.set(yscale="log", xlabel="load; lines: theory, circles: a million jobs", xlim=(0.48, 1.0))
    panel.set_yticks([1, 2, 5, 10], ["1 s", "2 s", "5 s", "10 s"])
    panel.minorticks_off()


def frame(panel: plt.Axes) -> None:
    """Show a frame of an environment."""
    picture = Image.open(STATIC / "frames" / "LLMBatching.png").convert("RGB")
    panel.imshow(picture, interpolation="lanczos", aspect="auto")
    panel.set(xticks=[], yticks=[], xlabel="an environment of Gymnasium")


def ranking(panel: plt.Axes) -> None:
    """Draw the head of a board from its stored results."""
    on = boards()["llm"]
    rows = Ranked(on, stored(STORED, on)).rows[:7]
    places = np.arange(len(rows))
    for place, row in zip(places, rows, strict=True):
        score, colour = row["score"], BLUE if row["learned"] else GREY
        panel.plot([score["low"], score["high"]], [place, place], color=colour, lw=2.0, solid_capstyle="round")
        panel.plot(score["mean"], place, "o", ms=5, color=colour)
    panel.set_yticks(places, [row["policy"] for row in rows], fontsize=8)
    panel.invert_yaxis()
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.set(xlabel="score on board llm, 95 %; blue: trained", xlim=(0, None))


if __name__ == "__main__":
    main()
