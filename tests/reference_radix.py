"""SGLang's radix cache and queue orders as lists of tokens and dictionaries: slow, and near the words of its rules."""

import zlib

LONG = 1 << 20  # tokens of a text are numbered from a multiple of this


class Node:
    def __init__(self, key=(), parent=None):
        self.key, self.parent, self.children = list(key), parent, {}
        self.lock = self.time = self.hits = 0


class ReferenceTree:
    """A tree over lists of tokens."""

    def __init__(self, page=1, by_hits=False):
        self.page, self.by_hits, self.now, self.root = page, by_hits, 0, Node()

    def tick(self):
        self.now += 1
        return self.now

    def whole_pages(self, tokens):
        return tokens[: len(tokens) - len(tokens) % self.page]

    def walk(self, tokens, on_node=lambda node, at: None):
        node, at, now = self.root, 0, self.tick()
        while at < len(tokens):
            child = node.children.get(tuple(tokens[at : at + self.page]))
            if child is None:
                break
            child.time = now
            same = 0
            for ours, theirs in zip(child.key, tokens[at:], strict=False):
                if ours != theirs:
                    break
                same += 1
            same -= same % self.page
            at += same
            node = child if same == len(child.key) else self.split(child, same)
            on_node(node, at)
            if node is not child:
                break
        return node, at

    def split(self, node, tokens):
        upper = Node(node.key[:tokens], node.parent)
        upper.lock, upper.hits, upper.time = node.lock, node.hits, self.tick()
        node.parent.children[tuple(node.key[: self.page])] = upper
        node.key, node.parent = node.key[tokens:], upper
        upper.children[tuple(node.key[: self.page])] = node
        return upper

    def match(self, tokens):
        tokens = self.whole_pages(tokens)
        if not tokens:
            return 0, self.root
        node, at = self.walk(tokens)
        return at, node

    def insert(self, tokens, known=0):
        tokens = self.whole_pages(tokens)

        def hit(node, at):
            node.hits += at > known

        node, at = self.walk(tokens, hit)
        if at < len(tokens):
            leaf = Node(tokens[at:], node)
            leaf.time = self.tick()
            hit(leaf, len(tokens))
            node.children[tuple(leaf.key[: self.page])] = leaf
        return len(tokens), at

    def lock(self, node, by):
        while node is not self.root:
            node.lock += by
            node = node.parent

    def nodes(self):
        found, stack = [], list(self.root.children.values())
        while stack:
            node = stack.pop()
            found.append(node)
            stack += node.children.values()
        return found

    def leaves(self):
        return [node for node in self.nodes() if not node.lock and not node.children]

    def tokens(self, locked):
        return sum(len(node.key) for node in self.nodes() if (node.lock > 0) == locked)

    def evict(self, tokens):
        removed = 0
        while removed < tokens and (leaves := self.leaves()):
            leaf = min(leaves, key=lambda node: (node.hits if self.by_hits else 0, node.time))
            del leaf.parent.children[tuple(leaf.key[: self.page])]
            removed += len(leaf.key)
        return removed


class ReferenceOrder:
    """The policy: a list of requests, put in order in place; a request is a dict."""

    def __init__(self, tree, policy, by_priority=False, low_first=False):
        self.tree, self.policy, self.by_priority, self.sign = tree, policy, by_priority, 1 if low_first else -1
        self.calls = 0

    def __call__(self, queue):
        """Put a queue in order; returns the requests held back, or None where none was looked up."""
        if self.policy == "dfs-weight" or (self.policy == "lpm" and len(queue) <= 128):
            held = self.look(queue)
            if self.policy == "lpm":
                queue.sort(key=lambda one: 1 if one["id"] in held else -one["matched"])
            else:
                queue[:] = self.depth_first(self.tree.root, queue)
            return held
        urgency = (lambda one: one["priority"] * self.sign) if self.by_priority else (lambda one: 0)
        if self.policy == "lof":
            queue.sort(key=lambda one: (urgency(one), -one["output"]))
        elif self.policy == "fcfs" and self.by_priority:
            queue.sort(key=lambda one: (urgency(one), one["number"]))
        if not self.tree.by_hits:
            if self.calls % 32 == 0:
                for one in reversed(queue[:128]):
                    self.tree.match(one["tokens"])
            self.calls += 1
        return None

    def look(self, queue):
        probe, held = ReferenceTree(), set()
        for one in queue:
            length, one["last"] = self.tree.match(one["tokens"])
            one["matched"] = min(length, len(one["tokens"]) - 1)
            if length <= 32:
                if probe.match(one["tokens"])[0] >= 32:
                    held.add(one["id"])
                else:
                    probe.insert(one["tokens"])
        return held

    def weight(self, node, queue):
        return sum(one["last"] is node for one in queue) + sum(
            self.weight(child, queue) for child in node.children.values()
        )

    def depth_first(self, node, queue):
        ordered = []
        for child in sorted(node.children.values(), key=lambda child: -self.weight(child, queue)):
            ordered += self.depth_first(child, queue)
        return ordered + [one for one in queue if one["last"] is node]


def crc(numbers):
    return zlib.crc32(",".join(map(str, numbers)).encode())


def reference_steps(config, requests):
    """Return the lines of the steps of a log for its configuration and the lines of its requests."""
    tree = ReferenceTree(config["page_size"], config["eviction"] == "lfu")
    order = ReferenceOrder(tree, config["policy"], config["priority_scheduling"], config["low_first"])
    coming = []
    for number, (_, name, arrival, pieces, output, priority) in enumerate(requests):
        tokens = [text * LONG + start + k for text, start, length in pieces for k in range(length)]
        written = [(65536 + name) * LONG + k for k in range(output)]
        one = {"id": name, "number": number, "arrival": arrival, "output": output, "priority": priority, "matched": 0}
        coming.append(one | {"tokens": tokens, "all": tokens + written[:-1], "made": 0})
    free, queue, running, steps = config["capacity"], [], [], []
    while coming or queue or running:
        while coming and coming[0]["arrival"] <= len(steps):
            queue.append(coming.pop(0))
        told, held = [None] * 4, None
        if queue:
            held = order(queue)
            ids = [one["id"] for one in queue]
            told = [len(queue), ids[:24], crc(ids), crc([one["matched"] for one in queue])]
        admissions, prompts, finals, admitted, budget = [], [], [], [], config["max_prefill_tokens"]
        for one in list(queue):
            if len(running) + len(admitted) >= config["max_running"] or budget <= 0:
                break
            one["matched"], node = tree.match(one["tokens"][:-1])
            need = len(one["tokens"]) - one["matched"]
            if admitted and need > budget:
                break
            tree.lock(node, 1)
            want = need + one["output"]
            if free + tree.tokens(locked=False) < want:
                tree.lock(node, -1)
                admissions.append([one["id"], one["matched"], -1, 0])
                break
            ask = max(0, want - free)
            evicted = tree.evict(ask)
            free += evicted - want
            budget -= need
            admissions.append([one["id"], one["matched"], ask, evicted])
            one |= {"node": node, "want": want}
            admitted.append(one)
        queue = queue[len(admitted) :]
        for one in admitted:
            length, known = tree.insert(one["tokens"])
            twice = max(0, known - one["matched"])
            free += twice
            _, node = tree.match(one["tokens"][:length])
            tree.lock(one["node"], -1)
            tree.lock(node, 1)
            prompts.append([one["id"], length, known])
            one |= {"node": node, "inserted": length}
            one["held"] = one["want"] - twice - (length - max(known, one["matched"]))
        running += admitted
        for one in running:
            one["made"] += config["decode_per_step"]
            if one["made"] >= one["output"]:
                length, known = tree.insert(one["all"], one["inserted"])
                free += one["held"] - (length - known)
                tree.lock(one["node"], -1)
                finals.append([one["id"], length, known])
        running = [one for one in running if one["made"] < one["output"]]
        state = [free, tree.tokens(locked=False), tree.tokens(locked=True), len(tree.leaves())]
        more = [] if held is None else [sorted(held)]
        steps.append(["step", len(steps), *told, admissions, prompts, finals, *more, state])
    return steps
