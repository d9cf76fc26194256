"""The page of speeds, from the stored measurements."""

from llmqueue_gym.evaluation.results import read_json
from made.learnt import RESULTS
from made.templates import render


def pages() -> dict[str, str]:
    """Return the page by file name."""
    return {"speed.md": render("speed.md.jinja", told=read_json(RESULTS / "speed.json"))}
