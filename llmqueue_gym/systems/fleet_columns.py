"""What an agent sees of a fleet: columns, in the order in which the kernels write them.

An agent that decides at ticks sees what a controller does, and what is predicted to come; one that decides about
requests, too, sees that behind the rest.
"""

from llmqueue_gym.engines.fleet.scaling import OF_FLEET, OF_REPLICA
from llmqueue_gym.systems.view import Column, Columns

REPLICAS: Columns = {  # by their index
    "present": Column("1 where the replica takes the request in question; at a tick, where it is on"),
    "drawn": Column("its place among the replicas drawn for the request, 1 first; 0 where it is not drawn"),
    "source": Column("1 where the request is there now"),
    "role": Column("0: reads and decodes, 1: reads, 2: decodes"),
    "running": Column("requests in the running list", "seats"),
    "waiting": Column("requests in the queue", "seats"),
    "free": Column("free KV blocks", "blocks"),
    "blocks": Column("KV blocks in all", "blocks"),
    "pending": Column("prompt tokens that are still to be computed, of those that run and wait", "prompt"),
    "work": Column("output tokens that are predicted to be left of them", "output"),
    "context": Column("tokens of theirs in the cache", "request"),
    "step_time": Column("duration of the last iteration, s", "iteration"),
    "since_report": Column("since it reported the numbers up to here, s", "s"),
    "outstanding": Column("requests that were sent there and have not left", "seats"),
    "tokens": Column("their prompts, tokens", "prompt"),
    "cached": Column("tokens of the request's prompt in its cache", "prompt"),
    "known": Column("the same by the router's own record of what it sent there", "prompt"),
    "since": Column("requests that were sent there since the report", "seats"),
    "wanted": Column("KV blocks that those who wait there will need for their prompts", "blocks"),
}
FLEET: Columns = {
    "question": Column("1: where does the request go, 2: who goes on with it, 3: how many are on; 0 when it is over"),
    "prompt": Column("prompt of the request in question, tokens; here and below 0 when it is over", "prompt"),
    "generated": Column("its output so far, tokens", "output"),
    "computed": Column("its keys and values in a cache, tokens", "request"),
    "predicted": Column("its predicted output in all, tokens", "output"),
    "upper": Column("its most output, for predictors of intervals, tokens; else as predicted", "output"),
    "weight": Column("its cost per second in system"),
    "time_in_system": Column("since its arrival, s", "s"),
    "time_left": Column("until its deadline, s; 0 where it has none", "s"),
    "in_system": Column("requests in system with it", "seats"),
    "since_decision": Column('since the last decision, as in info["dt"], s', "iteration"),
    "turn": Column("which of those that take it would be next if they took turns, 0 for the first"),
    "tie": Column("a number in [0, 1) that policies choose by among equal ones"),
}
# What is seen at ticks besides, of a replica and of the fleet.
REPLICAS_AT_TICKS: Columns = {
    "starting": Column("1 where it starts"),
    "starts_in": Column("s until it serves, of one that starts", "s"),
    "draining": Column("1 where it ends what it has and takes no more"),
    "becomes": Column("the role that it takes on then, 1 more than above; 0 where it is switched off or stays"),
    "ended": Column("requests that left it since the tick before", "seats"),
    "busy": Column("request-seconds in its batch since the tick before", "s"),
}
FLEET_AT_TICKS: Columns = {
    "ticks": Column("ticks so far; 0 before anything has come, when as many are on at once as are asked for"),
    "arrivals": Column("requests that came since the tick before", "seats"),
    "prompts": Column("their prompts, tokens", "prompt"),
    "outputs": Column("output tokens that were made since the tick before", "output"),
    "held": Column("requests that wait at the router", "seats"),
    "asked_both": Column("replicas that were asked for at the tick before, of those that read and decode"),
    "asked_prefill": Column("likewise, of those that read"),
    "asked_decode": Column("likewise, of those that decode"),
    "forecast": Column("requests that are predicted to come within `ahead` s", "seats"),
}


def replicas_shown(decides: str) -> Columns:
    """Return the columns of a replica for what an agent decides."""
    if decides == "scale":
        return _chosen({**REPLICAS, **REPLICAS_AT_TICKS}, OF_REPLICA)
    return {**REPLICAS, **REPLICAS_AT_TICKS} if decides == "all" else REPLICAS


def fleet_shown(decides: str) -> Columns:
    """Return the columns of the fleet for what an agent decides."""
    if decides == "scale":
        return _chosen({**FLEET, **FLEET_AT_TICKS}, OF_FLEET)
    return {**FLEET, **FLEET_AT_TICKS} if decides == "all" else FLEET


def _chosen(columns: Columns, names: tuple[str, ...]) -> Columns:
    return {name: columns[name] for name in names}
