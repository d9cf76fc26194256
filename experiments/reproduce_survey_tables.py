"""Which numbers in the survey's Tables 1 to 3 are right? Each is set beside the exact value and a simulation.

Writes `results/survey_tables.json` (every cell) and `results/survey_tables.md` (the tables, for reading). About four
minutes on two cores.
"""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from llmqueue_gym.evaluation.reproduce import RIGHT, reproduce, table
from llmqueue_gym.evaluation.results import write_json
from llmqueue_gym.evaluation.survey_tables import TABLES
from llmqueue_gym.storage import write_text

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run every table, print and store it."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("reproduce")
        found = reproduce("all", progress=lambda done, total: bar.update(task, completed=done, total=total))
    Console().print(table(found))
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "survey_tables.json", found)
    write_text(RESULTS / "survey_tables.md", markdown(found))


def markdown(found: dict) -> str:
    """Return the tables as the survey lays them out, with what is off in bold, and a list of what is off."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found["counts"].items())
    lines = ["# The survey's tables, computed again", "", f"{counts}. {found['rule']}", ""]
    lines += [f"Each cell: exact; simulated from {found['jobs']:,} jobs, ± 95 %. In bold where the print is not right."]
    for name, survey in TABLES.items():
        cells = [cell for cell in found["cells"] if cell["table"] == name]
        lines += ["", f"## {survey.caption}", "", "| load | " + " | ".join(c.heading for c in survey.columns) + " |"]
        lines += ["|---:" * (1 + len(survey.columns)) + "|"]
        for load in survey.loads:
            row = [_cell(cell) for cell in cells if cell["load"] == load]
            lines += [f"| {load:g} | " + " | ".join(row) + " |"]
    lines += ["", "## What is off", ""]
    lines += ["| table | load | column | print | exact | off by | verdict | threshold of the print | why |"]
    lines += ["|---|---:|---|---:|---:|---:|---|---|---|"]
    lines += [_entry(cell) for cell in found["cells"] if cell["verdict"] != RIGHT]
    return "\n".join(lines) + "\n"


def _cell(cell: dict) -> str:
    half = 0.5 * (cell["ci95"][1] - cell["ci95"][0])
    text = f"{cell['exact']:.4f}; {cell['simulated']:.4f} ± {half:.4f}"
    return text if cell["verdict"] == RIGHT else f"**{text}** (print: {cell['printed']:g})"


def _entry(cell: dict) -> str:
    of_print = cell.get("threshold_of_print")
    thresholds = "" if of_print is None else f"{of_print:.2f}, optimal {cell['threshold']:.2f}"
    numbers = f"{cell['printed']:g} | {cell['exact']:.4f} | {cell['error']:+.2%}"
    place = f"{cell['table']} | {cell['load']:g} | {cell['column']}"
    return f"| {place} | {numbers} | {cell['verdict']} | {thresholds} | {cell.get('note', '')} |"


if __name__ == "__main__":
    main()
