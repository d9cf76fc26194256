// Tabs, the numbers of a policy, a scenario under all policies, learning curves.
const BOARDS = JSON.parse(document.getElementById("data").textContent);
const COST = 0, LOW = 1, HIGH = 2, SCORE = 3, P99 = 4, LEAD = 5, LEAD_LOW = 6, LEAD_HIGH = 7, BESIDE = 8;  // of a scenario

const tabs = [...document.querySelectorAll("nav.tabs a")];
function choose() {
  const chosen = tabs.find(tab => tab.hash === location.hash) ?? tabs[0];
  for (const tab of tabs) {
    tab === chosen ? tab.setAttribute("aria-current", "page") : tab.removeAttribute("aria-current");
    document.querySelector(tab.hash).hidden = tab !== chosen;
  }
  const board = document.querySelector(chosen.hash);
  if (!board.dataset.drawn) draw(board);
}

function draw(section) {
  section.dataset.drawn = "yes";
  const board = BOARDS[section.id];
  section.querySelectorAll("table.sortable").forEach(sortable);
  section.querySelectorAll("button.open").forEach(button =>
    button.addEventListener("click", () => openPolicy(section, board, button.dataset.policy)));
  drawScenarios(section.querySelector(".scenarios"), board);
  const curves = section.querySelector(".curves"), player = section.querySelector(".player");
  const exact = section.querySelector(".exact");
  if (exact && board.exact.length) exact.innerHTML = deviations(board.exact);
  if (curves) drawCurves(curves, board.curves);
  if (player) new Player(player, board);
}

// A policy in every scenario.
function openPolicy(section, board, name) {
  const row = board.rows.find(row => row.policy === name), dialog = document.querySelector("dialog");
  const leads = row.scenarios.flatMap(a => [a[LEAD], a[LEAD_LOW], a[LEAD_HIGH]]).filter(finite);
  const least = Math.max(-1, Math.min(-0.01, ...leads)), most = Math.max(0.01, ...leads);  // who is worse stands at the edge
  const scale = linear(least, most), marks = ticks(least, most);
  const plot = board.scenarios.map((scenario, k) => {
    const a = row.scenarios[k];
    return {name: `<button type="button" class="open" data-scenario="${k}">${esc(scenario)}</button>`, told: row.told, look: "lead", mean: a[LEAD], low: a[LEAD_LOW], high: a[LEAD_HIGH], title: scenario};
  });
  const cells = board.scenarios.map((scenario, k) => {
    const a = row.scenarios[k];
    const between = finite(a[LOW]) ? `${short(a[LOW])} to ${short(a[HIGH])}` : "";
    const numbers = [short(a[COST]), between, finite(a[SCORE]) ? a[SCORE].toFixed(3) : "", finite(a[P99]) ? a[P99].toFixed(2) : "", ...a.slice(BESIDE).map(value => finite(value) ? value.toFixed(2) : value === "Infinity" ? "late" : "")];
    return `<tr><td>${esc(scenario)}</td>${numbers.map(text => `<td class="n">${text}</td>`).join("")}</tr>`;
  });
  dialog.innerHTML = `<form method="dialog"><button class="play">Close</button></form>
    <h3 id="detail-title">${esc(name)}</h3><p class="meta">${esc(row.description)}</p>
    ${row.command ? `<p class="meta">Made by <code>${esc(row.command)}</code></p>` : ""}
    <h4>Lead over ${esc(board.best)}, the best made by hand</h4>
    <div class="leads">${intervals(plot, scale, marks, "Share by which the cost is less, on the same jobs, with 95 % intervals over seeds. To the right is better; what is worse than \u2212100 % stands at the edge. Choose a scenario to see everybody in it.", percent, -Infinity)}</div>
    <div class="scroll" tabindex="0" role="region" aria-label="Numbers by scenario"><table class="wrap"><thead><tr><th>scenario</th><th class="n wraps">${esc(board.cost)}</th><th class="n wraps">95 %</th><th class="n wraps">score</th><th class="n wraps">p99 / ${esc(board.base)}</th>${board.shown.map(head => `<th class="n wraps">${esc(head)}</th>`).join("")}</tr></thead><tbody>${cells.join("")}</tbody></table></div>`;
  dialog.querySelectorAll("button[data-scenario]").forEach(button => button.addEventListener("click", () => {
    const select = section.querySelector(".scenarios select");
    dialog.close();
    select.value = button.dataset.scenario;
    select.dispatchEvent(new Event("change"));
    select.scrollIntoView({block: "center"});
    select.focus();
  }));
  dialog.showModal();
  dialog.scrollTop = 0;
}

document.querySelector("dialog").addEventListener("click", event => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});

// A scenario under every policy.
function drawScenarios(place, board) {
  place.innerHTML = `<h3>Scenario by scenario</h3><label>Scenario <select>${board.scenarios.map((name, k) => `<option value="${k}">${esc(name)}</option>`).join("")}</select></label>
    <label>Shown <select class="measure"><option value="cost">${esc(board.cost)}</option><option value="lead">lead over ${esc(board.best)}, the best made by hand</option></select></label>
    <div class="pair"><div class="costs"></div><div class="means"></div></div>`;
  const [select, measure] = place.querySelectorAll("select"), costs = place.querySelector(".costs"), means = place.querySelector(".means");
  const base = board.rows.find(row => row.policy === board.base);
  const words = row => ({name: esc(row.policy), told: row.told, look: row.told + (row.policy === board.best ? " chosen" : "")});
  function showLeads(k) {
    const rows = board.rows.map(row => ({...words(row), mean: finite(row.scenarios[k][LEAD]) ? row.scenarios[k][LEAD] : -Infinity, low: row.scenarios[k][LEAD_LOW], high: row.scenarios[k][LEAD_HIGH], title: `${row.policy}: ${percent(row.scenarios[k][LEAD])}`}))
      .sort((a, b) => b.mean - a.mean);
    const ends = rows.flatMap(row => [row.mean, row.low, row.high]).filter(finite);
    const low = Math.max(-0.3, Math.min(-0.01, ...ends)), high = Math.max(0.01, ...ends);
    costs.innerHTML = intervals(rows, linear(low, high), ticks(low, high), `Share by which the cost is less than that of ${board.best} on the same jobs, with 95 % intervals over seeds; who is far worse stands at the edge.`, percent, -Infinity);
  }
  function showCosts(k) {
    const rows = board.rows.filter(row => finite(row.scenarios[k][COST]));
    const cost = row => finite(row.scenarios[k][COST]) ? row.scenarios[k][COST] : Number.MAX_VALUE;
    const sorted = [...board.rows].sort((a, b) => cost(a) - cost(b));
    const most = 1.5 * base.scenarios[k][COST];  // who is worse stands at the edge
    const high = Math.min(most, Math.max(...rows.map(row => row.scenarios[k][HIGH] ?? row.scenarios[k][COST])));
    const low = Math.min(...rows.map(row => row.scenarios[k][LOW] ?? row.scenarios[k][COST]));
    const scale = linear(low, high);
    const shown = sorted.map(row => {
      const [mean, from, to] = row.scenarios[k];
      return {...words(row), mean, low: from, high: to, title: `${row.policy}: ${short(mean)} (${short(from)} to ${short(to)})`};
    });
    costs.innerHTML = intervals(shown, scale, ticks(low, high), `${board.cost}, with 95 % intervals over seeds; less is better, and who is far worse stands at the edge. Policies meet the same jobs, so leads are surer than these intervals look.`);
  }
  function show() {
    const k = +select.value;
    (measure.value === "lead" ? showLeads : showCosts)(k);
    const spots = board.rows.map(row => ({name: row.policy, told: row.told, x: row.scenarios[k][COST] / base.scenarios[k][COST], y: row.scenarios[k][P99]}));
    means.innerHTML = plane(spots, means.clientWidth, 340, "Mean against 99th percentile of every policy") +
      `<p class="caption">Across: ${esc(board.cost.split(",")[0])} over that of ${esc(board.base)}. Up: 99th percentile over that of ${esc(board.base)}. Below and left is better; who is far worse stands at the edge.</p>`;
  }
  select.addEventListener("change", show);
  measure.addEventListener("change", show);
  show();
}

// Learning curves.
function drawCurves(place, curves) {
  const height = 120;
  place.innerHTML = `<h3>How the trained ones got there</h3><div class="curve-list">${curves.map(curve => {
    const xs = curve.points.map(p => p[0]), ys = curve.points.map(p => p[1]);
    const [x0, x1, y0, y1] = [Math.min(0, ...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const x = v => 1000 * (v - x0) / (x1 - x0 || 1), y = v => y1 === y0 ? height / 2 : 8 + (height - 16) * (1 - (v - y0) / (y1 - y0));
    return `<div class="curve"><h4>${esc(curve.policy)}</h4><div class="ends"><span>${esc(curve.up)}, ${short(y0)} to ${short(y1)}; last ${short(ys.at(-1))}</span></div>
      <svg viewBox="0 0 1000 ${height}" height="${height}" preserveAspectRatio="none" role="img" aria-label="Learning curve of ${esc(curve.policy)}"><path class="line own" d="${path(curve.points, x, y)}"/></svg>
      <div class="ends"><span>${short(x0)}</span><span>${esc(curve.across)}</span><span>${xs.at(-1).toLocaleString("en")}</span></div></div>`;
  }).join("")}</div><p class="note">From the cards of the policies, on seeds of training.</p>`;
}

addEventListener("DOMContentLoaded", () => {
  if (!tabs.length) return;
  choose();
  addEventListener("hashchange", () => { choose(); scrollTo(0, 0); });
});
