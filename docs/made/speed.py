"""The page of speeds, from the stored measurements."""

from made.learnt import RESULTS
from made.templates import render

from llmqueue_gym.evaluation.results import read_json


def pages() -> dict[str, str]:
    """Return the page by file name."""
    return {"speed.md": render("speed.md.jinja", told=read_json(RESULTS / "speed.json"))}
