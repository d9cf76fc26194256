// Two policies side by side on the same jobs.
const SPEEDS = [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16], SECONDS = 45;  // that an episode takes unless told otherwise
const STEPS = 400;  // of the slider
const LINE = 15, SHOWN = 12, LEFT = 4;  // px of a job's row; rows

class Player {
  constructor(root, board) {
    const episode = board.episode, names = board.rows.map(row => row.policy).filter(name => name in episode.runs);
    Object.assign(this, {root, board, episode, time: 0, playing: false, before: null});
    this.recordings = Object.fromEntries(names.map(name => [name, new Recording(episode, episode.runs[name])]));
    this.end = Math.max(...names.map(name => this.recordings[name].end));
    const honest = board.rows.filter(row => names.includes(row.policy) && row.told !== "truth").map(row => row.policy);
    const first = names.includes(board.base) ? board.base : names[0];
    this.chosen = [first, honest.find(name => name !== first) ?? names.find(name => name !== first) ?? first];
    this.speed = SPEEDS.reduce((best, speed) => Math.abs(Math.log(speed * SECONDS * 1000 / this.end)) < Math.abs(Math.log(best * SECONDS * 1000 / this.end)) ? speed : best);
    const told = Object.fromEntries(board.rows.map(row => [row.policy, row.told]));
    this.options = names.map(name => `<option value="${esc(name)}">${esc(name)}${told[name] === "truth" ? " (told the truth)" : ""}</option>`).join("");
    this.layOut();
    this.show();
  }

  layOut() {
    const speeds = SPEEDS.map(s => `<option value="${s}"${s === this.speed ? " selected" : ""}>\u00d7 ${s}</option>`).join("");
    const out = Object.keys(this.episode.left_out);
    this.root.innerHTML = `<h3>Watch two policies</h3><p class="note">${esc(this.episode.note)} One run, a picture and no result.${out.length ? ` Cannot be played here: ${esc(out.join(", "))}.` : ""}</p>
      <ul class="key"><li>${[0, 1, 2, 3, 4].map(k => `<span class="swatch p${k}"></span>`).join("")} short to long, as the policy is told</li>
      <li><svg aria-hidden="true" class="jobs"><rect x="1" y="2" width="10" height="8" fill="none" stroke="var(--faint)"/></svg>told, filled as far as it is served</li>
      <li><svg aria-hidden="true"><rect x="1" y="2" width="10" height="8" fill="none" stroke="var(--second)" stroke-width="2"/></svg>true, known once it has left</li></ul>
      <div class="controls" role="group" aria-label="Player"><button type="button" class="play" aria-pressed="false">Play</button>
      <select class="speed" aria-label="Speed, simulated seconds a second">${speeds}</select>
      <input type="range" min="0" max="${STEPS}" step="1" value="0" aria-label="Time"><output></output></div>
      <div class="stages">${[0, 1].map(side => `<div class="stage"><select class="policy" aria-label="Policy ${side + 1}">${this.options}</select><div class="body"></div></div>`).join("")}</div>`;
    const find = selector => this.root.querySelector(selector);
    Object.assign(this, {button: find(".play"), slider: find("input"), clock: find("output")});
    this.button.addEventListener("click", () => this.toggle());
    find(".speed").addEventListener("change", event => this.speed = +event.target.value);
    this.slider.addEventListener("input", () => { this.time = this.end * this.slider.value / STEPS; this.show(); });
    this.root.addEventListener("keydown", event => {
      if (event.key === " " && !event.target.closest("button, select")) { event.preventDefault(); this.toggle(); }
    });
    this.root.querySelectorAll(".policy").forEach((select, side) => {
      select.value = this.chosen[side];
      select.addEventListener("change", () => { this.chosen[side] = select.value; this.stage(); this.show(); });
    });
    this.stage();
  }

  toggle() {
    if (!this.playing && this.time >= this.end) this.time = 0;
    this.playing = !this.playing;
    this.before = null;
    this.button.textContent = this.playing ? "Pause" : "Play";
    this.button.setAttribute("aria-pressed", this.playing);
    if (this.playing) requestAnimationFrame(now => this.tick(now));
  }

  tick(now) {
    if (!this.playing) return;
    if (this.root.closest(".board").hidden) return this.toggle();
    if (this.before !== null) this.time = Math.min(this.end, this.time + Math.min(now - this.before, 250) * this.speed);
    this.before = now;
    this.show();
    this.time >= this.end ? this.toggle() : requestAnimationFrame(next => this.tick(next));
  }

  // What does not change with time: segments and lines, of which as much is seen as has passed.
  stage() {
    const pair = this.chosen.map(name => this.recordings[name]);
    const lanes = Math.max(...pair.flatMap(r => r.segments.map(s => s.lane))) + 1, high = lanes === 1 ? 24 : clamp(120 / lanes, 3, 15);
    const charts = [["In system", r => r.numbers(), true], ["Mean time from arrival to exit so far, s", r => r.means(), true]];
    if (this.episode.blocks) charts.push(["KV memory, blocks", r => r.memory(), true]);
    const drawn = charts.map(([title, points, stairs]) => ({title, stairs, lines: pair.map(points)}));
    this.root.querySelectorAll(".body").forEach((body, side) => {
      const clip = `clip-${this.root.parentElement.id}-${side}`, own = pair[side];
      const rects = own.segments.map(s => `<rect class="p${own.shade[s.job]}" x="${s.begin}" y="${s.lane * high + 1}" width="${s.end - s.begin}" height="${high - 2}"><title>job ${s.job + 1}</title></rect>`);
      const lines = drawn.map(({title, stairs, lines}, k) => {
        const most = Math.max(...lines.flat().map(p => p[1])), x = t => 1000 * t / this.end, y = v => 4 + 52 * (1 - v / (most || 1));
        return `<div class="chart"><h4>${title}</h4><svg viewBox="0 0 1000 60" height="60" preserveAspectRatio="none" aria-hidden="true"><clipPath id="${clip}-${k}"><rect class="past" data-scale="1000" y="0" height="60" width="0"/></clipPath><g clip-path="url(#${clip}-${k})"><path class="line other" d="${path(lines[1 - side], x, y, stairs)}"/><path class="line own" d="${path(lines[side], x, y, stairs)}"/></g></svg><span class="top">${short(most)}</span></div>`;
      });
      body.innerHTML = `<div class="sum"><span><b class="inside"></b>in system</span><span><b class="gone"></b>have left</span><span><b class="mean"></b>mean time so far</span></div>
        <h4>${lanes === 1 ? "The server" : this.episode.blocks ? "Requests in memory" : "Servers"}</h4>
        <div class="lanes"><svg viewBox="0 0 ${this.end} ${lanes * high}" height="${lanes * high}" preserveAspectRatio="none" aria-hidden="true"><clipPath id="${clip}-lanes"><rect class="past" data-scale="${this.end}" y="0" height="${lanes * high}" width="0"/></clipPath><g clip-path="url(#${clip}-lanes)">${rects.join("")}</g><line class="now" y1="0" y2="${lanes * high}"/></svg></div>
        ${this.episode.blocks ? `<div class="memory"><h4 class="held"></h4><svg viewBox="0 0 ${this.episode.blocks} 18" height="18" preserveAspectRatio="none" role="img" aria-label="KV memory"></svg></div>` : ""}
        <div class="jobs"><h4 class="queue"></h4><svg class="present" height="${SHOWN * LINE}" aria-hidden="true"></svg><h4>Left last: what was told, and the truth</h4><svg class="past-jobs" height="${LEFT * LINE}" aria-hidden="true"></svg></div>
        ${lines.join("")}<p class="caption">Line: this policy; dashed: the other.</p>`;
    });
  }

  show() {
    const {time} = this;
    this.slider.value = STEPS * time / this.end;
    this.slider.setAttribute("aria-valuetext", `${(time / 1000).toFixed(1)} seconds`);
    this.clock.textContent = `${(time / 1000).toFixed(1)} s`;
    this.root.dataset.time = Math.round(time);
    this.root.querySelectorAll(".past").forEach(rect => rect.setAttribute("width", rect.dataset.scale * time / this.end));
    this.root.querySelectorAll(".now").forEach(line => { line.setAttribute("x1", time); line.setAttribute("x2", time); });
    this.root.querySelectorAll(".body").forEach((body, side) => this.showStage(body, this.recordings[this.chosen[side]]));
  }

  showStage(body, recording) {
    const {time} = this, now = recording.at(time), find = name => body.querySelector(`.${name}`), {jobs} = recording;
    find("inside").textContent = now.served.length + now.waiting.length;
    find("gone").textContent = now.left.length;
    find("mean").textContent = now.left.length ? `${(now.mean / 1000).toFixed(2)} s` : "\u2013";
    const most = Math.max(...jobs.predicted, ...this.episode.jobs.size), wide = value => `${(82 * value / most).toFixed(2)}%`;
    const row = (job, k, rest, look = "") => `<text class="${look}" x="30" y="${k * LINE + 11}" text-anchor="end">${job + 1}</text>${rest}`;
    const told = (job, k) => `<rect class="told" x="38" y="${k * LINE + 2.5}" width="${wide(jobs.predicted[job])}" height="${LINE - 5}"/>`;
    const inside = [...now.served.map(s => s.job), ...now.waiting], room = inside.length > SHOWN ? SHOWN - 1 : SHOWN;
    const present = inside.slice(0, room).map((job, k) => row(job, k,
      `<rect class="p${recording.shade[job]}" x="38" y="${k * LINE + 2.5}" width="${wide(recording.age(job, time))}" height="${LINE - 5}"/>${told(job, k)}`, k < now.served.length ? "served" : ""));
    if (inside.length > SHOWN) present.push(`<text x="38" y="${room * LINE + 11}">and ${inside.length - room} more</text>`);
    find("present").innerHTML = present.join("");
    find("queue").textContent = `In system: ${now.served.length} served (bold), ${now.waiting.length} waiting`;
    find("past-jobs").innerHTML = now.left.slice(0, LEFT).map((job, k) => row(job, k,
      `${told(job, k)}<rect class="true" x="38" y="${k * LINE + 4}" width="${wide(jobs.size[job])}" height="${LINE - 8}"/><text x="100%" y="${k * LINE + 11}" text-anchor="end">${((recording.done[job] - jobs.arrival[job]) / 1000).toFixed(2)} s</text>`)).join("");
    if (!this.episode.blocks) return;
    let x = 0;
    const held = now.held.map(({job, blocks}) => `<rect class="p${recording.shade[job]}" x="${(x += blocks) - blocks}" y="0" width="${blocks}" height="18"/>`);
    const rest = Math.max(now.used - x, 0);
    body.querySelector(".memory svg").innerHTML = held.join("") + (rest ? `<rect class="rest" x="${x}" y="0" width="${rest}" height="18"/>` : "");
    find("held").textContent = `KV memory: ${now.used} of ${this.episode.blocks} blocks${rest ? `, ${rest} kept empty` : ""}`;
  }
}
