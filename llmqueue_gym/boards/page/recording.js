// A recorded run: who is where at a time, in ms. What a job's size is stands open until it has left.
class Recording {
  constructor(episode, run) {
    this.episode = episode;
    this.jobs = {...episode.jobs, predicted: run.predicted ?? episode.jobs.predicted};
    this.done = run.done;
    this.segments = run.segments.map(([job, lane, begin, end], k) => ({job, lane, begin, end, tokens: run.tokens?.[k]}));
    this.end = Math.max(...run.done);
    this.of = run.done.map(() => []);
    this.segments.forEach(segment => this.of[segment.job].push(segment));
    if (run.steps) {
      let clock = 0;
      this.clock = run.steps.map(step => clock += step);
      this.used = run.used;
    }
    const sorted = [...this.jobs.predicted].sort((a, b) => a - b);
    const fifths = [1, 2, 3, 4].map(k => sorted[Math.floor(k * sorted.length / 5)]);
    this.shade = this.jobs.predicted.map(value => fifths.filter(edge => value >= edge).length);
  }

  // The last iteration that has begun; -1 before the first.
  step(time) {
    let low = 0, high = this.clock.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      this.clock[middle] <= time ? low = middle + 1 : high = middle;
    }
    return low - 1;
  }

  // Tokens in the cache of a request after iteration k of a segment.
  cached(segment, k) {
    const [first, before, ...runs] = segment.tokens;
    let total = before, left = Math.max(k - first + 1, 0);
    for (let i = 0; i < runs.length && left > 0; i += 2) {
      const count = Math.min(left, runs[i]);
      total += count * runs[i + 1];
      left -= count;
    }
    return total;
  }

  // Service so far: ms, or output tokens, of which the last of the prompt brings the first.
  age(job, time) {
    const begun = this.of[job].filter(segment => segment.begin <= time);
    if (!this.clock) return begun.reduce((sum, s) => sum + Math.min(time, s.end) - s.begin, 0);
    const k = this.step(time), prompt = this.jobs.prompt[job];
    return Math.max(0, ...begun.map(s => this.cached(s, Math.min(k, this.last(s))) - prompt + 1));
  }

  last(segment) {
    return this.step(segment.end - 1);
  }

  at(time) {
    const inside = this.segments.filter(s => s.begin <= time && time < s.end).sort((a, b) => a.lane - b.lane);
    const k = this.clock ? this.step(time) : -1;
    const served = inside.filter(s => !this.clock || this.cached(s, k) > this.cached(s, k - 1));  // others pause
    const busy = new Set(served.map(s => s.job)), waiting = [], left = [];
    this.done.forEach((end, job) => {
      if (end <= time) left.push(job);
      else if (this.jobs.arrival[job] <= time && !busy.has(job)) waiting.push(job);
    });
    left.sort((a, b) => this.done[b] - this.done[a]);
    return {
      served, waiting, left,
      used: this.clock && inside.length ? this.used[k] : 0,
      held: this.clock ? inside.map(s => ({job: s.job, blocks: Math.ceil(this.cached(s, k) / this.episode.block)})) : [],
      mean: left.reduce((sum, job) => sum + this.done[job] - this.jobs.arrival[job], 0) / left.length,
    };
  }

  // [time, number in system], a point for each change.
  numbers() {
    const changes = [...this.jobs.arrival.map(time => [time, 1]), ...this.done.map(time => [time, -1])];
    let number = 0;
    return [[0, 0], ...changes.sort((a, b) => a[0] - b[0]).map(([time, by]) => [time, number += by])];
  }

  // [time, mean response time in s of those who have left].
  means() {
    let sum = 0;
    return this.done.map((end, job) => [end, end - this.jobs.arrival[job]]).sort((a, b) => a[0] - b[0])
      .map(([time, response], k) => [time, (sum += response) / (k + 1) / 1000]);
  }

  memory() {
    return this.clock.map((time, k) => [time, this.used[k]]);
  }
}
