"""The M/G/k: k equal servers, Poisson arrivals, any size law. Approximations of FCFS, bounds for SRPT and Gittins.

`size` is the law of the time S, s, that a job takes on one server, and load = lambda E[S] / k, of k servers. "The fast
server" is one server k times as fast: it can imitate any schedule of the k servers, so the best response time on it is
a floor for them.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from llmqueue_gym.distributions.integration import panel_nodes
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.analysis import analyse
from llmqueue_gym.theory.erlang import MMk, server_count, stable_load
from llmqueue_gym.theory.joint import reach

Correction = Literal["kimura", "cosmetatos", "lee-longton"]

# C of Scully, Grosof and Harchol-Balter 2020, about 3.775.
GITTINS_CONSTANT = 9 / (8 * np.log(1.5)) + 1


@dataclass(frozen=True)
class Bracket:
    """Bounds of the mean response time of one policy.

    Attributes:
        low: s; no policy with the same information is below.
        high: s; the policy is not above.
        source: what `high` rests on.
    """

    low: float
    high: float
    source: str


def fcfs_wait(size: Any, load: float, servers: int, correction: Correction = "kimura") -> float:
    """Return an approximate mean wait E[W] under FCFS, s; exact for one server and for exponential sizes.

    With c2 the squared coefficient of variation of S and W_M, W_D the mean waits of the M/M/k and the M/D/k:

    - "lee-longton": (1 + c2) W_M / 2 (Lee and Longton 1959; Kingman's heavy traffic form, right as load -> 1);
    - "cosmetatos": c2 W_M + (1 - c2) W_D (Cosmetatos 1976);
    - "kimura": (1 + c2) / (2 c2 / W_M + (1 - c2) / W_D) (Kimura, Management Science 32, 1986).

    W_D comes from `deterministic_wait`. None of them sees more than two moments of S, and where k > 1 the wait depends
    on all of them: for very variable sizes expect errors of tens of percent.

    Raises:
        BadInput: a number is out of range, an unknown correction, or one that turns negative.
    """
    queue = MMk(servers, load, size.mean)
    c2 = _variability(size)
    if correction == "lee-longton":
        return 0.5 * (1 + c2) * queue.mean_wait
    fixed = deterministic_wait(load, servers, size.mean)
    if correction == "kimura":
        if queue.mean_wait == 0:  # so many servers that it underflows
            return 0.0
        return (1 + c2) / (2 * c2 / queue.mean_wait + (1 - c2) / fixed)
    if correction == "cosmetatos":
        wait = c2 * queue.mean_wait + (1 - c2) * fixed
        if not wait > 0:
            raise NotApplicable(f"cosmetatos gives no positive wait for sizes of c2={c2:g}; use correction 'kimura'")
        return wait
    raise BadInput(f"unknown correction {correction!r}; choose from: kimura, cosmetatos, lee-longton")


def deterministic_wait(load: float, servers: int, mean: float = 1.0) -> float:
    """Return Cosmetatos' approximation of E[W] in the M/D/k, s; within 2 % at loads of 0.5 and more, k up to 20.

    W_D = (W_M / 2) (1 + (1 - rho) (k - 1) (sqrt(4 + 5 k) - 2) / (16 rho k)), the factor capped at 2: constant sizes
    never wait longer than exponential ones. Source: Cosmetatos 1976.
    """
    queue = MMk(servers, load, mean)
    k = queue.servers
    factor = 1 + (1 - load) * (k - 1) * (np.sqrt(4 + 5 * k) - 2) / (16 * load * k)
    return 0.5 * queue.mean_wait * min(2.0, float(factor))


def fcfs_wait_bound(size: Any, load: float, servers: int) -> float:
    """Return an upper bound of E[W] under FCFS, s: lambda E[S^2] / (2 k (1 - rho)), as of k random queues.

    Let V be the work in the system and B the number of busy servers. The mean change of V^2 is zero, so
    k (1 - rho) E[V] = lambda E[S^2] / 2 + E[(k - B) V]. If a server idles nobody waits and V is the work left of jobs
    in service, whose mean is lambda E[S^2] / 2; so E[(k - B) V] <= (k - 1) lambda E[S^2] / 2. An arrival waits for the
    server that is free first, at most V / k. (Wolff 1977 shows the same by comparison with random assignment.)
    For Poisson arrivals it is below Kingman's bound of the GI/G/k.
    """
    server_count(servers)
    return stable_load(load) / size.mean * _second(size) / (2 * (1 - load))


def srpt_bracket(size: Any, load: float, servers: int) -> Bracket:
    """Return bounds of the mean response time of SRPT on k servers (the k least remaining sizes are served).

    Low: SRPT on the fast server, and E[S]. High: the least of Gittins' bound (see `gittins_bracket`; SRPT is Gittins
    for known sizes) and this one. Scale sizes by 1/k, so that the servers have speed 1/k. Let W_r be the remaining
    work of the jobs with at most r left and B_r the speed they get. E[N] = int_0^inf E[W_r] / r^2 dr, and, as the mean
    change of W_r^2 is zero, with rho_r = lambda E[S; S <= r] and q_r = lambda r P(S > r),

        (1 - rho_r) E[W_r] = lambda E[min(S, r)^2] / 2 + E[(1 - B_r) W_r] + q_r E[W_r as a larger job comes down to r].

    On the fast server the last two terms are zero. On k servers fewer than k jobs of at most r are there in both, all
    of them served. So the last is at most q_r (k - 1) r. With j < k such jobs (1 - B_r) W_r is at most r j (1 - j/k),
    whose mean is at most r g(E[B_r]), g the concave line through these points and E[B_r] = rho_r + q_r; it is also at
    most (1 - 1/k) times the remaining work of the jobs in service with at most r left, of mean
    k lambda E[min(S, r)^2] / 2. The idea is that of Grosof, Scully and Harchol-Balter, "SRPT for Multiserver Systems",
    Performance Evaluation 2018, theorem 5.1, with the work integral of Scully, Grosof and Harchol-Balter, "The Gittins
    Policy is Nearly Optimal in the M/G/k under Extremely General Conditions", 2020; the bound itself is neither's.
    """
    k = server_count(servers)
    lam = stable_load(load) / size.mean  # of sizes scaled by 1/k, at k servers of speed 1/k, time runs as before / k
    second = _second(size)
    top = max(reach(size), lam * second / (1 - load))
    low = float(size.ppf(1e-6)) / 10
    edges = np.concatenate([[0.0], np.geomspace(low, top, 400)])
    atoms = size.atoms()
    marks = np.concatenate([np.asarray(size.breakpoints(), float), np.empty(0) if atoms is None else atoms])
    edges = np.unique(np.concatenate([edges, marks[(marks > 0) & (marks < top)]]))
    nodes, weights = panel_nodes(edges, 4)
    r, dr = nodes.ravel(), weights.ravel()
    rest = size.sf(r)
    below = lam * size.partial_moment(1, r)
    free = 1 - load + lam * size.tail_moment(1, r)  # 1 - below, with all its digits
    q = lam * r * rest
    squares = 0.5 * lam * (size.partial_moment(2, r) + r**2 * rest)
    idle = (k - 1) * squares
    if k > 1:
        jobs = np.arange(k + 1)
        idle = np.minimum(idle, r * np.interp(below + q, jobs / k, jobs * (1 - jobs / k)))
    fast = float(np.sum(squares / free / r**2 * dr)) + 0.5 * lam * second / (1 - load) / top
    extra = float(np.sum((idle + (k - 1) * r * q) / free / r**2 * dr))
    extra += (k - 1) * 0.5 * lam * second / (1 - load) / top
    known = GITTINS_CONSTANT * (k - 1) * -np.log1p(-load)
    name = "work integral, derived here" if extra <= known else "Scully, Grosof, Harchol-Balter 2020"
    # Little's law; lambda of the k servers is k lam
    return Bracket(max(size.mean, fast / (k * lam)), (fast + min(extra, known)) / (k * lam), name)


def gittins_bracket(policy: Any, size: Any, predictor: Any, load: float, servers: int) -> Bracket:
    """Return bounds of the mean response time of the Gittins policy, or SRPT with exact predictions, on k servers.

    E[N_k] <= E[N_1] + C (k - 1) ln(1 / (1 - rho)), C = 9 / (8 ln 1.5) + 1, where N_1 is Gittins on the fast server.
    The same N_1 is the floor of every policy on k servers with the same information, and so is E[S].
    Source: Scully, Grosof and Harchol-Balter, "The Gittins Policy is Nearly Optimal in the M/G/k under Extremely
    General Conditions", POMACS 4(3), 2020, main theorem. The constant is quoted from memory and not derived or checked
    against the paper.

    Raises:
        NotApplicable: the policy is not Gittins, or goes by another law than that which predictions have.
    """
    k = server_count(servers)
    stable_load(load)
    if policy.name not in ("gittins", "gittins-blind", "srpt"):
        raise NotApplicable(f"the bound is about Gittins and SRPT, not policy {policy.name!r}")
    bound = None if predictor is None else predictor.bind(size)
    if bound is not None and bound.believed() != bound:
        raise NotApplicable(
            f"the bound is about Gittins of the law that predictions have; {predictor} is mistaken for one"
        )
    fast = analyse(policy, size, predictor, load).mean_response_time / k
    extra = GITTINS_CONSTANT * (k - 1) * -np.log1p(-load)
    high = fast + extra * size.mean / (load * k)
    return Bracket(max(size.mean, fast), float(high), "Scully, Grosof, Harchol-Balter 2020")


def _second(size: Any) -> float:
    second = float(size.moment(2))
    if not np.isfinite(second):
        raise NotApplicable(f"size law {size} has no second moment, so waits and these bounds are infinite")
    return second


def _variability(size: Any) -> float:
    return _second(size) / size.mean**2 - 1
