"use strict";
const at = id => document.getElementById(id);
const drop = at("drop"), file = at("file"), picture = at("picture"), answer = at("answer");
let last = null, asked = 0;

function say(text, bad) {
  answer.textContent = text;
  answer.classList.toggle("bad", bad);
}

function draw(told) {
  at("scale").removeAttribute("hidden");
  at("is").setAttribute("width", 100 * told.probability);
  for (const end of ["x1", "x2"]) at("cut").setAttribute(end, 100 * told.threshold);
}

async function ask() {
  if (!last) return;
  const form = new FormData(), headers = {}, mine = ++asked;
  form.append("image", last);
  if (at("gender").value) form.append("gender", at("gender").value);
  if (at("token").value) headers.Authorization = `Bearer ${at("token").value}`;
  at("scale").setAttribute("hidden", "");
  say("…", false);
  try {
    const response = await fetch("predict", { method: "POST", body: form, headers });
    const told = await response.json();
    if (mine !== asked) return;  // another picture was dropped meanwhile
    if (!response.ok) return say(told.error, true);
    const [one] = told.predictions;
    const than = one.label === 1 ? "above" : "not above";
    say(`Probability of class 1: ${one.probability.toFixed(4)}, ${than} the threshold ` +
        `${Number(one.threshold.toPrecision(4))}: label ${one.label}`, false);
    draw(one);
  } catch (error) {
    if (mine === asked) say(`The server does not answer (${error.message})`, true);
  }
}

function show(chosen) {
  if (!chosen) return;
  last = chosen;
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(chosen);
  picture.hidden = false;
  ask();
}

picture.addEventListener("error", () => { picture.hidden = true; });
file.addEventListener("change", () => show(file.files[0]));
at("gender").addEventListener("change", ask);
at("token").addEventListener("change", ask);
for (const name of ["dragover", "drop"]) {
  // Beside the box, too, where the browser would go to the picture.
  document.addEventListener(name, event => event.preventDefault());
}
drop.addEventListener("dragover", () => drop.classList.add("over"));
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", event => {
  drop.classList.remove("over");
  show(event.dataTransfer.files[0]);
});
