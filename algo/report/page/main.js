// The page as a whole: the document is shown, and shown again where it
// changes.

// place puts parts into a box. A panel whose content is unchanged is kept.
function place(box, parts) {
  const old = new Map([...box.children].map(e => [e.place, e])); // an element's own property part is something else
  let at = box.firstElementChild;
  for (const [key, of, make] of parts) {
    const was = old.get(key), stamp = JSON.stringify(of);
    old.delete(key);
    if (was && was === at) at = at.nextElementSibling;
    if (was && was.stamp === stamp) {
      if (was.nextElementSibling !== at) box.insertBefore(was, at);
      continue;
    }
    const now = make(was);
    now.place = key;
    now.stamp = stamp;
    const controls = e => [...e.querySelectorAll("input, select, button, a")], focused = was ? controls(was).indexOf(document.activeElement) : -1;
    if (was) was.remove();
    box.insertBefore(now, at);
    const again = controls(now)[focused];
    if (again) again.focus({ preventScroll: true });
    // What was visible is drawn again at once: a chart that is empty for a frame flickers.
    if (was) for (const area of now.querySelectorAll(".area")) area.fit();
  }
  for (const gone of old.values()) gone.remove();
}

const runTitle = r => [el("h2", {}, el("bdi", {}, visible(r.name))), el("p", { class: "dim" }, visible(r.dir))];

// show draws a document {made, runs, overlaps} into a box.
function show(box, data) {
  const names = JSON.stringify(data.runs.map(r => r.name)), alone = data.runs.length === 1;
  if (box.names !== names) {
    box.names = names;
    box.above = el("div", { class: "panels" });
    box.each = data.runs.map(() => el("div", { class: "panels" }));
    if (alone) box.replaceChildren(...runTitle(data.runs[0]), box.each[0]);
    else box.replaceChildren(el("h2", {}, `${data.runs.length} runs`), box.above, el("div", { class: "runs" }, data.runs.map((r, i) => el("div", {}, runTitle(r), box.each[i]))));
  }
  if (!alone) {
    place(box.above, [
      ["runs", data.runs.map(r => [r.name, r.method, r.state, r.curves.map(c => c.y), r.time, r.choice && r.choice.choices]), () => sideBySide(data.runs)],
      data.overlaps ? ["overlap", data.overlaps, () => overlapPanel(data.overlaps)] : null,
      ...courseParts(data.runs),
    ].filter(Boolean));
  }
  data.runs.forEach((r, i) => place(box.each[i], runParts(r, alone)));
}

(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main"), root = document.documentElement;
  document.getElementById("made").textContent = "made " + data.made.slice(0, 16).replace("T", " ") + " UTC";
  const button = document.getElementById("theme"), themes = ["", "dark", "light"];
  let theme = 0;
  const paint = () => { if (themes[theme]) root.dataset.theme = themes[theme]; else delete root.dataset.theme; button.textContent = "theme: " + (themes[theme] || "as the system's"); };
  button.addEventListener("click", () => { theme = (theme + 1) % 3; paint(); });
  paint();
  if (data.live) follow(main, data); // the board's
  else show(main, data);
})();
