// The board: the list of a folder's runs above the report, which follows those that are
// ticked.

function post(name, body) {
  return fetch(name, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// runRow is a run in the list.
function runRow(s, ticked, on) {
  const facts = [
    s.of ? `step ${s.step} of ${s.of}` : "",
    s.loss !== undefined ? `loss ${num(s.loss)}` : "",
    s.eval_loss !== undefined ? `eval loss ${num(s.eval_loss)}` : "",
    s.left ? `${s.left} left` : "",
    s.memory ? `${bytes(s.memory)} at most` : "",
  ].filter(Boolean).join(" · ");
  const look = s.running ? "good" : s.finished ? "dim" : "warn";
  return el("div", { class: "runrow" },
    el("label", {}, el("input", { type: "checkbox", name: "run", value: s.name, checked: ticked && "", onchange: e => on.tick(s.name, e.target.checked) }), el("bdi", {}, visible(s.name))),
    el("span", { class: "state " + look }, visible(s.state)),
    s.of ? el("progress", { max: s.of, value: s.step, "aria-label": `progress of ${s.name}` }) : el("span"),
    el("span", { class: "facts dim" }, facts),
    el("span", { class: "acts" },
      s.stops ? el("button", { type: "button", name: "stop", title: "as Ctrl-C: the run saves a checkpoint and ends", onclick: () => on.stop(s) }, "stop") : null,
      el("button", { type: "button", name: "again", title: "a form with this run's configuration", onclick: () => on.form(s.name) }, "edit and start"),
      s.job ? el("a", { href: "log?job=" + encodeURIComponent(s.job), target: "_blank", rel: "noopener noreferrer" }, "its log") : null),
    s.said ? el("pre", { class: "said bad" }, "the last start failed:\n" + visible(s.said)) : null);
}

// follow draws the page instead of show, and again whenever the server sends news.
function follow(main, data) {
  const live = data.live, runs = new Map(data.runs.map(r => [r.name, r]));
  let ticked = data.runs.map(r => r.name), summary = live.summary, overlaps = data.overlaps, source, waiting = false;
  const list = el("div", { class: "runlist" }), news = el("p", { class: "note news", role: "status" }), papers = el("p", { class: "note" });
  const report = el("div", { class: "report" }), form = el("div", { class: "panels" });
  const made = document.getElementById("made");

  const query = names => names.map(n => "run=" + encodeURIComponent(n)).join("&") || "run=";
  const on = {
    tick(name, yes) {
      ticked = ticked.filter(n => n !== name);
      if (yes) ticked.push(name);
      else runs.delete(name);
      history.replaceState(null, "", "?" + query(ticked));
      draw();
      connect();
    },
    async stop(s) {
      const answer = await post("stop", { run: s.name });
      news.textContent = answer.ok ? `${visible(s.name)}: asked to save and end` : `${visible(s.name)}: ${await answer.text()}`;
    },
    async form(from) {
      const answer = await fetch("draft?from=" + encodeURIComponent(from));
      if (!answer.ok) { news.textContent = await answer.text(); return; }
      const close = () => form.replaceChildren();
      form.replaceChildren(formPanel((await answer.json()).yaml, close, name => { close(); news.textContent = `${visible(name)}: started`; if (!ticked.includes(name)) on.tick(name, true); }));
      form.scrollIntoView();
    },
  };

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      place(list, summary.map(s => [s.name, [s, ticked.includes(s.name)], () => runRow(s, ticked.includes(s.name), on)]));
      const shown = ticked.filter(n => runs.has(n)).map(n => runs.get(n));
      const tables = ["runs"].concat(overlaps && overlaps.length ? ["overlap"] : []);
      papers.replaceChildren(...(shown.length < 2 ? [] : ["For a paper: ", ...tables.flatMap(t => ["md", "tex", "csv"].map(f => el("a", { href: `compare?table=${t}.${f}&${query(ticked)}`, target: "_blank", rel: "noopener noreferrer" }, `${t}.${f}`))).flatMap(a => [a, " "])]));
      if (shown.length) show(report, { runs: shown, overlaps: shown.length > 1 && overlaps && overlaps.length ? overlaps : undefined });
      else { report.names = ""; report.replaceChildren(note(summary.length ? "Tick runs to see them." : "There is no run here yet.")); }
    });
  }

  function connect() {
    if (source) source.close();
    source = new EventSource("events?" + query(ticked));
    const take = (event, then) => source.addEventListener(event, e => { then(JSON.parse(e.data)); draw(); });
    source.onopen = () => { made.textContent = "live"; made.className = ""; };
    source.onerror = () => { made.textContent = "the board does not respond; the runs continue without it"; made.className = "warn"; };
    take("runs", all => { summary = all; });
    take("run", m => {
      if (!ticked.includes(m.name)) return;
      const run = { ...(m.whole ? {} : runs.get(m.name)), ...m.set };
      for (const key of m.gone) delete run[key];
      runs.set(m.name, run);
    });
    take("overlaps", all => { overlaps = all; });
    take("selection", s => { news.textContent = `${visible(s.run)}, step ${s.step}: ${s.rows} rows chosen, ${s.new} for the first time, ${s.overlap} as before`; });
  }

  main.replaceChildren(
    el("div", { class: "panels" }, panel("Runs of " + visible(live.dir), "board", [
      el("div", { class: "tools" }, el("button", { type: "button", name: "new", onclick: () => on.form("") }, "new run")),
      list, news, papers, (live.notes || []).map(n => el("p", { class: "warn" }, visible(n))),
    ], true)),
    form, report);
  draw();
  connect();
  // A browser has few connections to one server: a hidden page needs none.
  document.addEventListener("visibilitychange", () => { if (document.hidden) source.close(); else connect(); });
}
