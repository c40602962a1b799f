// Beside the front: the trial that is kept. And the page's own manners.
const row = (head, ...cells) =>
  html("tr", {}, html("th", { scope: "row", class: "left" }, head), ...cells.map(cell => html("td", {}, cell)));

const table = (heads, rows) => html("table", {},
  html("thead", {}, html("tr", {}, ...heads.map(name => html("th", { scope: "col" }, name)))), html("tbody", {}, ...rows));

function panel(trial) {
  const of = figures(trial), right = trial.right[state.kind], [women, men] = trial.thresholds[state.kind];
  const labelled = (n, k) => [right[n], data.faces[n] - right[n]][k];
  const confusion = ["women of class 0", "women of class 1", "men of class 0", "men of class 1"].map((name, n) => row(name, String(labelled(n, n % 2)), String(labelled(n, 1 - n % 2)),
    data.faces[n] ? (right[n] / data.faces[n]).toFixed(3) : "none"));
  const ends = k => wilson(right[k] + right[k + 1], data.faces[k] + data.faces[k + 1]).slice(1).map(v => v.toFixed(3)).join(" to ");
  const learning = html("div", { class: "plot", id: "learning" }), cuts = html("div", { class: "plot", id: "cuts" });
  const params = html("dl");
  for (const [key, value] of Object.entries(trial.params)) params.append(html("dt", {}, key), html("dd", {}, String(value)));
  get("panel").replaceChildren(
    html("h3", {}, [...(names[trial.id] || []), trial.id].join(" = ")),
    html("p", { class: "note" }, `${trial.recipe}; all of it on validation faces, at threshold ${women === men ? women.toFixed(3) : `${women.toFixed(3)} for women, ${men.toFixed(3)} for men`}`),
    table(["", "women", "men"], [
      row("accuracy", show(of.women), show(of.men)),
      ...(state.measure === "share" ? [row("95%", ends(0), ends(2))] : []),
      row("gap, fair", show(of.gap), show(fair(of)))]),
    table(["", "labelled 0", "labelled 1", "right"], confusion),
    html("h3", {}, "Accuracy by epoch"), learning,
    html("h3", {}, "Accuracy by threshold"), cuts,
    html("p", { class: "note" }, "Women: solid line; men: dashed. The upright dotted lines are the epoch that was kept and the thresholds in use."),
    html("h3", {}, "Parameters"), Object.keys(trial.params).length ? params : html("p", { class: "note" }, "none was searched"));
  const byEpoch = trial.epochs.map(values => values.map(value => value / data.steps));
  if (byEpoch[0].length) genderCurves(learning, byEpoch[0].map((_, n) => n + 1), ...byEpoch,
    { x: [0.5, byEpoch[0].length + 0.5], across: "epoch", title: `Accuracy of ${trial.id} by epoch, of women and men`, cuts: trial.kept ? [trial.kept] : [] });
  genderCurves(cuts, data.grid, trial.cuts[0].map(n => n / (W0 + W1)), trial.cuts[1].map(n => n / (M0 + M1)),
    { x: [0, 1], across: "threshold", title: `Accuracy of ${trial.id} by threshold, of women and men`, cuts: [...new Set([women, men])] });
}

function drawAll() {
  draw();
  for (const part of [drawCourse, drawSlices, drawParallel, drawReliability]) part();
  if (seen("plot")) pin(state.pinned);
  for (const frame of document.querySelectorAll(".scroll")) frame.classList.toggle("more", frame.scrollWidth > frame.clientWidth + 2);
}

if (data.trials.length) {
  Object.assign(get("lambda"), { max: Math.max(5, 2 * state.weight), value: state.weight });
  get("lambda").addEventListener("input", event => { state.weight = Number(event.target.value); drawAll(); });
  if (![W0, W1, M0, M1].every(n => n > 0)) get("measures").hidden = true;
  for (const input of document.querySelectorAll("input[type=radio]"))
    input.addEventListener("change", () => { state[input.name] = input.value; drawAll(); });
  const plot = get("plot");
  for (const id of ["slices", "parallel"]) get(id)?.addEventListener("click", event => pin(event.target.dataset.trial));
  plot.addEventListener("pointermove", event => tip(nearest(event)));
  plot.addEventListener("pointerleave", () => tip(null));
  plot.addEventListener("click", event => { const one = nearest(event); if (one) pin(one.trial.id); });
  plot.addEventListener("keydown", event => {
    const now = shown.findIndex(one => one.trial.id === state.at), last = shown.length - 1;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      for (const { mark } of Object.values(marks)) mark.setAttribute("tabindex", "-1");
      const next = marks[shown[Math.max(0, Math.min(last, to))].trial.id].mark;
      next.setAttribute("tabindex", "0");
      next.focus();
    } else if (event.key === "Enter" || event.key === " ") pin(state.at);
    else return;
    event.preventDefault();
  });
  for (const key of document.querySelectorAll(".keys li")) {
    const kind = key.dataset.shape, mark = kind === "chosen" ? make("circle", { class: "chosen", r: 9 })
      : make("g", { class: `trial ${kind.replace(" ", "-")}` }, make("path", { d: SHAPES[kind] }));
    key.prepend(make("svg", { width: 26, height: 22, viewBox: "-13 -11 26 22", "aria-hidden": "true" }, mark));
  }
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", drawAll);
  let width = innerWidth;  // a telephone hides its bars as it scrolls
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
}
const closed = [];  // what is folded is printed, too, and folded again
addEventListener("beforeprint", () => {
  closed.push(...document.querySelectorAll("details:not([open])"));
  for (const fold of closed) fold.open = true;
  drawAll();
});
addEventListener("afterprint", () => { for (const fold of closed.splice(0)) fold.open = false; });
drawAll();
