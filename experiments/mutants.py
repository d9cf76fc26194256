"""Which faults would the tests not see? Plants one small fault at a time and runs the tests that should fail.

A mutant is one comparison, operator, constant, condition or statement changed, drawn at random from the files of an
area, in a copy of the checkout. It survives where all tests of the area pass. Compiled kernels are compiled anew, so a
mutant takes half a minute; 40 of each area take a few hours. Survivors are printed as they are found, with the line and
what stands there now, and are written with the share killed to `results/mutants.json`. Where tests have come since,
`--again` plants the survivors alone; the share at first stays beside the share now.

    python experiments/mutants.py statistics predictors --mutants 10 --seed 1
    python experiments/mutants.py statistics --again
"""

import argparse
import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from llmqueue_gym.evaluation import read_json, result, write_json

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "results" / "mutants.json"
AREAS = {  # area: its files, and the tests that should see what goes wrong in them
    "engines": (
        "engines/*.py",
        "test_mg1 test_central test_dispatch test_packing test_moldable test_conformance test_against_theory",
    ),
    "serving": ("engines/batching/*.py", "test_serving_engine test_rule_sets test_serving_envs test_conformance"),
    "theory": (
        "theory/*.py",
        "test_erlang test_multiserver_theory test_multiserver_limits test_theory_of_ranks test_theory "
        "test_against_theory",
    ),
    "statistics": (
        "evaluation/statistics.py evaluation/steady_state.py evaluation/bootstrap.py evaluation/paired.py",
        "test_statistics test_steady_state test_compare test_evaluation",
    ),
    "predictors": ("predictors/*.py predictors/lengths/*.py", "test_predictors test_length_predictors test_moldable"),
    "boards": ("boards/*.py", "test_boards test_cell test_board_attacks test_board_entries test_board_page test_bench"),
}
PATIENCE = 900  # s; a mutant whose tests take longer hangs, and is seen
OTHER = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And},
}


@dataclass(frozen=True)
class Mutant:
    """One fault: where, what stood there and what stands there now."""

    area: str
    file: str
    line: int
    was: str
    now: str
    killed: bool = True


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Give what may stand in place of a piece of a program."""
    made = copy.deepcopy(node)
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    stored = isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Subscript, ast.Attribute))
    if stored or (isinstance(node, (ast.AugAssign, ast.Expr)) and not docstring):
        yield ast.Pass()
    if isinstance(made, ast.Compare) and type(made.ops[0]) in OTHER:
        made.ops[0] = OTHER[type(made.ops[0])]()
        yield made
    elif isinstance(made, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(made.op) in OTHER:
        made.op = OTHER[type(made.op)]()
        yield made
    elif isinstance(made, ast.Constant) and type(made.value) in (int, float):
        yield ast.Constant(made.value + 1 if made.value else 1)
    elif isinstance(made, ast.Constant) and isinstance(made.value, bool):
        yield ast.Constant(not made.value)
    elif isinstance(made, (ast.If, ast.IfExp, ast.While)):
        made.test = ast.UnaryOp(ast.Not(), made.test)
        yield made


def places(tree: ast.AST) -> list[tuple[ast.AST, str, int | None, ast.AST]]:
    """Return every change that a module offers: parent, field, index in it, and what would stand there."""
    found = []
    for parent in ast.walk(tree):
        if isinstance(parent, (ast.arguments, ast.AnnAssign, ast.FormattedValue, ast.JoinedStr, ast.Raise)):
            continue
        for name, value in ast.iter_fields(parent):
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    found += [(parent, name, index, made) for made in changes(child)]
    return found


def planted(area: str, path: Path, rng: np.random.Generator) -> tuple[str, Mutant] | None:
    """Return the text of a module with one fault, and the fault; None where the module offers none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    offered = places(tree)
    if not offered:
        return None
    parent, name, index, made = offered[rng.integers(len(offered))]
    old = getattr(parent, name) if index is None else getattr(parent, name)[index]
    words = [ast.unparse(ast.fix_missing_locations(node)).split("\n")[0] for node in (old, made)]
    if index is None:
        setattr(parent, name, made)
    else:
        getattr(parent, name)[index] = made
    fault = Mutant(area, str(path.relative_to(ROOT)), getattr(old, "lineno", parent.lineno), *words)  # type: ignore[attr-defined]
    return ast.unparse(ast.fix_missing_locations(tree)), fault


def passes(checkout: Path, tests: list[str]) -> bool:
    """Tell whether the tests of an area pass in a copy of the checkout."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    told = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=checkout, env=told, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def play(area: str, count: int, seed: int, console: Console, survivors: list[Mutant] | None = None) -> list[Mutant]:
    """Plant faults in an area, one after the other, and return what became of them; or those that survived alone."""
    globs, names = AREAS[area]
    files = sorted(path for glob in globs.split() for path in (ROOT / "llmqueue_gym").glob(glob))
    sizes = np.array([path.stat().st_size for path in files], float)
    rng, found, left = np.random.default_rng([seed, *area.encode()]), [], len(survivors or [])
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder, "checkout")
        shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".venv", ".git", "results", "runs"))
        if (ROOT / "experiments/results").is_dir():
            shutil.copytree(ROOT / "experiments/results", checkout / "experiments/results")
        tests = [f"tests/{name}.py" for name in names.split()]
        if not passes(checkout, tests):
            raise SystemExit(f"{area}: the tests fail without a fault")
        while len(found) < count:
            path, begun = files[rng.choice(len(files), p=sizes / sizes.sum())], time.monotonic()
            made = planted(area, path, rng)
            if made is None:
                continue
            text, fault = made
            if survivors is not None and replace(fault, killed=False) not in survivors:
                found.append(fault)
                continue
            left -= 1
            there = checkout / path.relative_to(ROOT)
            kept = there.read_text(encoding="utf-8")
            there.write_text(text, encoding="utf-8")
            for cached in there.parent.rglob("*.nb[ic]"):  # a cached caller of its folder would keep the old code
                cached.unlink()
            killed = not passes(checkout, tests)
            there.write_text(kept, encoding="utf-8")
            found.append(replace(fault, killed=killed))
            look = "killed  " if killed else "SURVIVES"
            console.print(
                f"{look} {fault.file}:{fault.line}: {fault.was}  ->  {fault.now}  ({time.monotonic() - begun:.0f} s)",
                markup=False,
                highlight=False,
            )
    if survivors is not None and left:
        raise SystemExit(f"{area}: its code has changed since; plant faults anew")
    return found


def stored() -> dict[str, Any]:
    """Return what is stored, by area."""
    return read_json(OUT)["areas"] if OUT.exists() else {}


def main() -> None:
    """Plant faults and write what became of them; areas that are not asked for keep what is stored."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("areas", nargs="*", choices=[*AREAS, []], help="all unless told otherwise")
    parser.add_argument("--mutants", type=int, default=40, help="in each area")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="only what survived when it was stored")
    told, console = parser.parse_args(), Console()
    for area in told.areas or AREAS:
        before = stored().get(area, {})
        if told.again:
            survivors = [Mutant(**row) for row in before["survivors"]]
            found = play(area, before["planted"], before["seed"], console, survivors)
        else:
            found = play(area, told.mutants, told.seed, console)
        dead = sum(one.killed for one in found)
        console.print(f"{area}: {dead} of {len(found)} killed")
        at_first, seed = (before["at_first"], before["seed"]) if told.again else (dead, told.seed)
        rows = [asdict(one) for one in found if not one.killed]
        row = {"planted": len(found), "at_first": at_first, "killed": dead, "survivors": rows, "seed": seed}
        write_json(OUT, result({"areas": {**stored(), area: row}}, seeds=[seed]))


if __name__ == "__main__":
    main()
