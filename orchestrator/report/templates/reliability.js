// Reliability by gender: the share of class 1 by probability; what few faces say is drawn as unsure.
function drawReliability() {
  for (const [who, bins] of Object.entries(data.reliability)) {
    const box = seen("reliability-" + who);
    if (!box) continue;
    const on = chart(box, { height: 300, x: [0, 1], y: [-0.12, 1.02], across: `probability of class 1, ${who}`, up: "share of class 1",
      title: `Reliability for ${who}: ` + bins.map(([n, p, share]) => `${share.toFixed(2)} of ${n} faces at ${p.toFixed(2)}`).join("; ") });
    on.line([[0, 0], [1, 1]], "even");
    for (const [n, p, share, low, high] of bins) {
      const sure = n >= data.few, x = on.px(p), kind = `${who}${sure ? "" : " unsure"}`;
      const shape = who === "women" ? make("circle", { r: 5.5 }) : make("path", { d: "M0,-6.5L6.5,0L0,6.5L-6.5,0z" });
      if (sure) on.svg.append(make("line", { class: "bar " + who, x1: x, x2: x, y1: on.py(low), y2: on.py(high) }));
      on.svg.append(make("g", { class: "mark " + kind, transform: `translate(${x.toFixed(1)},${on.py(share).toFixed(1)})` }, shape),
        make("text", { class: "tick halo", "text-anchor": "middle", x, y: on.bottom - 5 }, n < 10000 ? String(n) : `${Math.round(n / 1000)}k`));
    }
  }
}
