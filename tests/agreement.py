"""Theory against simulation."""

from llmqueue_gym.evaluation import batch_means


def inside(player, scenario, seed, level=0.999):
    """Return the exact mean, after asserting that it lies inside the interval of a run, at a level fixed before."""
    (exact,) = scenario.known(player)
    found = batch_means(scenario.simulate(player, seed).response_times, level)
    assert exact["kind"] in ("exact", "approximation")
    slack = 0.0 if exact["kind"] == "exact" else 0.01 * found.mean  # one whose grids are apart, by less than this
    assert found.low - slack <= exact["value"] <= found.high + slack, (player, exact, found)
    return exact["value"]
