"""Orders of a user's own, to be exported from a file: what stands in no registry."""


def shortest_prompt(request, system, params):
    return request.prompt


def shortest_remaining(request, system, params):
    return request.predicted - request.generated


def feedback(request, system, params):
    """Levels of twice the output each: who has had more goes down; first come first served within a level."""
    level, most = 0, 8
    while request.generated >= most:
        level, most = level + 1, 2 * most
    return 1e6 * level + request.arrival


def response_ratio(request, system, params):
    """Who has waited longest for what he asks, more so where many wait; the preempted come back first."""
    ratio = (system.clock - request.arrival) / (request.prompt + 4.0 * request.predicted)
    crowd = 1.0 + system.waiting / (1.0 + system.running)
    return -ratio * crowd - request.preemptions - 1e-3 * system.free / system.blocks


def by_iterations(request, system, params):
    """Levels that change with the engine's iterations, and the uncomputed first of all."""
    return (system.iterations // 50 + request.prompt) % 4 + 0.01 * request.computed
