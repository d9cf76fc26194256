// Drawings as HTML: places along a track are percentages, so text never shrinks. A number that is not finite is late.
const esc = text => String(text).replace(/[&<>"]/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[c]);
const finite = value => typeof value === "number" && Number.isFinite(value);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const short = value => finite(value) ? String(+value.toPrecision(3)) : "late";
const percent = share => finite(share) ? `${+(100 * share).toFixed(1)}\u00a0%`.replace("-", "\u2212") : "late";

function linear(low, high) {
  return value => 2 + 96 * (clamp(value, low, high) - low) / (high - low || 1);
}

function logarithmic(low, high) {
  const place = linear(Math.log(low), Math.log(high));
  return value => place(Math.log(clamp(value, low, high)));
}

// 1, 2 or 5 times a power of ten; `count` steps or so between the ends.
function ticks(low, high, count = 4) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(n => n * power).find(n => n >= rough * 0.99) ?? 10 * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(+(k * step).toPrecision(12));
  return found;
}

const octaves = (low, high) => [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100]
  .filter((tick, k, all) => (all[k + 1] ?? Infinity) > low && (all[k - 1] ?? 0) < high * 1.01);

// A row for each of {name, look, told, mean, low, high, title}: its interval on a scale that all share.
// Who is late stands where `worst` is.
function intervals(rows, scale, marks, caption, form = short, worst = Infinity) {
  const grid = marks.map(tick => `<line class="${tick === 0 ? "zero" : "grid"}" x1="${scale(tick)}%" x2="${scale(tick)}%" y1="0" y2="22"/>`).join("");
  const drawn = rows.map(row => {
    const bar = finite(row.low) && finite(row.high)
      ? `<line class="${esc(row.told)}" x1="${scale(row.low)}%" x2="${scale(row.high)}%" y1="11" y2="11"/>` : "";
    const dot = `<circle class="${esc(row.told)}" cx="${scale(finite(row.mean) ? row.mean : worst)}%" cy="11" r="4.5"><title>${esc(row.title)}</title></circle>`;
    return `<div class="row ${esc(row.look)}"><span class="name">${row.name}</span><svg height="22" aria-hidden="true">${grid}${bar}${dot}</svg><span class="value">${form(row.mean)}</span></div>`;
  });
  const labels = marks.map(tick => `<text x="${scale(tick)}%" y="12" text-anchor="middle">${form(tick)}</text>`).join("");
  return `${drawn.join("")}<div class="row"><span></span><svg class="axis" height="16" aria-hidden="true">${labels}</svg><span></span></div><p class="caption">${esc(caption)}</p>`;
}

// Points {name, told, x, y} between logarithmic axes; labels go where they cover nothing.
function plane(points, width, height, name) {
  const shown = points.filter(p => finite(p.x) && finite(p.y) && p.x > 0 && p.y > 0);
  if (!shown.length) return "";
  const reach = key => octaves(Math.min(1, ...shown.map(p => p[key])), Math.min(10, Math.max(1, ...shown.map(p => p[key]))));
  const across = reach("x"), up = reach("y");
  const right = logarithmic(across[0], across.at(-1)), rise = logarithmic(up[0], up.at(-1));
  const down = value => height * (1 - rise(value) / 100);
  const look = tick => tick === 1 ? "zero" : "grid";
  const lines = across.map(t => `<line class="${look(t)}" x1="${right(t)}%" x2="${right(t)}%" y1="0" y2="${height}"/>`)
    .concat(up.map(t => `<line class="${look(t)}" x1="0" x2="100%" y1="${down(t)}" y2="${down(t)}"/><text class="tick" x="3" y="${Math.max(down(t) - 3, 12)}">${t}</text>`));
  const dots = shown.map(p => `<circle class="${esc(p.told)}" cx="${right(p.x)}%" cy="${down(p.y)}" r="4.5"><title>${esc(`${p.name}: mean ${short(p.x)}, p99 ${short(p.y)}`)}</title></circle>`);
  const taken = shown.map(p => [right(p.x) * width / 100 - 5, down(p.y) - 5, right(p.x) * width / 100 + 5, down(p.y) + 5]);
  const texts = [];
  for (const p of shown) {
    const x = right(p.x) * width / 100, long = 6.4 * p.name.length;
    for (const [side, lift] of [[1, 0], [-1, 0], [1, 12], [-1, 12], [1, -12], [-1, -12]]) {
      const left = x + (side > 0 ? 8 : -8 - long), y = down(p.y) + lift, box = [left, y - 6, left + long, y + 6];
      const free = taken.every(b => box[0] >= b[2] || b[0] >= box[2] || box[1] >= b[3] || b[1] >= box[3]);
      if (free && box[0] > 22 && box[2] < width && box[1] > 0 && box[3] < height) {
        taken.push(box);
        texts.push(`<text class="label" x="${right(p.x)}%" dx="${side * 8}" y="${y + 4}" text-anchor="${side > 0 ? "start" : "end"}">${esc(p.name)}</text>`);
        break;
      }
    }
  }
  const labels = across.map(t => `<text x="${right(t)}%" y="12" text-anchor="middle">${t}</text>`).join("");
  return `<svg class="plane" height="${height}" role="img" aria-label="${esc(name)}">${lines.join("")}${dots.join("")}${texts.join("")}</svg><svg class="axis" height="16" aria-hidden="true">${labels}</svg>`;
}

// Simulated over exact values {policy, scenario, value, mean, low, high, inside}, minus 1, around a line at 0.
function deviations(checks, height = 220) {
  const points = checks.map(c => ({...c, y: c.mean / c.value - 1, from: c.low / c.value - 1, to: c.high / c.value - 1}));
  const ends = points.map(p => Math.max(-p.from, p.to)).sort((a, b) => a - b);
  const reach = Math.max(0.01, ends[Math.floor(0.97 * (ends.length - 1))]);  // the widest stand at the edge
  const values = points.map(p => p.value), across = octaves(Math.min(...values), Math.max(...values));
  const x = logarithmic(Math.min(...values) / 1.1, Math.max(...values) * 1.1), y = v => height / 2 * (1 - 0.94 * clamp(v / reach, -1, 1));
  const drawn = points.sort((a, b) => b.inside - a.inside).map(p => `<g class="${p.inside ? "met" : "missed"}">
    <line class="stem" x1="${x(p.value)}%" x2="${x(p.value)}%" y1="${y(p.from)}" y2="${y(p.to)}"/><circle cx="${x(p.value)}%" cy="${y(p.y)}" r="${p.inside ? 2 : 3.2}"><title>${esc(`${p.policy}, ${p.scenario}: exact ${short(p.value)}, simulated ${short(p.mean)} (${percent(p.y)})`)}</title></circle></g>`);
  const labels = across.map(t => `<text x="${x(t)}%" y="12" text-anchor="middle">${t}</text>`).join("");
  return `<svg class="cloud" height="${height}" role="img" aria-label="Deviation of each simulated value from the exact one"><line class="zero" x1="0" x2="100%" y1="${height / 2}" y2="${height / 2}"/>${drawn.join("")}</svg><svg class="axis" height="16" aria-hidden="true">${labels}</svg>
    <p class="caption">Simulated over exact, minus 1, with 95 % intervals; the box reaches from ${percent(-reach)} to ${percent(reach)}. Across: the exact value, log scale. Stressed: the interval misses the exact value.</p>`;
}

// Points of a path in a box of 1000 by `height`; `stairs` keeps each value until the next.
function path(points, x, y, stairs = false) {
  let drawn = "";
  points.forEach(([a, b], k) => {
    if (stairs && k) drawn += `H${x(a).toFixed(1)}`;
    drawn += `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`;
  });
  return drawn;
}
