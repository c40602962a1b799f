// How the search went, and where in its space the good trials are.
function drawCourse() {
  const course = data.course, hours = state.against === "hours";
  for (const name of ["fair", "hypervolume"]) {
    const box = seen("course-" + name);
    if (!box) continue;
    const along = hours ? course.hours : course.trial_ids.map((_, n) => n + 1);
    const points = along.map((at, n) => [at, course[name][n]]).filter(point => point[1] !== null);
    const on = chart(box, { height: 240, x: [0, along[along.length - 1] || 1], y: padded(points.map(point => point[1])),
      across: hours ? "hours of training" : "trials that ended", title: `${name} so far` });
    on.line(stairs(points), "stairs");
  }
}

// Where a value of a parameter is: a number along its axis, NaN where a trial has none.
const along = ({ log, values }, value) => value === undefined ? NaN : values ? values.map(String).indexOf(String(value)) : log ? Math.log10(value) : value;

// The limits of an axis, and what is written along it.
function reach(axis, trials, about) {
  if (axis.values) return [[-0.5, axis.values.length - 0.5], axis.values.map((value, n) => [n, String(value).slice(0, 14)])];
  const limits = padded(trials.map(trial => along(axis, trial.params[axis.name])).filter(Number.isFinite));
  if (!axis.log) {
    const [found, places] = ticks(limits, about);
    return [limits, found.map(at => [at, at.toFixed(places)])];
  }
  const few = limits[1] - limits[0] > 2.5 ? [1] : [1, 3], marks = [];
  for (let power = Math.floor(limits[0]); power <= limits[1]; power++)
    for (const n of few) if (Math.log10(n) + power >= limits[0] && Math.log10(n) + power <= limits[1]) marks.push([Math.log10(n) + power, String(Number(`${n}e${power}`))]);
  return [limits, marks];
}

// The searched trials, the best last, so that they are drawn above the others.
function searched() {
  const all = data.trials.filter(trial => Object.keys(trial.params).length).map(trial => ({ trial, value: fair(figures(trial)) }));
  all.sort((a, b) => a.value - b.value);
  const tenth = all.length - Math.ceil(all.length / 10);
  return all.map((one, n) => ({ ...one, kind: one.trial.id === data.roles.recommended ? "recommended" : n >= tenth ? "good" : "other" }));
}

function drawSlices() {
  const box = seen("slices");
  if (!box) return;
  const all = searched(), y = padded(all.map(one => one.value)), trials = all.map(one => one.trial);
  box.replaceChildren(...data.axes.map((_, n) => html("div", { class: "plot", id: `slice-${n}` })));
  for (const [n, axis] of data.axes.entries()) {
    const [x, xMarks] = reach(axis, trials, 4);
    const on = chart(get(`slice-${n}`), { height: 190, x, xMarks, y, across: axis.name + (axis.log ? " (log)" : ""), title: `Fair metric by ${axis.name}, a mark a trial` });
    for (const { trial, value, kind } of all) {
      const at = along(axis, trial.params[axis.name]);
      if (Number.isFinite(at)) on.svg.append(make("circle", { class: "dot " + kind, "data-trial": trial.id, cx: on.px(at).toFixed(1), cy: on.py(value).toFixed(1), r: kind === "other" ? 3 : 4.5 },
        make("title", {}, `${trial.id}: ${axis.name} ${trial.params[axis.name]}, fair ${show(value)}`)));
    }
  }
}

// Parallel coordinates, lying down: an axis a line, so that any number of them fits any screen.
function drawParallel() {
  const box = seen("parallel");
  if (!box) return;
  const all = searched(), trials = all.map(one => one.trial), width = box.clientWidth, left = 14, right = width - 14, step = 62;
  const y = padded(all.map(one => one.value)), [found, places] = ticks(y, width / 90);
  const rows = data.axes.map(axis => [axis.name + (axis.log ? " (log)" : ""), ...reach(axis, trials, width / 110), ({ trial }) => along(axis, trial.params[axis.name])]);
  rows.push(["fair metric", y, found.map(at => [at, at.toFixed(places)]), one => one.value]);
  const title = "Parallel coordinates: the parameters and the fair metric of every searched trial, a line a trial";
  const svg = make("svg", { viewBox: `0 0 ${width} ${step * rows.length}`, width, height: step * rows.length, role: "img", "aria-label": title }, make("title", {}, title));
  const px = ([low, high], value) => left + (right - left) * (value - low) / (high - low);
  for (const one of all) {
    let path = "";
    for (const [n, [, limits, , at]] of rows.entries()) if (Number.isFinite(at(one)))
      path += (path ? "L" : "M") + px(limits, at(one)).toFixed(1) + "," + (step * n + 34);
    svg.append(make("path", { class: "way " + one.kind, "data-trial": one.trial.id, d: path }, make("title", {}, `${one.trial.id}: ${settings(one.trial)}, fair ${show(one.value)}`)));
  }
  for (const [n, [name, limits, marks]] of rows.entries()) {
    const at = step * n + 34;
    svg.append(make("line", { class: "axis", x1: left, x2: right, y1: at, y2: at }), make("text", { class: "halo", x: 0, y: at - 14 }, name));
    for (const [value, text] of marks) svg.append(make("line", { class: "axis", x1: px(limits, value), x2: px(limits, value), y1: at - 3, y2: at + 3 }),
      make("text", { class: "tick halo", "text-anchor": "middle", x: px(limits, value), y: at + 17 }, text));
  }
  box.replaceChildren(svg);
}
