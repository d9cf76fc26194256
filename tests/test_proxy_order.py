"""In which order the exported proxy lets requests go, and by which lengths."""

import asyncio
import itertools
import random
from types import SimpleNamespace

import pytest
from proxied import PATHS

LENGTHS = dict(zip("abcdefgh", random.Random(0).sample(range(1, 100_000), 8), strict=True))
BY_LENGTH = ["first", *sorted(LENGTHS, key=LENGTHS.get)]


def stating(lengths):
    return {name: {"max_tokens": 1, "headers": {"x-llmqueue-predicted": str(n)}} for name, n in lengths.items()}


@pytest.mark.parametrize("order", ["vllm", "sglang", "dynamo"])
def test_engines_serve_by_rank(proxied, order):
    """Each engine of one seat goes by what it is told, in its own direction; the least rank is first."""
    one = proxied(seats=1, order=order)
    bodies = stating(LENGTHS)
    bodies["a"]["priority"] = bodies["b"]["priority"] = -(10**12) if order == "vllm" else 10**12  # nobody jumps
    bodies["c"]["headers"] |= {"x-dynamo-request-priority": "2147483647", "x-dynamo-request-strict-priority": "9"}
    one.at_once(bodies, lambda answers: len(one.engine.seen) == 9)
    assert one.engine.served == BY_LENGTH
    seen = {seen["name"]: seen for seen in one.engine.seen}["c"]
    assert ("priority" in seen["body"]) == (order != "dynamo")
    if order == "dynamo":
        assert seen["body"]["nvext"]["agent_hints"] == {"osl": LENGTHS["c"]}
        assert "x-dynamo-request-strict-priority" not in seen["headers"]


def test_low_first_of_sglang_is_as_vllm(proxy_modules):
    body, other = {"vllm_xargs": {}}, {}
    assert proxy_modules.engines.ENGINES["sglang-low-first"](body, [], 3.0, 3.0, None) == 3_000_000
    assert proxy_modules.engines.ENGINES["sglang"](other, [], 3.0, 3.0, None) == -3_000_000
    assert body == {"priority": 3_000_000} and other == {"priority": -3_000_000}


def test_window_serves_by_rank_without_priorities(proxied):
    """The engine takes all that come as they come; the window of one lets them go by rank."""
    one = proxied(options=["--window", "1"])
    one.at_once(stating(LENGTHS), lambda answers: len(one.proxy._window) == 8)
    assert one.engine.served == BY_LENGTH
    assert [line["id"] for line in sorted(one.log(9), key=lambda line: line["sent"])] == BY_LENGTH


def test_first_come_first_served_tells_nothing(proxied):
    one = proxied("fcfs", options=["--window", "2"])
    for name in "abc":
        one.post(name, max_tokens=1, priority=7)
    assert [seen["body"]["priority"] for seen in one.engine.seen] == [7, 7, 7]
    assert [line["priority"] for line in one.log(3)] == [None] * 3


def test_ranks_that_move_need_a_window(proxy_modules, capsys):
    with pytest.raises(SystemExit) as ended:
        proxy_modules.serve.arguments(["--backend", "http://x", "--engine", "vllm"])
    assert ended.value.code == 2 and "set --window N" in capsys.readouterr().err.splitlines()[-1]
    assert proxy_modules.serve.arguments(["--backend", "http://x", "--engine", "vllm", "--window", "8"]).window == 8


def test_window_ranks_anew(proxy_modules):
    """ssjf: after 10 s of waiting the one that came first goes first, however long it is."""

    async def order(wait):
        now, gone = [0.0], []
        replica = SimpleNamespace(clock=0.0)

        def rank(shown):
            replica.clock = now[0]
            return proxy_modules.rank.rank_of(shown, replica)

        window = proxy_modules.window.Window(1, rank, True)
        shown = [
            proxy_modules.rank.Shown({}, tokens, 1, at, 0) for at, tokens in ((0, 1), (0.1, 900), (0.2, 800), (1, 30))
        ]

        async def go(one):
            ticket = proxy_modules.window.Ticket(one)
            await window.enter(ticket)
            gone.append(one.predicted)
            await asyncio.sleep(0.01)
            now[0] += wait if one is shown[0] else 0.0
            window.leave(ticket)

        await asyncio.gather(*map(go, shown))
        return gone

    assert asyncio.run(order(0.5)) == [1, 30, 800, 900]
    assert asyncio.run(order(10.5)) == [1, 900, 800, 30]


def test_window_gives_seats_back(proxy_modules):
    """However requests come, go and are cancelled, no seat is lost and none is given twice."""

    async def play(seed):
        rng, most = random.Random(seed), [0]
        window = proxy_modules.window.Window(3, lambda shown: shown.rank, False)

        async def go():
            ticket = proxy_modules.window.Ticket(SimpleNamespace(rank=rng.random(), arrival=0.0))
            await window.enter(ticket)
            try:
                most[0] = max(most[0], window.running)
                if rng.random() < 0.2:
                    window.away()
                await asyncio.sleep(rng.random() * 0.01)
                window.back()
            finally:
                window.leave(ticket)

        proxy_modules.window.RETRY = 0.001
        tasks = [asyncio.create_task(go()) for _ in range(60)]
        for task in rng.sample(tasks, 30):
            await asyncio.sleep(0.001)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return window.running, len(window), most[0]

    for seed in range(5):
        running, waiting, most = asyncio.run(play(seed))
        assert (running, waiting) == (0, 0) and most <= 3


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_as_ranks(proxy_modules, seed):
    """Of whatever size and sign: a smaller rank has no larger number, and those far apart have different ones."""
    rng, engines = random.Random(seed), proxy_modules.engines
    ranks = sorted(rng.choice([-1, 1]) * 10 ** rng.uniform(-6, 15) for _ in range(3000))
    ranks = [float("-inf"), *ranks, float("inf")]
    for numbers, least, most in (
        ([engines.whole(rank) for rank in ranks], -(2**63), 2**63 - 1),
        ([-engines.short(rank) for rank in ranks], -(2**31 - 1), 0),
        ([-engines.short(rank, 100.0) for rank in ranks], -(2**31 - 1), 0),
    ):
        assert numbers == sorted(numbers) and all(isinstance(number, int) for number in numbers)
        assert least <= numbers[0] and numbers[-1] <= most
    pairs = [(a, b) for a, b in itertools.pairwise(ranks) if b - a > 1e-6 * max(abs(a), abs(b))]
    assert len(pairs) > 2000 and all(engines.short(a) > engines.short(b) for a, b in pairs[1:-1])


# Lengths.


def test_lengths_are_stated_allowed_or_learned(proxied):
    one = proxied()
    one.post("a")
    one.post("b", max_tokens=2)
    one.post("c")
    one.post("d", max_tokens=2, vllm_xargs={"predicted": "40", "klass": 3})
    one.post("e", max_completion_tokens=9, max_tokens=2, vllm_xargs={"predicted": -1})
    one.post("f", max_tokens=2, custom_params={"predicted": [30, 20], "predicted_every": 5})
    one.post("g", max_tokens=2, vllm_xargs={"predicted": 40}, headers={"x-llmqueue-predicted": "50"})
    log = one.log(7)
    found = [line["predicted"] for line in log]
    mean = 8 + 0.05 * (2 - 8)
    assert found == pytest.approx([256, 2, mean, 40, 9, 30, 50])
    assert log[3]["class"] == 3 and log[0]["output_tokens"] == 8


def test_nothing_stated_is_listened_to(proxied):
    one = proxied("vllm-priority:by=stated", options=["--ignore-stated"])
    one.post("a", max_tokens=1, priority=-5, headers={"x-llmqueue-predicted": "50"})
    (line,) = one.log(1)
    assert line["rank"] == 0 and line["predicted"] == 1


def test_predictor_of_the_user(proxied, tmp_path):
    """Plain or not; where it fails the request is served all the same."""
    (tmp_path / "mine.py").write_text(
        "async def predict(body):\n    return {'a': 11, 'b': float('nan'), 'c': 'x'}.get(body['prompt'], 1 / 0)\n"
    )
    (tmp_path / "plain.py").write_text("def mine(body):\n    return {'a': 11, 'b': float('nan')}[body['prompt']]\n")
    one = proxied(options=["--predict", f"{tmp_path / 'plain.py'}:mine"])
    for prompt in "abc":
        assert one.post(prompt, path=PATHS[1], prompt=prompt, max_tokens=2).status_code == 200
    assert [line["predicted"] for line in one.log(3)] == [11, 2, 2]
    assert asyncio.iscoroutinefunction(one.modules.serve.function_of(f"{tmp_path / 'mine.py'}:predict"))


def test_prompts_are_counted(proxy_modules):
    lengths, prompt_of = proxy_modules.lengths.Lengths(), proxy_modules.lengths.prompt_of

    def prompt(**body):
        return lengths.prompt(prompt_of(body))

    assert prompt(prompt=list(range(70))) == 70 and prompt(prompt=[[1, 2], [3]]) == 3
    assert prompt(messages=[{"role": "user", "content": "x" * 40}, {"content": [{"text": "y" * 40}]}]) == 20
    assert prompt(input="z" * 8, max_tokens=5) == 2
    for _ in range(200):
        lengths.learn(prompt_of({"prompt": "x" * 100}), ("m", 0), 50, 7)
    assert prompt(prompt="x" * 100) == 50 and lengths.predict({}, {}, ("m", 0)) == pytest.approx(7)
