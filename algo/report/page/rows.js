// The rows themselves: filtered, sorted and searched in the page.

function marked(text, query) {
  if (!query) return [text];
  const out = [], low = text.toLowerCase();
  // Where lower case has another length, places would not agree: nothing is marked.
  if (low.length !== text.length) return [text];
  let at = 0;
  for (let i; (i = low.indexOf(query, at)) >= 0 && out.length < 200; at = i + query.length) {
    out.push(text.slice(at, i), el("mark", {}, text.slice(i, i + query.length)));
  }
  return [...out, text.slice(at)];
}

function rowCard(r, query) {
  const where = `${visible(r.dataset)} row ${r.row}`;
  const says = [
    r.times ? `chosen ${r.times}× (step ${(r.steps || []).join(", ")})` : "",
    r.score !== undefined ? `score ${num(r.score)}` : "",
    r.rank !== undefined ? `best rank ${r.rank}` : "",
    r.weight !== undefined ? `weight ${num(r.weight)}` : "",
    r.length ? `${r.length} characters` : "",
    r.script || "",
  ].filter(Boolean);
  const words = (name, s) => el("div", { dir: "auto", class: name, tabindex: "0" }, el("span", { dir: "ltr" }, name), ...marked(visible(s), query));
  const texts = [];
  if (r.prompt) texts.push(words("prompt", r.prompt));
  if (r.answer) texts.push(words("answer", r.answer));
  return el("article", { class: "row" },
    el("div", {}, // A page sent by a server may not open files, so it only names them.
      r.file && location.protocol === "file:" ? el("a", { href: r.file, title: r.file, rel: "noreferrer" }, where) : el("strong", { title: r.file }, where),
      (r.kinds || []).map(k => el("span", { class: "badge" }, k + (k === "duplicate" ? ` ${r.group}` : ""))),
      el("span", { class: "dim" }, says.join(" · "))),
    el("div", { class: "texts" }, texts),
    r.cut ? el("p", { class: "note" }, `${r.cut} more characters are not in this page`) : null);
}

const orders = {
  "as chosen": () => 0,
  "score, highest first": (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity),
  "score, lowest first": (a, b) => (a.score ?? Infinity) - (b.score ?? Infinity),
  "most often chosen": (a, b) => (b.times || 0) - (a.times || 0),
  "best rank": (a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity),
  "weight, heaviest first": (a, b) => (b.weight ?? -Infinity) - (a.weight ?? -Infinity),
  "longest": (a, b) => (b.length || 0) - (a.length || 0),
  "data set and row": (a, b) => (a.dataset < b.dataset ? -1 : a.dataset > b.dataset ? 1 : a.row - b.row),
};

// rowsPanel keeps the user's choices in its predecessor.
function rowsPanel(run, was) {
  const rows = run.rows;
  const state = was ? was.chosen : { q: "", kind: "", dataset: "", step: "", script: "", order: "as chosen", most: 25 };
  const list = el("div", { class: "rows" }), count = el("p", { class: "note count", role: "status" }), more = el("button", { type: "button", onclick: () => { state.most += 50; show(); } }, "show more");
  function show() {
    const q = state.q.toLowerCase();
    const found = rows.filter(r => (!state.kind || r.kinds.includes(state.kind)) && (!state.dataset || r.dataset === state.dataset) &&
      (!state.script || r.script === state.script) && (!state.step || (r.steps || []).includes(Number(state.step))) &&
      (!q || `${r.dataset} row ${r.row}\n${visible(r.prompt || "")}\n${visible(r.answer || "")}`.toLowerCase().includes(q)));
    found.sort(orders[state.order]);
    list.replaceChildren(...found.slice(0, state.most).map(r => rowCard(r, q)));
    count.textContent = `${found.length} of ${rows.length} rows` + (found.length > state.most ? `, the first ${state.most} below` : "");
    more.hidden = found.length <= state.most;
  }
  const choose = (key, title, values) => values.length < 2 ? null : el("select", { "aria-label": title, name: key, onchange: e => { state[key] = e.target.value; state.most = 25; show(); } },
    el("option", { value: "" }, title), values.map(v => el("option", { value: v, selected: String(v) === state[key] && "" }, visible(String(v)))));
  const distinct = f => [...new Set(rows.flatMap(f))].filter(v => v !== undefined && v !== "");
  const has = k => rows.some(r => r[k] !== undefined);
  const usable = Object.keys(orders).filter(o => (!o.startsWith("score") || has("score")) && (!o.startsWith("weight") || has("weight")) && (!/chosen$|rank/.test(o) || has("times")));
  const tools = el("div", { class: "tools" },
    el("input", { type: "search", placeholder: "search the texts", "aria-label": "search the texts", value: state.q, oninput: e => { state.q = e.target.value; state.most = 25; show(); } }),
    choose("kind", "every kind", distinct(r => r.kinds)),
    choose("dataset", "every data set", distinct(r => r.dataset).sort()),
    choose("step", "every selection", distinct(r => r.steps || []).sort((a, b) => a - b)),
    choose("script", "every script", distinct(r => r.script).sort()),
    el("select", { "aria-label": "order", name: "order", onchange: e => { state.order = e.target.value; show(); } }, usable.map(o => el("option", { value: o, selected: o === state.order && "" }, o))));
  show();
  const out = panel("The rows", "rows", [run.rows_note ? el("p", { class: "note" }, run.rows_note) : null, tools, count, list, more], true);
  out.chosen = state;
  return out;
}
