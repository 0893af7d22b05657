// The panels of a run, and those above several runs.

function panel(title, name, children, wide) {
  return el("section", { class: wide ? "wide" : undefined, "data-panel": name }, el("h3", {}, title), children);
}

const note = text => el("p", { class: "note" }, text);

function shortPanel(run) {
  const verdict = { fits: "good", tight: "warn", "too much": "bad" };
  const say = [el("p", {}, el("strong", {}, run.state))];
  if (run.time) say.push(el("p", {}, "Time: " + run.time.words + "."));
  if (run.memory) say.push(el("p", {}, "Memory: ", el("span", { class: verdict[run.memory.verdict] }, run.memory.words), "."));
  for (const n of run.notes || []) say.push(el("p", { class: "warn" }, visible(n)));
  say.push(el("table", { class: "facts" }, run.facts.map(([k, v]) => el("tr", {}, el("th", {}, k), el("td", {}, visible(v))))));
  return panel("Summary", "short", say);
}

const titles = { loss: "Loss", learning_rate: "Learning rate", tokens_per_second: "Tokens per second while training", grad_norm: "Gradient norm" };

// Parts are panels in their order: a key, what the panel shows, and how it is made from
// its predecessor, which it replaces where what it shows has changed.

// courseParts are a picture for every kind of curve; several runs share one.
function courseParts(runs) {
  const first = Object.keys(titles), place = k => (first.includes(k) ? first.indexOf(k) : first.length);
  const kinds = [...new Set(runs.flatMap(r => r.curves.map(c => c.panel)))].sort((a, b) => place(a) - place(b));
  return kinds.map(kind => {
    const same = new Set(runs.flatMap(r => r.curves.filter(c => c.panel === kind).map(c => c.name))).size === 1;
    const curves = runs.flatMap(r => r.curves.filter(c => c.panel === kind).map(c => ({ ...c, name: runs.length === 1 ? c.name : same ? r.name : `${r.name}: ${c.name}` })));
    return ["curve " + kind, curves, () => panel(titles[kind] || kind, "curve " + kind, [lines(curves, { zero: kind === "tokens_per_second" })])];
  });
}

function selectionsPanel(c) {
  const head = ["step", "update", "rows", "different", "as before", "new", "dropped", "seconds"];
  const list = c.selections.map((s, i) => [s.step, s.update, s.rows, s.distinct, i ? `${s.overlap} (${share(s.overlap, s.distinct)})` : "–", `${s.new} (${share(s.new, s.distinct)})`, i ? s.dropped : "–", s.reused ? "from disk" : s.seconds ? num(s.seconds) : "–"].map(String));
  return panel("Each selection", "selections", [el("div", { class: "beside" }, el("div", {},
    el("p", {}, `${c.choices} choices of ${c.distinct} different rows` + (c.of ? `, of ${c.of} (${share(c.distinct, c.of)})` : "") + "."),
    table(head, list, head.map(() => true)),
    note("As before: also in the selection just before. New: in none before. Dropped: in the one before and not in this."),
    el("p", {}, "How often a row was chosen: " + c.times.map(([n, rows]) => `${n}× ${rows} rows`).join(", ") + ".")),
    c.drift.steps.length > 1 ? driftPart(c.drift) : null)], true);
}

function driftPart(d) {
  const cell = v => {
    const td = el("td", { title: num(v) }, v.toFixed(2).replace(/^0/, ""));
    td.style.background = `color-mix(in srgb, var(--c0) ${Math.round(70 * v)}%, transparent)`;
    return td;
  };
  return el("div", { "data-panel": "drift" }, el("h3", {}, "Similarity of the selections"),
    el("div", { class: "scroll", tabindex: "0" }, el("table", { class: "matrix" },
      el("tr", {}, el("th", {}, "step"), d.steps.map(s => el("th", {}, String(s)))),
      d.jaccard.map((r, i) => el("tr", {}, el("th", {}, String(d.steps[i])), r.map(cell))))),
    note("Jaccard index: rows in both selections, of the rows in either. 1: the same rows." + (d.of ? ` ${d.steps.length} of ${d.of} selections, spread evenly.` : "")));
}

function orderPanel(c) {
  return panel("The order of the rows", "order", [lines([c.order]), note("Score of the rows" + (c.metric ? `, ${visible(c.metric)},` : "") + " over the steps in which they are trained on: the pattern. Where there are many rows, a point is the mean of a stretch of them.")]);
}

function scoresPanel(c) {
  const have = c.selections.filter(s => s.histogram);
  if (!have.length) return panel("Scores of all rows", "scores", [note("This run has no scores of the rows that were not chosen: the method scores only what it chooses, or its selections were found on disk.")]);
  return panel("Scores of all rows" + (c.metric ? `: ${visible(c.metric)}` : ""), "scores", [
    el("div", { class: "minis" }, have.map(s => el("figure", {}, el("figcaption", {}, `step ${s.step}: ${s.histogram.all.reduce((a, b) => a + b, 0)} rows, ${s.histogram.chosen.reduce((a, b) => a + b, 0)} chosen` + (s.unscored ? `, ${s.unscored} without a score` : "")), histogram(s.histogram, 130)))),
    el("ul", { class: "legend" }, [["fall", "all rows"], ["f1", "chosen"]].map(([k, t]) => el("li", {}, svg("svg", { width: 14, height: 10 }, svg("rect", { width: 14, height: 10, class: k })), t))),
    note("Rows by score; heights are logarithmic." + (have.length < c.selections.length ? ` ${have.length} of ${c.selections.length} selections, spread evenly over those that scored all rows.` : "")),
  ], have.length > 2);
}

function sharesPanel(c) {
  const sum = a => a.reduce((x, y) => x + y, 0);
  return panel("Who was chosen", "shares", [
    ...c.shares.filter(s => s.names.length).map(s => {
      const all = sum(s.all), chosen = sum(s.chosen), last = sum(s.last);
      return el("div", { "data-share": s.kind }, el("p", {}, el("strong", {}, "By " + s.kind), s.note ? el("span", { class: "dim" }, ` (${s.note})`) : null),
        bars(s.names, s.all.map(v => v / Math.max(all, 1)), s.chosen.map(v => v / Math.max(chosen, 1)),
          i => `${share(s.all[i], all)} → ${share(s.chosen[i], chosen)}; last ${share(s.last[i], last)}`));
    }),
    note("Grey, before the arrow: share of all rows. Orange, after it: share of all choices. Last: share of the last selection's choices."),
  ]);
}

function duplicatesPanel(groups) {
  return panel("Duplicates among the chosen", "duplicates", [
    table(["group", "rows", "text"], groups.map((g, i) => [String(i + 1), g.rows.map(r => `${visible(r.dataset)} ${r.row}`).join(", ") + (g.more ? ` and ${g.more} more` : ""), el("bdi", {}, visible(g.text))])),
    note("Different rows whose prompt and answer are the same up to white space and case."),
  ]);
}

function mixtureParts(m) {
  const shares = () => panel("Shares of the data sets", "mixture shares", [lines(m.shares, { zero: true, steps: true, label: v => (100 * v).toFixed(1) + " %" })]);
  const weights = () => panel("Weights of the data sets in the loss", "mixture weights", [lines(m.weights, { zero: true, steps: true })]);
  const losses = () => panel("Loss of every data set", "mixture losses", [lines(m.losses), note("Mean over the tokens trained on since the point before.")]);
  return [["mixture shares", m.shares, shares], m.weights && m.weights.length ? ["mixture weights", m.weights, weights] : null, m.losses.length ? ["mixture losses", m.losses, losses] : null];
}

function weightsParts(w) {
  const extremes = rows => table(["weight", "loss", "step", "row"], rows.map(r => [num(r.weight), num(r.loss), String(r.step), `${visible(r.dataset)} row ${r.row}`]), [true, true, true, false]);
  const all = () => panel("Weights of the rows", "weights", [histogram({ low: 0, high: w.bins.length * w.width, all: w.bins }, 180), note(`${w.rows} weighed rows, including repeats. An unweighted row has weight 1; the last bar is ${num((w.bins.length - 1) * w.width)} and more. Heights are logarithmic.`)]);
  return [
    ["weights", [w.rows, w.bins], all],
    ["weights course", w.quantiles, () => panel("Weights over the steps", "weights course", [lines(w.quantiles, { zero: true })])],
    ["heavy", w.heavy, () => panel("Heaviest rows", "heavy", [extremes(w.heavy)])],
    ["light", w.light, () => panel("Lightest rows", "light", [extremes(w.light)])],
  ];
}

const bytes = n => { const u = ["B", "KiB", "MiB", "GiB", "TiB"]; let i = 0; while (n >= 1024 && i < 4) { n /= 1024; i++; } return (i ? n.toFixed(1) : n) + " " + u[i]; };

function ledgerPanel(d) {
  const counts = [d.never, d.once, d.more];
  return panel("How often the rows were trained on", "ledger", [bars(["never", "once", "more often"], counts, null, i => `${counts[i]} rows, ${share(counts[i], d.rows)}`),
    note(`${d.dealt} samples of ${d.rows} rows so far; the most frequent row was trained on ${d.most} times.` + (d.from_step ? ` Counted from step ${d.from_step} on.` : ""))]);
}

function memoryPanel(m) {
  return panel("Memory planned", "memory", [bars(m.parts.map(p => p.name), m.parts.map(p => p.bytes), null, i => bytes(m.parts[i].bytes)), note("Planned before the first step: " + m.words + ".")]);
}

function timePanel(t) {
  const label = i => num(t.phases[i].seconds) + " s" + (t.phases[i].memory ? ", " + bytes(t.phases[i].memory) : "");
  const sizes = t.phases.some(p => p.memory) ? " The sizes are the most memory that the process held at the end of such a phase." : "";
  return panel("Time and memory by phase", "time", [bars(t.phases.map(p => p.name), t.phases.map(p => p.seconds), null, label), note(t.words + "." + sizes)]);
}

function configPanel(run) {
  const body = el("tbody");
  const show = q => body.replaceChildren(...run.config.filter(([k, v]) => (k + " " + v).toLowerCase().includes(q.toLowerCase())).map(([k, v]) => el("tr", {}, el("th", {}, visible(k)), el("td", {}, visible(v)))));
  show("");
  return panel("Configuration", "config", [el("div", { class: "tools" }, el("input", { type: "search", placeholder: "filter the keys", "aria-label": "filter the keys", oninput: e => show(e.target.value) })), el("div", { class: "scroll", tabindex: "0" }, el("table", { class: "facts" }, body))]);
}

// runParts are the panels of a run; alone, it has its own curves.
function runParts(run, alone) {
  const c = run.choice, rows = run.rows;
  return [
    ["short", [run.state, run.notes, run.facts, run.time, run.memory], () => shortPanel(run)],
    ...(alone ? courseParts([run]) : []),
    c && c.order ? ["order", [c.metric, c.order], () => orderPanel(c)] : null,
    c ? ["selections", [c.selections.map(s => ({ ...s, histogram: null })), c.drift, c.of, c.times], () => selectionsPanel(c)] : null,
    c ? ["scores", [c.metric, c.selections], () => scoresPanel(c)] : null,
    c ? ["shares", c.shares, () => sharesPanel(c)] : null,
    run.duplicates ? ["duplicates", run.duplicates, () => duplicatesPanel(run.duplicates)] : null,
    ...(run.mixture ? mixtureParts(run.mixture) : []),
    ...(run.weights ? weightsParts(run.weights) : []),
    rows && rows.length ? ["rows", [rows, run.rows_note], was => rowsPanel(run, was)] : null,
    run.dealt ? ["ledger", run.dealt, () => ledgerPanel(run.dealt)] : null,
    run.memory ? ["memory", run.memory, () => memoryPanel(run.memory)] : null,
    run.time ? ["time", run.time, () => timePanel(run.time)] : null,
    run.config ? ["config", run.config, () => configPanel(run)] : null,
  ].filter(Boolean);
}

// sideBySide is the table above several runs.
function sideBySide(runs) {
  const end = (r, name) => { const c = r.curves.find(c => c.name === name); return c ? num(c.y[c.y.length - 1]) : "–"; };
  const best = r => { const y = r.curves.filter(c => /^eval_.*loss/.test(c.name)).flatMap(c => c.y); return y.length ? num(y.reduce((a, b) => Math.min(a, b))) : "–"; };
  const head = ["run", "decides", "state", "last loss", "lowest eval loss", "choices", "different", "time"];
  return panel("The runs", "runs", [table(head, runs.map(r => [el("bdi", {}, visible(r.name)), r.method ? visible(r.method) : r.train_type, r.state, end(r, "loss"), best(r), r.choice ? String(r.choice.choices) : "–", r.choice ? String(r.choice.distinct) : "–", r.time ? r.time.words : "–"]), [false, false, false, true, true, true, true, false])], true);
}

function overlapPanel(overlaps) {
  return panel("Similarity of the choices", "overlap", [
    table(["run", "and run", "rows of both", "Jaccard", "last selections", "rank correlation"], overlaps.map(o => [el("bdi", {}, visible(o.a)), el("bdi", {}, visible(o.b)), String(o.both), num(o.jaccard), num(o.last), num(o.rank)]), [false, false, true, true, true, true]),
    note("Jaccard index: rows that both runs chose, of the rows that either chose. Rank correlation: Spearman's, of how often each row of the pool was chosen."),
  ], true);
}
