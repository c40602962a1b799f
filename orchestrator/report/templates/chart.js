"use strict";
// Charts in SVG: axes, lines, marks. All text is set as text, never as markup.
const SHAPES = {
  other: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", front: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
  plain: "M-6,-6h12v12h-12z", "plain tuned": "M0,-7.5L7.2,-2.3L4.4,6.1L-4.4,6.1L-7.2,-2.3z",
  reference: "M0,-8L8,0L0,8L-8,0z",
  recommended: "M0,-11L2.6,-3.6L10.5,-3.4L4.2,1.4L6.5,8.9L0,4.4L-6.5,8.9L-4.2,1.4L-10.5,-3.4L-2.6,-3.6z",
};

const maker = space => (name, attributes = {}, ...children) => {
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const make = maker("http://www.w3.org/2000/svg"), html = maker("http://www.w3.org/1999/xhtml");

function ticks([low, high], about) {
  const rough = (high - low) / about, unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find(n => n * unit >= rough), found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
}

function padded(values, least = 0) {
  const low = Math.min(...values), high = Math.max(...values);
  const margin = Math.max(0.06 * (high - low), (least - high + low) / 2) || 0.01;
  return [low - margin, high + margin];
}

// What was reached so far: level up to each point, then up.
const stairs = points => points.flatMap((point, n) => n ? [[point[0], points[n - 1][1]], point] : [point]);

// An empty chart in `box`, which it fills; `x` and `y` are its limits, in figures;
// along x `xMarks`, pairs of a figure and a text, if they are not the figures of its ticks.
function chart(box, { height, x, y, xMarks, across, up, title, role = "img" }) {
  const width = Math.max(260, box.clientWidth), left = 50, top = 10, right = width - 12;
  const bottom = height - 42;
  const px = value => left + (right - left) * (value - x[0]) / (x[1] - x[0]);
  const py = value => bottom - (bottom - top) * (value - y[0]) / (y[1] - y[0]);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role, "aria-label": title },
    make("title", {}, title));
  const [xs, xPlaces] = ticks(x, width / 90), marks = xMarks || xs.map(value => [value, value.toFixed(xPlaces)]);
  const [ys, yPlaces] = ticks(y, Math.max(4, height / 60));
  for (const [value, text] of marks) svg.append(
    make("line", { class: "grid", x1: px(value), x2: px(value), y1: top, y2: bottom }),
    make("text", { class: "tick", "text-anchor": "middle", x: px(value), y: bottom + 16 }, text));
  for (const value of ys) svg.append(
    make("line", { class: "grid", x1: left, x2: right, y1: py(value), y2: py(value) }),
    make("text", { class: "tick", "text-anchor": "end", x: left - 6, y: py(value) + 4 }, value.toFixed(yPlaces)));
  svg.append(make("text", { class: "tick", "text-anchor": "middle", x: (left + right) / 2, y: height - 8 }, across));
  if (up) svg.append(make("text", { class: "tick", "text-anchor": "middle",
    transform: `translate(12,${(top + bottom) / 2}) rotate(-90)` }, up));
  box.replaceChildren(svg);
  const inside = make("clipPath", { id: box.id + "-inside" }, make("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  svg.append(inside);
  const line = (points, kind) => {
    const path = points.map(([a, b], n) => (n ? "L" : "M") + px(a).toFixed(1) + "," + py(b).toFixed(1)).join("");
    svg.append(make("path", { class: kind, d: path, "clip-path": `url(#${box.id}-inside)` }));
  };
  return { svg, px, py, line, left, right, top, bottom, width };
}

// Women's and men's accuracy along something: a solid line and a dashed one, named at their ends.
function genderCurves(box, xs, women, men, { x, across, title, cuts = [] }) {
  const on = chart(box, { height: 160, x, y: padded([...women, ...men]), across, title });
  for (const cut of cuts) on.svg.append(
    make("line", { class: "cut", x1: on.px(cut), x2: on.px(cut), y1: on.top, y2: on.bottom }));
  on.line(xs.map((at, n) => [at, women[n]]), "curve women");
  on.line(xs.map((at, n) => [at, men[n]]), "curve men");
  if (xs.length === 1) for (const [value, who] of [[women[0], "women"], [men[0], "men"]]) on.svg.append(
    make("circle", { class: "mark " + who, r: 5, cx: on.px(xs[0]), cy: on.py(value) }));
}
