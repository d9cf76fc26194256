"""Are learned routers, and a learned order over cached prefixes, better than those by hand where the tail is no longer?

Learned are the policies of the zoo whose kind is `routing` or `prefix-order`: small networks, evolved by
`agents/evolve_rank.py` on windows of the first half of Azure's conversations (task `fleet-azure-conv`) and of
Mooncake's (`fleet-mooncake-conv`, `prefix-order`), for the least product of the mean latency and the root of its p99.
What is played here was seen neither in training nor by whoever set this up: the second halves of the two recordings,
and other recordings altogether.

Setting: replicas of Llama 3 8B on an A100 under vllm-v1, the recorded arrival times stretched so that the load is .9 of
what is sustained of the part that is played; predictions are off by a lognormal factor, sigma .5. Fleets have four
replicas, first come first served in each; nobody shares a prefix in Azure's and ServeGen's recordings, and with
Mooncake's all replicas cache (caching=vllm). Orders are played on one replica that caches.

Protocol, as it was written down before anything was played on these parts:

* One run goes through a whole part. Its first thirteenth is left out, the rest is cut into 12 windows of as many
  requests. Each window has the mean and the 99th percentile of the end-to-end latency, averaged over 2 seeds (of
  predictions and ties; the requests are the same). Intervals are Student's t over windows, 95 %, of paired ratios.
* Rivals by hand: every registered policy that can be played there, is not learned and is told no truth. Beside them,
  the same with knobs turned, and for orders a rank by uncached tokens and predicted output that ages.
* The rival is picked in hindsight, in its favour: the least mean of all whose p99 is not clearly above that of the
  learned policy. The lead is 1 - mean / mean of the rival. A *win* is a lead that is clearly above 0 with a p99 that is
  not clearly above the rival's; a *loss* is a lead clearly below 0, all else a *tie*. Told is also how it ends against
  rivals with knobs turned.
* Nobody who sends requests knows the best in hindsight. So each learned policy is held, too, against the one that would
  have been chosen by the recording it was trained on: by the same rule, of all by hand with or without knobs turned, on
  the first half. (This comparison was added before anything was played; the one in hindsight still gives the verdict.)
* The routers are both played on all fleets; the verdict is that of the one that was trained for such work: with caches
  the one of Mooncake's, without them the one of Azure's.

`instance` in the result is a small one on drawn lengths, which tests play again. Writes
`learned_routers_and_orders.json`, `.svg` and `.png` into `results`; six minutes of CPU.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym.boards.recorded import FOLDER_VARIABLE, data_folder
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.errors import BadInput, in_one_line
from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.results import plain, result, write_json
from llmqueue_gym.policies import TRUTH
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.systems import SYSTEMS, Scenario
from llmqueue_gym.workloads.requests import TraceRequests

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "learned_routers_and_orders"
LOAD, WINDOWS, SEEDS, CUT_OFF = 0.9, 12, 2, 3.0
FLEET, CACHING = {"system": "fleet", "replicas": 4}, {"rules": "vllm-v1:caching=vllm"}
REPLICA = {"system": "replica"}


@dataclass(frozen=True)
class Place:
    """What is played where.

    Attributes:
        title: for people.
        file: of the recording.
        part: shares of its rows, from and to.
        fields: of the scenario.
        learned: the policy of whom the verdict is.
        seen: what is unseen about it.
    """

    title: str
    file: str
    part: tuple[float, float]
    fields: dict[str, Any]
    learned: str
    seen: str


_AZURE, _MOONCAKE, _ORDER = "learned-fleet-azure-conv", "learned-fleet-mooncake-conv", "learned-prefix-order"
_LATER, _OTHER, _SEEN = "later windows", "another recording", "nothing: trained on"
PLACES = (
    Place("Fleet, Azure conversation", "azure2023_conv.csv.gz", (0.5, 1.0), FLEET, _AZURE, _LATER),
    Place("Fleet, Azure code", "azure2023_code.csv.gz", (0.0, 1.0), FLEET, _AZURE, _OTHER),
    Place("Fleet, DeepSeek-R1 (sampled)", "servegen_deepseek-r1_sampled.csv.gz", (0.0, 0.25), FLEET, _AZURE, _OTHER),
    Place(
        "Fleet, Mooncake conversation, caches",
        *("mooncake_conversation.csv.gz", (0.5, 1.0), {**FLEET, **CACHING}, _MOONCAKE, _LATER),
    ),
    Place(
        "Fleet, Mooncake synthetic, caches",
        *("mooncake_synthetic.csv.gz", (0.0, 1.0), {**FLEET, **CACHING}, _MOONCAKE, _OTHER),
    ),
    Place(
        "Order, Mooncake conversation",
        *("mooncake_conversation.csv.gz", (0.5, 1.0), {**REPLICA, **CACHING}, _ORDER, _LATER),
    ),
    Place(
        "Order, Mooncake synthetic",
        *("mooncake_synthetic.csv.gz", (0.0, 1.0), {**REPLICA, **CACHING}, _ORDER, _OTHER),
    ),
)
TRAINED_ON = (
    Place("Fleet, Azure conversation", "azure2023_conv.csv.gz", (0.0, 0.5), FLEET, _AZURE, _SEEN),
    Place(
        "Fleet, Mooncake conversation, caches",
        *("mooncake_conversation.csv.gz", (0.0, 0.5), {**FLEET, **CACHING}, _MOONCAKE, _SEEN),
    ),
    Place(
        "Order, Mooncake conversation",
        *("mooncake_conversation.csv.gz", (0.0, 0.5), {**REPLICA, **CACHING}, _ORDER, _SEEN),
    ),
)
KIND = {"fleet": "routing", "replica": "prefix-order"}
KNOBS = {
    "fleet": (
        *(f"least-work:prompt={prompt:g}" for prompt in (0.03, 0.3)),
        *(f"llm-d:queue={q:g},kv={kv:g},prefix={p:g}" for q, kv, p in ((1, 1, 2), (2, 2, 1), (1, 0, 1))),
        *(f"dynamo:weight={weight:g}" for weight in (0.3, 3.0)),
        *("preble-like:output=200", "cache-aware-like:apart=8", "llm-d:precise=true"),
    ),
    "replica": ("longest-prefix-aged:rate=100", "longest-prefix-bounded:longest_wait=60"),
}
RIVALS = ("by hand", "with knobs turned", "chosen in training")
AGED = ((0.0, 30.0), (0.0, 100.0), (0.0, 300.0), (10.0, 0.0), (10.0, 100.0))
GROUPS = {
    "by hand": ("#9a9a9a", "o"),
    "knobs turned": ("#56b4e9", "v"),
    "learned": ("#d55e00", "*"),
    "learned elsewhere": ("#e69f00", "P"),
}
INSTANCE = {
    "fleet": {**FLEET, **CACHING, "rate": 24.0, "n_jobs": 300},
    "replica": {**REPLICA, **CACHING, "rate": 7.0, "n_jobs": 300},
}
SHARED = "prefixes:texts=12,zipf=0.8,prefix=2048,own=lognormal:prompt=256;output=128"


def uncached_and_output(request, system, params):
    """Rank by the tokens to compute and the predicted output, aged."""
    uncached = max(request.prompt + request.generated - request.cached, 1)
    return uncached + params[0] * (request.predicted - request.generated) + params[1] * request.arrival


def players(system: str) -> dict[str, tuple[str, Any]]:
    """Return who plays in a kind of system: name -> (group, policy)."""
    policies, learned = SYSTEMS.builder(system).policies, stored(KIND[system])
    found: dict[str, tuple[str, Any]] = {}
    for name in policies:
        made = policies(name)
        if name in learned:
            found[name] = ("learned", made)
        elif not name.startswith("learned-") and made.told != TRUTH and not getattr(made, "paired", False):
            found[name] = ("by hand", made)
    found |= {spec: ("knobs turned", policies(spec)) for spec in KNOBS[system]}
    if system == "replica":
        for output, arrival in AGED:
            name = f"uncached + {output:g} output + {arrival:g} arrival"
            made = ServingPolicy(name, uncached_and_output, (output, arrival), ages=True)
            found[name] = ("knobs turned", made)
    return found


@cache
def scenario(k: int) -> Scenario:
    """Return what is played at a place, a number in `TRAINED_ON + PLACES`."""
    place, folder = (TRAINED_ON + PLACES)[k], data_folder()
    if folder is None or not (folder / place.file).is_file():
        raise BadInput(f"{place.file} is not at hand; name the folder of the recordings in ${FOLDER_VARIABLE}")
    work = TraceRequests.from_trace(folder / place.file, order="first").part(*place.part)
    whole = Scenario(**place.fields, workload=work, load=LOAD, n_jobs=len(work), cut_off=CUT_OFF)
    return replace(whole, load=None, rate=LOAD * whole.system.sustains(whole).rate)


def play(task: tuple[int, str]) -> dict[str, Any] | str:
    """Return mean and p99 of each window `(windows,)`, s, and the share left undone; or why it cannot be played."""
    k, name = task
    where, made = scenario(k), players((TRAINED_ON + PLACES)[k].fields["system"])[name][1]
    windows, undone = [], 0.0
    for seed in range(SEEDS):
        try:
            run = where.simulate(made, seed)
        except BadInput as error:
            return str(error)
        arrival = run.jobs["arrival"]
        times = np.where(run.done, run.response_times, CUT_OFF * arrival[-1] - arrival)
        parts = np.array_split(times[len(times) // (WINDOWS + 1) :], WINDOWS)
        windows.append([(part.mean(), np.percentile(part, 99)) for part in parts])
        undone += 1 - float(run.done.mean())
    mean, p99 = np.mean(windows, axis=0).T
    return {"mean": mean.tolist(), "p99": p99.tolist(), "undone": undone / SEEDS}


def ratio(a: dict[str, Any], b: dict[str, Any], key: str) -> dict[str, float]:
    """Return the paired ratio of two policies over windows, with its interval."""
    found = across_seeds(np.divide(a[key], b[key]))
    return {"mean": found.mean, "low": found.low, "high": found.high}


def best_rival(name: str, played: dict[str, Any], rivals: list[str]) -> str:
    """Return who has the least mean of the rivals whose tail is not clearly longer than that of a learned policy."""
    short = [one for one in rivals if ratio(played[one], played[name], "p99")["low"] <= 1]
    return min(short or rivals, key=lambda one: float(np.mean(played[one]["mean"])))


def verdict(name: str, played: dict[str, Any], best: str) -> dict[str, Any]:
    """Hold a learned policy against a rival."""
    mean, p99 = (ratio(played[name], played[best], key) for key in ("mean", "p99"))
    lead = {"mean": 1 - mean["mean"], "low": 1 - mean["high"], "high": 1 - mean["low"]}
    longer = p99["low"] > 1
    word = "loss" if lead["high"] < 0 else "win" if lead["low"] > 0 and not longer else "tie"
    return {"best": best, "lead": lead, "p99": p99, "verdict": word, "tail_is_longer": longer}


def block(place: Place, played: dict[str, Any], scenario: Scenario, chosen: dict[str, str]) -> dict[str, Any]:
    """Return what came out at a place, and against the rivals that were chosen where it was trained."""
    system = place.fields["system"]
    groups = {name: group for name, (group, _) in players(system).items()}
    left_out = {name: why for name, why in played.items() if isinstance(why, str)}
    played = {name: one for name, one in played.items() if name not in left_out}
    base = played[SYSTEMS.builder(system).base]
    rows = []
    for name, one in played.items():
        group = groups[name]
        group = "learned elsewhere" if group == "learned" and name != place.learned else group
        told = {"policy": name, "group": group, "seconds": float(np.mean(one["mean"])), **one}
        rows.append({**told, "mean_ratio": ratio(one, base, "mean"), "p99_ratio": ratio(one, base, "p99")})
    rows.sort(key=lambda row: row["seconds"])
    hand = [name for name in played if groups[name] == "by hand"]
    turned = [name for name in played if groups[name] in ("by hand", "knobs turned")]
    verdicts = [
        {
            "policy": name,
            "meant_for_this": name == place.learned,
            "by hand": verdict(name, played, best_rival(name, played, hand)),
            "with knobs turned": verdict(name, played, best_rival(name, played, turned)),
            **({"chosen in training": verdict(name, played, chosen[name])} if chosen.get(name) in played else {}),
        }
        for name in played
        if groups[name] == "learned"
    ]
    words = {"title": place.title, "file": place.file, "part": place.part, "unseen": place.seen}
    words |= {"scenario": scenario.to_dict(), "base": SYSTEMS.builder(system).base}
    return {**words, "policies": rows, "verdicts": verdicts, "left_out": left_out}


def meant(one: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the verdict of the learned policy that was trained for such work, if there is one."""
    return [told for told in one["verdicts"] if told["meant_for_this"]]


def sentences(blocks: list[dict[str, Any]]) -> list[str]:
    """Say in words what came out, by rule."""
    words = []
    for one in blocks:
        for v in meant(one):
            parts = []
            for group in RIVALS:
                lead, p99 = v[group]["lead"], v[group]["p99"]
                ahead = f"{lead['mean']:+.1%} ({lead['low']:+.1%} to {lead['high']:+.1%})"
                tail = f"p99 {p99['mean']:.3f} of it ({p99['low']:.3f} to {p99['high']:.3f})"
                parts.append(f"{group}, {v[group]['verdict']}: lead {ahead} on {v[group]['best']}, {tail}")
            words.append(f"{one['title']} ({one['unseen']}), {v['policy']}; {'; '.join(parts)}.")
    for group in RIVALS:
        found = [v[group]["verdict"] for one in blocks for v in meant(one)]
        counts = ", ".join(f"{found.count(word)} {word}" for word in ("win", "tie", "loss"))
        words.append(f"Against the best {group}: {counts}, of {len(found)}.")
    return words


def instance(name: str, system: str) -> float:
    """Return the mean latency of a learned policy on a small instance, s, which needs no recording."""
    return float(Scenario(**INSTANCE[system], lengths=SHARED).simulate(name, 0).response_times.mean())


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: mean against p99, a panel for each place."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 4, figsize=(14.0, 7.2), layout="constrained")
        for panel, one in zip(panels.ravel(), found["places"], strict=False):
            _panel(panel, one)
        for panel in panels.ravel()[len(found["places"]) :]:
            panel.axis("off")
            looks = [plt.Line2D([], [], color=colour, marker=mark, ls="") for colour, mark in GROUPS.values()]
            panel.legend(looks, list(GROUPS), frameon=False, loc="center left", title="one point a policy")
        figure.suptitle(
            "Recordings unseen in training: latency over that of round-robin (fleets) or of fcfs (orders)",
            x=0.01,
            ha="left",
        )
    return figure


def _panel(panel: plt.Axes, one: dict[str, Any]) -> None:
    shown = [row for row in one["policies"] if row["undone"] == 0 and row["mean_ratio"]["mean"] < 1.3]
    for row in sorted(shown, key=lambda row: list(GROUPS).index(row["group"])):
        colour, mark = GROUPS[row["group"]]
        mean, p99, learned = row["mean_ratio"], row["p99_ratio"], row["group"].startswith("learned")
        if learned:
            x, y = ([[max(r["mean"] - r["low"], 0)], [max(r["high"] - r["mean"], 0)]] for r in (mean, p99))
            panel.errorbar(mean["mean"], p99["mean"], y, x, color=colour, lw=0.8, capsize=2, zorder=3)
        size = 110 if row["group"] == "learned" else 50 if learned else 20
        panel.scatter(mean["mean"], p99["mean"], size, color=colour, marker=mark, zorder=4 if learned else 2, lw=0)
    for v in meant(one):
        best = next(row for row in one["policies"] if row["policy"] == v["by hand"]["best"])
        at = best["mean_ratio"]["mean"], best["p99_ratio"]["mean"]
        panel.annotate(best["policy"], at, xytext=(4, -10), textcoords="offset points", fontsize=7.5, color="0.3")
        panel.set_title(f"{one['title']}: {v['by hand']['verdict']}", loc="left", fontsize=8.5)
    panel.set_xlabel(f"mean / that of {one['base']}")
    panel.set_ylabel("99th percentile, likewise")
    panel.spines[["top", "right"]].set_visible(False)


def report(found: dict[str, Any], console: Console) -> None:
    """Print the best of each place and the verdicts."""
    for one in found["places"]:
        table = Table("policy", "group", "mean, s", "mean / base", "p99 / base", title=one["title"])
        for row in one["policies"][:10]:
            cells = [
                f"{row[key]['mean']:.3f} ({row[key]['low']:.3f} to {row[key]['high']:.3f})"
                for key in ("mean_ratio", "p99_ratio")
            ]
            table.add_row(row["policy"], row["group"], f"{row['seconds']:.2f}", *cells)
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main() -> None:
    """Play, store, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="where results are stored, without ending")
    options = parser.parse_args()
    everywhere = TRAINED_ON + PLACES
    by_place = {k: players(place.fields["system"]) for k, place in enumerate(everywhere)}
    asked = [(k, name) for k, everybody in by_place.items() for name in everybody]
    scenarios = [scenario(k) for k in by_place]  # capacities are looked for once
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        done = iter(track(pool.map(play, asked), "playing", len(asked), console=Console(stderr=True)))
        played = {k: {name: next(done) for name in everybody} for k, everybody in by_place.items()}
    trained = [block(place, played[k], scenarios[k], {}) for k, place in enumerate(TRAINED_ON)]
    chosen = {v["policy"]: v["with knobs turned"]["best"] for one in trained for v in meant(one)}
    unseen = range(len(TRAINED_ON), len(everywhere))
    blocks = [block(everywhere[k], played[k], scenarios[k], chosen) for k in unseen]
    small = {name: instance(name, system) for system, kind in KIND.items() for name in stored(kind)}
    values = {
        "load": LOAD,
        "windows": WINDOWS,
        "places": blocks,
        "trained_on": trained,
        "instance": small,
        "finding": sentences(blocks),
    }
    found = result(values, None, range(SEEDS))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(options.out.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(options.out.with_suffix(".png"), dpi=110)
    plt.close(figure)
    print(json.dumps(plain(found))) if options.json else report(found, Console(width=150))


if __name__ == "__main__":
    with in_one_line():
        main()
