"""Programs: a call comes when all calls that it waits for have ended, and a gap has passed."""

from typing import Any

import numpy as np

from llmqueue_gym._jit import part_kernel, records
from llmqueue_gym.engines.fleet.events import note
from llmqueue_gym.engines.fleet.retention import back_to
from llmqueue_gym.engines.fleet.tables import CALL, EVENT, PROGRAM, READY, FleetTables
from llmqueue_gym.programs import gangs
from llmqueue_gym.requests import AWAITED, HESITATES, NO_ANSWER, Programs


@part_kernel
def begin_program(e, f, r, i):
    """Let the program of call i, which comes by itself, begin unless it has; its cost counts from now on."""
    fleet, program, request = f.fleet[e], f.programs[f.calls[i].program], r.requests[i]
    if np.isnan(program.began):
        program.began = request.arrival
        fleet.inside += 1
        fleet.arrived_cost += program.cost
        fleet.arrived_time += program.cost * program.began
    request.began = program.began


@part_kernel
def end_call(e, f, r, i):
    """Let those come, each in its time, who waited for call i alone, which has just ended."""
    call, service = f.calls[i], r.truth[i].service
    program, served, ready = f.programs[call.program], service.completion - service.scheduled, 0
    if program.over:  # it was stopped while this call was in its last iteration
        return
    program.left -= 1
    program.attained += served
    if call.cluster == NO_ANSWER or not program.thinks:
        program.tokens += r.requests[i].generated
    if call.cluster >= 0:
        note_answer(f, program, call)
    elif call.cluster == HESITATES:
        program.agree = 0
    heir, g = r.requests[i].heir, e * len(f.forms) + r.requests[i].site
    if heir >= 0 and not r.state[g].retains and not r.state[g].caching:  # its context is gone, and computed anew
        r.truth[heir].service.recomputed += min(r.requests[i].computed, r.requests[heir].prompt - 1)
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
        end_program(e, f, program, service.completion)


@part_kernel
def end_program(e, f, program, clock):
    """Let a program of run e be over; it costs nothing from now on."""
    program.over = True
    program.completion = clock
    f.fleet[e].inside -= 1
    if program.answers > 0:
        f.fleet[e].wrong += not f.rights[program.first + (program.last if program.thinks else program.leading)]
    f.fleet[e].arrived_cost -= program.cost
    f.fleet[e].arrived_time -= program.cost * clock


@part_kernel
def note_answer(f, program, call):
    """Note the answer that a call of a program has given; of two that lead it is the one that led first."""
    votes, answer = program.first + call.cluster, call.cluster
    f.votes[votes] += 1
    program.agree = program.agree + 1 if answer == program.last else 1
    program.last = answer
    program.best = max(program.best, call.score) if program.answers > 0 else call.score
    program.scores += call.score
    program.answers += 1
    if program.leading < 0 or f.votes[votes] > f.votes[program.first + program.leading]:
        program.leading = answer


@part_kernel
def come(e, f, r, i):
    """Let call i come, as all that it waited for have ended; return the replica that has its context, or -1."""
    fleet, request, call = f.fleet[e], r.requests[i], f.calls[i]
    program = f.programs[call.program]
    request.arrival = request.ready = request.last_token = request.last_scheduled = fleet.clock
    request.began, request.attained, request.longest_path = program.began, program.attained, call.path
    fleet.came += 1
    if request.status == AWAITED:
        return back_to(e, f, r, i)
    return -1


def with_programs(f: FleetTables, runs: int, n: int, edges: int) -> FleetTables:
    """Return the tables of E runs with room for the calls of programs, n in each run, and what they wait for."""
    return f._replace(
        calls=records(np.zeros(runs * n, CALL)),
        children=np.zeros(runs * edges, np.int64),
        programs=records(np.zeros(runs * n, PROGRAM)),
        of_programs=np.zeros(runs * n, np.int64),
        votes=np.zeros(runs * n, np.int64),
        rights=np.zeros(runs * n, np.bool_),
        events=records(np.zeros((runs, f.events.shape[1] + n), EVENT)),  # contexts that expire
    )


def lay_out(
    f: FleetTables,
    e: int,
    runs: int,
    rows: slice,
    given: Programs,
    arrivals: np.ndarray | None,
    costs: np.ndarray,
    answers: Any,
    foreseen: Any,
) -> None:
    """Write the programs of a run, in which nothing has happened yet.

    Args:
        f: with room for them.
        e: the run.
        runs: E.
        rows: of its requests.
        given: its programs.
        arrivals: s, of calls that wait for nobody `(n,)`, by which gangs are known; None where there are none.
        costs: of each program per second `(p,)`.
        answers: what is true of the answers of its calls, `programs.Answers`; None where they give none.
        foreseen: what is predicted of it, `predictors.programs.Foreseen`; None for what is true.
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
    calls["strategy"] = calls["stored"] = np.nan
    if given.model is not None:
        calls["model"] = given.model
    if arrivals is not None:
        calls["gang"] = gangs(given, arrivals)
    calls["cluster"] = NO_ANSWER if answers is None else answers.cluster
    f.of_programs[rows] = first + np.argsort(given.program, kind="stable")
    f.votes[rows] = 0
    f.programs["began"][room : room + len(f.programs) // runs] = np.nan
    f.programs["completion"][room : room + len(f.programs) // runs] = np.nan
    programs = f.programs[room : room + len(costs)]
    programs[:] = 0
    programs["left"], programs["cost"] = np.bincount(given.program, minlength=len(costs)), costs
    programs["end"] = first + np.cumsum(programs["left"])
    programs["first"] = programs["end"] - programs["left"]
    programs["began"] = programs["completion"] = np.nan
    programs["last"] = programs["leading"] = -1
    calls["predicted_gap"] = given.gap if foreseen is None else foreseen.gap
    f.rights[rows] = False
    if answers is not None:
        gives = answers.cluster >= 0
        programs["planned"] = np.bincount(given.program[gives], minlength=len(costs))
        programs["thinks"] = answers.depth >= 0
        right = gives & answers.right
        f.rights[programs["first"][given.program[right]] + answers.cluster[right]] = True
    if foreseen is not None:
        calls["calls_left"], calls["score"] = foreseen.calls, np.nan_to_num(foreseen.right)
        calls["next_prompt"] = foreseen.adds
        programs["predicted"], programs["confidence"] = foreseen.depth, foreseen.confidence
