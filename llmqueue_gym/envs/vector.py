"""The vector environment of all systems: seeds, autoresets and infos, and no dynamics."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from llmqueue_gym.engines.state import SKIP
from llmqueue_gym.envs.opened import opened, options_of
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import Scenario, System


class QueueVectorEnv(VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """Environments of one scenario that are advanced by one kernel call per step; what `gym.make_vec` returns.

    Environment i, given the seed of a scalar environment, returns the same numbers, autoresets included. Infos follow
    `SyncVectorEnv`: an array `(num_envs,)` per key of the scalar environment, in every step, and beside it `_key`,
    which environments it is valid for.

    With `copy=False`, which is faster, `reset` and `step` return the same arrays each time, which the next call
    changes: for learners that have used an observation by then.

    Attributes:
        scenario: what comes and what serves.
        view: what is seen, decided and paid.
        episodes: the runs behind them.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (typed so in the base class)

    def __init__(
        self,
        system: str | System | Scenario = "mg1",
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        render_mode: None = None,
        **given: Any,
    ):
        """Make the environments.

        Args:
            system: kind of system, the system, or the whole scenario.
            num_envs: how many.
            autoreset_mode: NEXT_STEP resets in the step after the last, whose action is ignored. SAME_STEP resets at
                once and returns the last observation and info as "final_obs" and "final_info". DISABLED leaves it to
                `reset(options={"reset_mask": mask})`.
            render_mode: None, as nothing is drawn of many; a scalar environment draws.
            copy: return fresh arrays; otherwise the observations are written in place.
            **given: fields of scenario, system and view.

        Raises:
            BadInput: a value is out of range; the message names it.
        """
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise BadInput(f"num_envs={num_envs!r} must be a whole number of at least 1")
        if render_mode is not None:
            raise BadInput(f"render_mode={render_mode!r}: many environments are not drawn; make one by gymnasium.make")
        self.scenario, self.view = opened(system, given)
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = ", ".join(mode.value for mode in AutoresetMode)
            raise BadInput(f"autoreset_mode={autoreset_mode!r}; choose from: {modes}") from None
        self.num_envs, self.copy = int(num_envs), copy
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.episodes = batch = self.scenario.system.open(self.scenario, self.view, self.num_envs)
        self.single_observation_space, self.single_action_space = batch.observation_space, batch.action_space
        self.observation_space = batch_space(batch.observation_space, self.num_envs)
        self.action_space = batch_space(batch.action_space, self.num_envs)
        self._n_actions = int(batch.action_space.n)
        self._all = np.ones(self.num_envs, bool)
        self._over = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs)
        # What is told of metrics in a step that ends no episode, which is nearly every one: always the same arrays.
        self._unknown = {key: _constant(self.num_envs, unknown) for key, unknown in batch.unknown.items()}
        self._undiscounted = np.ones(self.num_envs)
        self._begun = np.zeros(self.num_envs, bool)
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs
        self._seeds: list[int | None] = [None] * self.num_envs

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The streams of the environments, from which unseeded resets draw their seeds."""
        return tuple(self._rng(e) for e in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seeds of `np_random`."""
        for e in range(self.num_envs):
            self._rng(e)
        return tuple(self._seeds)

    def _rng(self, e: int) -> np.random.Generator:
        rng = self._rngs[e]
        if rng is None:
            rng, self._seeds[e] = seeding.np_random()
            self._rngs[e] = rng
        return rng

    def _seed(self, e: int, seed: int | None = None) -> int:
        """Return the seed of the next episode, just as in the scalar environment."""
        if seed is None:
            return int(self._rng(e).integers(2**63))
        self._rngs[e], self._seeds[e] = seeding.np_random(seed)
        return seed

    def _begin_again(self, ended: np.ndarray) -> None:
        """Lay out the next episodes of some environments."""
        rows = ended.tolist()
        self.episodes.begin_all(rows, [self._seed(e) for e in rows])
        self._returns[ended] = 0.0

    def reset(  # type: ignore[override]
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode in every environment, or in those of a mask.

        Args:
            seed: environment i gets the seed `seed + i`, or entry i of a list.
            options: `{"reset_mask": bool (num_envs,)}`, the environments to reset, while the others stay as they are;
                and fields of the scenario that are otherwise in these episodes, as in the scalar environment.

        Raises:
            BadInput: a list of the wrong length, an option that does not exist, or a bad mask.
        """
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + e for e in range(self.num_envs)]
        else:
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise BadInput(f"{len(seeds)} seeds were given for {self.num_envs} environments")
        changed = options_of(options)
        chosen = self._reset_mask(changed.pop("reset_mask", None))
        self.episodes.actions[:] = SKIP
        rows = np.flatnonzero(chosen).tolist()
        drawn = [self._seed(e, seeds[e]) for e in rows]
        if changed:
            for e, one in zip(rows, drawn, strict=True):
                self.episodes.begin(e, one, **changed)
        else:
            self.episodes.begin_all(rows, drawn)
        self._returns[chosen] = 0.0
        self.episodes.proceed()
        self._over[chosen] = False
        self._begun[chosen] = True
        return self._observation(), self._infos(chosen, chosen.nonzero()[0][:0])

    def _reset_mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise BadInput(f"reset_mask={mask!r} must be a bool array ({self.num_envs},) with at least one True")
        return mask.copy()

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one decision in every environment.

        Raises:
            BadInput: an action is outside the action space.
            ResetNeeded: an environment was never reset, or has ended and is not reset by itself.
        """
        if self.closed or not self._begun.all():
            raise ResetNeeded("call reset() before step()" if not self.closed else "the environments are closed")
        batch = self.episodes
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise BadInput(f"actions have shape {actions.shape}, not ({self.num_envs},)")
        if actions.dtype.kind not in "iu":
            raise BadInput(f"action {actions.flat[0]!r} is not in the action space: choose 0 to {self._n_actions - 1}")
        np.copyto(batch.actions, actions, casting="same_kind")
        if batch.actions.min() < 0 or batch.actions.max() >= self._n_actions:
            bad = batch.actions[(batch.actions < 0) | (batch.actions >= self._n_actions)][0]
            raise BadInput(f"action {bad} is not in the action space: choose 0 to {self._n_actions - 1}")
        over = self._over.nonzero()[0]
        if len(over) and self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded(f"environment {over[0]} has ended: reset it with options={{'reset_mask': mask}}")
        self._begin_again(over)
        batch.proceed()
        raw = batch.steps["reward"]
        reward, _ = batch.rewards(raw, batch.steps["dt"])
        self._returns += raw
        terminated, truncated = (batch.steps[name].copy() for name in ("terminated", "truncated"))
        self._over = terminated | truncated
        ended = self._over.nonzero()[0]
        batch.close(ended)
        final = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and len(ended):
            final, ended = self._final(ended), ended[:0]
        infos = {**final, **self._infos(self._all, ended)}
        return self._observation(), reward, terminated, truncated, infos

    def _final(self, ended: np.ndarray) -> dict[str, Any]:
        """Return the last observations and infos of the episodes that have just ended, and begin the next ones."""
        last, valid = self.episodes.shown(ended), self._over.copy()
        observations = np.full(self.num_envs, None, object)
        for k, e in enumerate(ended.tolist()):
            observations[e] = {part: values[k] for part, values in last.items()}
        final = {"final_obs": observations, "final_info": self._infos(valid, ended)}
        self.episodes.actions[:] = SKIP
        self._begin_again(ended)
        self.episodes.proceed()
        self._over[:] = False
        return {**final, "_final_obs": valid, "_final_info": valid.copy()}

    def _infos(self, valid: np.ndarray, ended: np.ndarray) -> dict[str, Any]:
        """Return the infos that every step has, zero where they are not valid.

        Args:
            valid: the environments that have them `(num_envs,)`.
            ended: those whose episode has ended with this step.
        """
        batch, steps = self.episodes, self.episodes.steps
        in_place = not self.copy and valid is self._all
        columns = {
            "dt": steps["dt"],
            "clock": steps["clock"],
            "n_in_system": steps["in_system"],
            "action_mask": batch.observation["action_mask"],
            "raw_reward": steps["reward"],
            "return": self._returns,
            "discount": batch.rewards(0.0, steps["dt"])[1] * self._undiscounted,
            "illegal_action": steps["illegal"],
        }
        metrics = self._unknown
        if len(ended) or not valid.all():
            metrics = {key: values.copy() for key, values in metrics.items()}
        if len(ended):
            for key, values in batch.metrics(ended).items():
                metrics[key][ended] = values
        told = columns if in_place else {key: values.copy() for key, values in columns.items()}
        return _masked({**told, "episode_metrics": _masked(metrics, valid)}, valid)

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each job of each episode `(num_envs, n)`, s; NaN where it has not left.

        Under NEXT_STEP the last episode is there until the step that begins the next one.
        """
        return self.episodes.response_times()

    def _observation(self) -> dict[str, np.ndarray]:
        return self.episodes.shown(slice(None)) if self.copy else self.episodes.shown_in_place()

    def action_masks(self) -> np.ndarray:
        """Return the masks of the present decisions, int8 `(num_envs, slots)`."""
        return self.episodes.observation["action_mask"].copy()


def _constant(size: int, value: Any) -> np.ndarray:
    """Return an array of one value that nobody can change."""
    made = np.full(size, value, object if isinstance(value, str) else None)
    made.flags.writeable = False
    return made


def _masked(columns: dict[str, Any], valid: np.ndarray) -> dict[str, Any]:
    """Return the infos of each key, zero or None where they are not valid, and beside each where they are."""
    told, mask, whole = {}, valid.copy(), valid.all()
    for key, values in columns.items():
        if not (whole or isinstance(values, dict)):
            values[~valid] = None if values.dtype == object else 0
        told[key], told[f"_{key}"] = values, mask
    return told
