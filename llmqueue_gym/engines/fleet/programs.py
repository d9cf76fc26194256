"""Programs: a call comes when all calls that it waits for have ended, and a gap has passed."""

import numpy as np

from llmqueue_gym._jit import part_kernel, records
from llmqueue_gym.engines.fleet.events import note
from llmqueue_gym.engines.fleet.tables import CALL, PROGRAM, READY, FleetTables
from llmqueue_gym.requests import Programs


@part_kernel
def begin_program(e, f, r, i):
    """Let the program of call i, which comes by itself, begin unless it has; its cost counts from now on."""
    fleet, program, request = f.fleet[e], f.programs[f.calls[i].program], r.requests[i]
    if np.isnan(program.began):
        program.began = request.arrival
        program.to_come = request.to_come
        fleet.arrived_cost += program.cost
        fleet.arrived_time += program.cost * program.began
    request.began = program.began


@part_kernel
def end_call(e, f, r, i):
    """Let those come, each in its time, who waited for call i alone, which has just ended."""
    call, request, service = f.calls[i], r.requests[i], r.truth[i].service
    program, served, ready = f.programs[call.program], service.completion - service.scheduled, 0
    program.left -= 1
    program.attained += served
    program.to_come = max(program.to_come - request.prompt - request.predicted, 0.0)
    for k in range(call.first, call.end):
        child = f.calls[f.children[k]]
        child.awaits -= 1
        child.path = max(child.path, call.path + served)
        ready += child.awaits == 0
    for k in range(call.first, call.end):
        child = f.calls[f.children[k]]
        if child.awaits == 0:
            r.requests[f.children[k]].siblings = ready
            note(e, f, service.completion + child.gap, READY, f.children[k])
    if program.left == 0:
        program.completion = service.completion
        f.fleet[e].arrived_cost -= program.cost
        f.fleet[e].arrived_time -= program.cost * program.completion


@part_kernel
def come(e, f, r, i):
    """Let call i come, for which those that it waited for have ended; return its row."""
    fleet, request, call = f.fleet[e], r.requests[i], f.calls[i]
    program = f.programs[call.program]
    request.arrival = request.ready = request.last_token = request.last_scheduled = fleet.clock
    request.began, request.attained, request.longest_path = program.began, program.attained, call.path
    request.to_come = program.to_come
    fleet.came += 1
    return i


def with_programs(f: FleetTables, runs: int, n: int, edges: int) -> FleetTables:
    """Return the tables of E runs with room for the calls of programs, n in each run, and what they wait for."""
    return f._replace(
        calls=records(np.zeros(runs * n, CALL)),
        children=np.zeros(runs * edges, np.int64),
        programs=records(np.zeros(runs * n, PROGRAM)),
    )


def lay_out(f: FleetTables, e: int, runs: int, rows: slice, given: Programs, costs: np.ndarray) -> None:
    """Write the programs of a run, in which nothing has happened yet.

    Args:
        f: with room for them.
        e: the run.
        runs: E.
        rows: of its requests.
        given: its programs.
        costs: of each program per second `(p,)`.
    """
    n, first = len(given.program), rows.start
    begin, room = e * (len(f.children) // runs), e * (len(f.programs) // runs)
    child = np.repeat(np.arange(n), np.diff(given.first))
    order = np.argsort(given.parents, kind="stable")
    counts = np.bincount(given.parents, minlength=n)
    ends = begin + np.cumsum(counts)
    f.children[begin : begin + len(child)] = first + child[order]
    calls = f.calls[rows]
    calls[:] = 0
    calls["program"], calls["awaits"], calls["gap"] = room + given.program, np.diff(given.first), given.gap
    calls["first"], calls["end"] = ends - counts, ends
    programs = f.programs[room : room + len(costs)]
    programs[:] = 0
    programs["left"], programs["cost"] = np.bincount(given.program, minlength=len(costs)), costs
    programs["began"] = programs["completion"] = np.nan
