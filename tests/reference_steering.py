"""Who is on in the slow fleet of `reference_fleet`: a controller is asked at ticks, and followed.

Written from the docstrings of `engines.fleet.power`, `policies.control.base` and `systems.control`.
"""

import math

import numpy as np

from llmqueue_gym.policies.control import Seen
from llmqueue_gym.policies.control.base import DRAINING, OFF, ON, STARTING
from llmqueue_gym.requests import ROLES
from llmqueue_gym.systems.targets import within

MOVED, STARTED, VANISHES, RETURNS, RETRIED = range(5)  # what is noted, in this order at one time
COLUMNS = ("arrivals", "prompts", "outputs", "ended", "busy")


class Steering:
    """A controller at the helm.

    Args:
        fleet: `reference_fleet.Fleet`.
        unit: what the controller is told of one replica.
    """

    def __init__(self, fleet, unit):
        self.fleet, self.system, self.unit = fleet, fleet.system, unit
        self.controller, self.memory, self.barren = self.system.steersman, {}, 0
        self.least, self.most = self.system.least, self.system.most or len(fleet.replicas)
        self.next_tick = math.inf if self.controller.name == "none" else self.system.tick
        self.history = []  # a tuple of `COLUMNS` for each tick
        self.before = {"arrived": 0, "tokens": 0, "made": 0, "left": self.each("left"), "busy": self.each("batch_time")}
        self.asked = [np.bincount([replica.role for replica in fleet.replicas], minlength=3)]
        self.asked[0] = within(self.asked[0], self.asked[0] > 0, self.least, self.most)
        self.asked[0] = self.wanted()
        for role in ROLES:
            for replica in [one for one in fleet.replicas if one.home == role][self.asked[0][role] :]:
                replica.power = OFF

    def each(self, name):
        return np.array([getattr(replica, name) for replica in self.fleet.replicas])

    def tick(self):
        """Ask the controller, if it is time to."""
        if self.next_tick > self.fleet.now:
            return
        self.next_tick += self.system.tick
        self.look()
        arrivals, _, outputs, *_ = self.history[-1]
        self.barren = 0 if arrivals or outputs else self.barren + 1
        if self.barren > self.system.bound_rules.patience:
            self.fleet.reason = "livelock"
            return
        self.asked.append(self.wanted())
        self.follow(self.asked[-1])

    def look(self):
        """Note what has happened since the last tick."""
        replicas, before = self.fleet.replicas, self.before
        after = {"arrived": self.fleet.arrived, "tokens": self.fleet.arrived_tokens}
        after |= {"made": sum(one.made for one in replicas), "left": self.each("left"), "busy": self.each("batch_time")}
        new = {name: after[name] - before[name] for name in after}
        homes = self.each("home")
        by_role = [[new[name][homes == role].sum() for role in ROLES] for name in ("left", "busy")]
        self.history.append((new["arrived"], new["tokens"], new["made"], *by_role))
        self.before = after

    def wanted(self):
        """Return how many replicas the controller wants in each role, as far as it can be."""
        replicas, ticks = self.fleet.replicas, len(self.history)
        columns = zip(*self.history, strict=True) if ticks else [[], [], [], np.zeros((0, 3)), np.zeros((0, 3))]
        waits = not self.system.retry  # else who is on its way asks for room again and again
        seen = Seen(
            clock=max(self.fleet.now, 0.0),
            tick=self.system.tick,
            start_up=self.system.start_up,
            **{name: np.array(column, float) for name, column in zip(COLUMNS, columns, strict=True)},
            power=self.each("power"),
            role=self.each("home"),
            running=np.array([len(one.running) for one in replicas]),
            waiting=np.array([len(one.waiting + one.inbox + one.awaited * waits) for one in replicas]),
            kv=np.array([1.0 - one.free / one.rules.blocks for one in replicas]),
            held=len(self.fleet.held),
            asked=np.array(self.asked),
            least=self.least,
            most=self.most,
            unit=self.unit,
        )
        return within(self.controller.asked_of(seen, self.memory), self.asked[0] > 0, self.least, self.most)

    # How replicas come and go.

    def turn_off(self, replica):
        replica.on_time += self.fleet.now - replica.since
        replica.power, replica.becomes, replica.flight, replica.since = OFF, -1, None, self.fleet.now

    def begin_start(self, replica, role, delay):
        """Let a replica, which is empty, serve in a role after a delay, for which is paid."""
        if replica.power == OFF:
            replica.since = self.fleet.now
        replica.power, replica.becomes = STARTING, -1
        replica.role = replica.home = self.fleet.sites[replica.index].role = role
        replica.flight = self.fleet.note(self.fleet.now + delay, STARTED, self.start, replica)

    def start(self, replica):
        """Let a replica serve."""
        replica.power = ON

    def switch_off(self):
        """Switch off those that were to end what they had, and have; or they take on their next role."""
        for one in self.fleet.replicas:
            if one.power == DRAINING and not one.outstanding() and not one.leaving:
                if one.becomes >= 0:
                    self.begin_start(one, one.becomes, self.system.turn_over)
                else:
                    self.turn_off(one)

    def engaged(self, role):
        """Return how many replicas are on in a role, or will be."""
        there = [one.becomes if one.power == DRAINING else one.home for one in self.fleet.replicas if one.power != OFF]
        return there.count(role)

    def follow(self, targets):
        """Let as many replicas be on in each role as are wanted, as far as there are so many."""
        for role in ROLES:
            while self.engaged(role) > targets[role] and self.dismiss(role):
                pass
        for role in ROLES:
            while self.engaged(role) < targets[role] and self.recruit(role):
                pass
        self.switch_off()

    def dismiss(self, role):
        """Let one replica leave a role; return whether one does."""
        those = self.fleet.replicas
        about_to_come = [one for one in those if one.power == DRAINING and one.becomes == role]
        idle = [one for one in those if one.power == STARTING and one.home == role and not one.outstanding()]
        serving = [one for one in those if one.power == ON and one.home == role]
        if about_to_come:
            about_to_come[0].becomes = -1
        elif idle:
            self.turn_off(max(idle, key=lambda one: one.flight))  # that was asked for last
        elif serving:
            min(reversed(serving), key=lambda one: len(one.outstanding())).power = DRAINING
        return bool(about_to_come or idle or serving)

    def recruit(self, role):
        """Let one more replica serve in a role; return whether there is one."""
        leaving = [one for one in self.fleet.replicas if one.power == DRAINING and one.becomes < 0]
        off = [one for one in self.fleet.replicas if one.power == OFF]
        back, own = [one for one in leaving if one.home == role], [one for one in off if one.home == role]
        if back:
            back[0].power = ON
        elif leaving:
            leaving[0].becomes = role
        elif off:
            self.begin_start((own or off)[0], role, self.system.start_up)
        return bool(back or leaving or off)

    def paid(self):
        """Return the s for which each replica is paid by now."""
        return [one.on_time + (self.fleet.now - one.since if one.power != OFF else 0.0) for one in self.fleet.replicas]
