"""A page for each model of predictions."""

from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.predictors.programs import FORESIGHTS
from llmqueue_gym.registry import Registry
from made.asked import asked, documented, source_of
from made.templates import render

KINDS: dict[str, tuple[str, str, Registry]] = {
    "predictors": ("sizes", "Sizes of jobs", PREDICTORS),
    "length_predictors": ("lengths", "Output lengths of requests", LENGTH_PREDICTORS),
    "foresights": ("programs", "Programs of calls", FORESIGHTS),
}


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    made, tables = {}, []
    for key, (folder, title, registry) in KINDS.items():
        entries = asked("predictors")[key]
        tables.append((folder, title, entries))
        for entry in entries:
            builder = registry.builder(entry["name"])
            told = {"entry": entry, "title": title, "words": documented(builder), "source": source_of(builder)}
            made[f"predictors/{folder}/{entry['name']}.md"] = render("predictor.md.jinja", folder=folder, **told)
    return {"predictors/index.md": render("predictors.md.jinja", tables=tables), **made}
