// The front: what is switched, moved or kept draws it anew from the counts in the page.
const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
// A place to draw in, unless it is folded away.
const seen = id => get(id)?.closest("details:not([open])") ? null : get(id);
const state = { kind: "fixed", measure: "share", weight: data.fairLambda, pinned: data.roles.recommended, at: null };
const names = Object.create(null);  // the roles of each trial
for (const [role, id] of Object.entries(data.roles)) (names[id] ||= []).push(role);
const [W0, W1, M0, M1] = data.faces, Z = 1.959963984540054, byId = Object.fromEntries(data.trials.map(trial => [trial.id, trial]));

function figures(trial) {
  const [w0, w1, m0, m1] = trial.right[state.kind];
  const [women, men] = state.measure === "share"
    ? [(w0 + w1) / (W0 + W1), (m0 + m1) / (M0 + M1)]
    : [(w0 / W0 + w1 / W1) / 2, (m0 / M0 + m1 / M1) / 2];
  return { women, men, mean: (women + men) / 2, gap: women - men };
}
const show = value => value.toFixed(3).replace(/^-(?=0\.000$)/, "");  // 0 has no sign
const fair = of => of.mean - state.weight * Math.abs(of.gap);

function wilson(right, n) {
  const share = right / n, centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n);
  const half = Z / (1 + Z * Z / n) * Math.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2);
  return [share, centre - half, centre + half];
}

// The interval of a·women + b·men, from those of both.
function combined(trial, a, b) {
  const [w0, w1, m0, m1] = trial.right[state.kind];
  const parts = [[a, wilson(w0 + w1, W0 + W1)], [b, wilson(m0 + m1, M0 + M1)]];
  const value = parts.reduce((sum, [weight, [share]]) => sum + weight * share, 0);
  const far = end => Math.hypot(...parts.map(([weight, [share, ...ends]]) =>
    weight * (ends[weight > 0 === (end > 0) ? 1 : 0] - share)));
  return [value - far(-1), value + far(1)];
}

// No other has at least the accuracy and at most the gap, and one of both better.
const beats = (a, b) => a.of.mean >= b.of.mean && Math.abs(a.of.gap) <= Math.abs(b.of.gap) &&
  (a.of.mean > b.of.mean || Math.abs(a.of.gap) < Math.abs(b.of.gap));
const onFront = shown => new Set(shown.filter(one => !shown.some(other => beats(other, one))).map(one => one.trial.id));

const settings = trial => Object.entries(trial.params).map(([key, value]) => `${key} ${value}`).join(", ");
const told = ({ trial, of }) => `${[...(names[trial.id] || []), trial.id].join(" = ")} (${trial.recipe}), validation\n` +
  `women ${show(of.women)}, men ${show(of.men)}\ngap ${show(of.gap)}, mean ${show(of.mean)}, ` +
  `fair ${show(fair(of))}\n${settings(trial)}`;

// What lies far off is drawn at the edge, so that it does not squeeze the others.
function within(values, keep) {
  const sorted = [...values].sort((a, b) => a - b), at = share => sorted[Math.round(share * (sorted.length - 1))];
  const [low, high] = [at(0.25), at(0.75)], reach = 2.5 * (high - low);
  return padded([...values.filter(v => v >= low - reach && v <= high + reach), ...keep], 0.02);
}

let shown = [], marks = {};
function draw() {
  const box = seen("plot");
  if (!box) return;
  shown = data.trials.map(trial => ({ trial, of: figures(trial) })).sort((a, b) => a.of.gap - b.of.gap);
  const front = onFront(shown), best = shown.reduce((a, b) => fair(b.of) > fair(a.of) ? b : a);
  const kept = shown.filter(({ trial }) => names[trial.id] || front.has(trial.id) || trial === best.trial);
  const x = within(shown.map(one => one.of.gap), [0, ...kept.map(one => one.of.gap)]);
  const y = within(shown.map(one => one.of.mean), kept.map(one => one.of.mean));
  const on = chart(box, { height: Math.max(340, Math.min(680, box.clientWidth * 0.72)), x, y, role: "group",
    across: innerWidth < 600 ? "women's less men's accuracy" : "← men served better · women's less men's accuracy · women served better →",
    up: "mean of both accuracies", title: "Every trial: mean accuracy against signed gap, on validation" });
  on.svg.append(make("line", { class: "even", x1: on.px(0), x2: on.px(0), y1: on.top, y2: on.bottom }));
  for (const level of ticks([y[0] - state.weight * 0.5 * Math.max(-x[0], x[1]), y[1]], 9)[0]) {
    on.line([x[0], 0, x[1]].map(at => [at, level + state.weight * Math.abs(at)]), "iso");
    if (level > y[0] && level < y[1] - 0.02 * (y[1] - y[0])) on.svg.append(make("text", { class: "tick halo", x: on.px(0) + (on.px(0) > on.right - 70 ? -5 : 5),
      "text-anchor": on.px(0) > on.right - 70 ? "end" : "start", y: on.py(level) + 4 }, `fair ${+level.toFixed(4)}`));
  }
  for (const side of [-1, 1]) {  // the front, on either side of an even treatment
    const line = kept.filter(one => front.has(one.trial.id) && (one.of.gap < 0 ? -1 : 1) === side)
      .sort((a, b) => Math.abs(a.of.gap) - Math.abs(b.of.gap)).map(one => [one.of.gap, one.of.mean]);
    if (line.length > 1) on.line(stairs(line), "stairs");
  }
  const star = shown.find(({ trial }) => trial.id === data.roles.recommended);
  if (star && state.measure === "share") {
    const across = combined(star.trial, 1, -1), up = combined(star.trial, 0.5, 0.5);
    const [cx, cy] = [on.px(star.of.gap), on.py(star.of.mean)], cut = (v, a, b) => Math.min(b, Math.max(a, v));
    const [x1, x2] = across.map(v => cut(on.px(v), on.left, on.right)), [y1, y2] = up.map(v => cut(on.py(v), on.top, on.bottom));
    on.svg.append(make("line", { class: "whisker", x1, x2, y1: cy, y2: cy }), make("line", { class: "whisker", x1: cx, x2: cx, y1, y2 }));
  }
  const order = ({ trial }) => names[trial.id] ? 2 : front.has(trial.id) ? 1 : 0;
  const group = make("g", { role: "group", "aria-label": "trials" });
  marks = {};
  for (const one of [...shown].sort((a, b) => order(a) - order(b))) {
    const { trial, of } = one, kind = names[trial.id] ? names[trial.id][0] : front.has(trial.id) ? "front" : "other";
    const cx = on.px(Math.min(x[1], Math.max(x[0], of.gap))), cy = on.py(Math.min(y[1], Math.max(y[0], of.mean)));
    const mark = make("g", { class: `trial ${kind.replace(" ", "-")}`, transform: `translate(${cx.toFixed(1)},${cy.toFixed(1)})`,
      role: "button", tabindex: "-1", "data-id": trial.id, "aria-label": told(one), "aria-pressed": trial.id === state.pinned },
    make("path", { d: SHAPES[kind] }));
    if (trial.id === state.pinned) mark.classList.add("pinned");
    mark.addEventListener("focus", () => { state.at = trial.id; tip(one); });
    mark.addEventListener("blur", () => tip(null));
    marks[trial.id] = { mark, cx, cy, one };
    group.append(mark);
  }
  on.svg.append(group);
  marks[state.at in marks ? state.at : best.trial.id].mark.setAttribute("tabindex", "0");
  const chosen = marks[best.trial.id], labelled = [];
  on.svg.append(make("circle", { class: "chosen", id: "chosen", cx: chosen.cx, cy: chosen.cy, r: 14, "data-id": best.trial.id }));
  for (const [id, roles] of Object.entries(names)) if (marks[id]) labelled.push({ ...marks[id], text: innerWidth < 600 ? roles[0] : [...roles, id].join(" = ") });
  let last = -Infinity;
  for (const { cx, cy, text } of labelled.sort((a, b) => a.cy - b.cy)) {
    const leftwards = cx > (on.left + on.right) / 2, at = last = Math.max(cy + 4, last + 15);
    on.svg.append(make("text", { class: "halo", "pointer-events": "none", x: cx + (leftwards ? -16 : 16), y: at, "text-anchor": leftwards ? "end" : "start" }, text));
  }
  get("lambda-shown").textContent = state.weight.toFixed(1);
  get("best-shown").textContent = `Best at λ = ${state.weight.toFixed(1)}: ${best.trial.id}, with women ${show(best.of.women)}, men ${show(best.of.men)}, fair ${show(fair(best.of))} on validation.` +
    (best.trial.id === data.roles.recommended ? "" : " It is not the one that is recommended: that was chosen at threshold 0.5 and the run's own λ, and retrained where there were finalists; see How sure it is.");
}

function tip(one) {
  const box = get("tip"), mark = one && marks[one.trial.id].mark.getBoundingClientRect();
  box.style.display = one ? "block" : "none";
  if (!one) return;
  box.textContent = told(one);
  box.style.left = Math.max(8, Math.min(mark.right + 10, innerWidth - box.offsetWidth - 8)) + "px";
  box.style.top = Math.max(8, Math.min(mark.top, innerHeight - box.offsetHeight - 8)) + "px";
}

function nearest(event) {
  const svg = get("plot").firstChild, frame = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / frame.width;
  const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
  const found = Object.values(marks).map(mark => [Math.hypot(mark.cx - x, mark.cy - y), mark.one]).sort((a, b) => a[0] - b[0])[0];
  return found && found[0] < 24 ? found[1] : null;
}

function pin(id) {
  if (!byId[id]) return;
  state.pinned = id;
  for (const [of, { mark }] of Object.entries(marks)) {
    mark.classList.toggle("pinned", of === id);
    mark.setAttribute("aria-pressed", of === id);
  }
  for (const one of document.querySelectorAll("[data-trial]")) one.classList.toggle("lit", one.dataset.trial === id);
  panel(byId[id]);
}
