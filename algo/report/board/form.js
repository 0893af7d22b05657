// The form of a new run: fields made from the configuration's keys, and the YAML itself,
// which takes precedence.

const groupsInOrder = ["Model", "Data", "Finetuning", "Training", "DataFlex", "Generating"];

function formPanel(yaml, close, started) {
  const text = el("textarea", { name: "yaml", rows: 24, spellcheck: "false", "aria-label": "the configuration as YAML" });
  const faults = el("ul", { class: "faults", role: "status" }), notices = el("div"), groups = el("div", { class: "groups" });
  const fields = new Map(); // by key: { input, fault, box, group }
  let asked = 0, timer;
  text.value = yaml;

  function fieldOf(k) {
    const id = "field-" + k.name, choices = k.choices || (k.type === "bool" ? ["true", "false"] : null);
    const attrs = { id, name: k.name, onchange: e => edit(k.name, e.target.value) };
    const input = choices
      ? el("select", attrs, el("option", { value: "" }, `default: ${k.default}`), choices.map(c => el("option", { value: c }, c)))
      : el("input", { ...attrs, type: "text", placeholder: k.default === "null" ? "" : k.default, autocomplete: "off", spellcheck: "false" });
    const fault = el("p", { class: "bad fault", id: id + "-fault" });
    const box = el("div", { class: "field" }, el("label", { for: id }, k.name), input, fault, k.help ? note(visible(k.help)) : null);
    fields.set(k.name, { input, fault, box, group: k.group, words: (k.name + " " + (k.help || "")).toLowerCase() });
    return box;
  }

  // fill shows what the text says, in the fields.
  function fill(values) {
    for (const [key, f] of fields) {
      const v = values[key] === undefined ? "" : values[key];
      if (f.input === document.activeElement) continue;
      if (f.input.tagName === "SELECT" && v && ![...f.input.options].some(o => o.value === v)) f.input.append(el("option", { value: v }, visible(v)));
      f.input.value = v;
      f.box.classList.toggle("given", v !== "");
    }
    for (const d of groups.querySelectorAll("details")) {
      const given = d.querySelectorAll(".given").length;
      d.querySelector("summary span").textContent = given ? ` ${given} given` : "";
    }
  }

  function say(out) {
    for (const f of fields.values()) { f.fault.textContent = ""; f.input.removeAttribute("aria-invalid"); f.input.removeAttribute("aria-describedby"); }
    for (const x of out.faults) {
      const f = fields.get(x.key);
      if (!f) continue;
      f.fault.textContent += (f.fault.textContent ? " " : "") + visible(x.text);
      f.input.setAttribute("aria-invalid", "true");
      f.input.setAttribute("aria-describedby", f.fault.id);
      f.box.closest("details").open = true;
    }
    faults.replaceChildren(...(out.faults.length ? out.faults.map(x => el("li", { class: "bad" },
      x.line ? el("button", { type: "button", onclick: () => toLine(x.line) }, `line ${x.line}`) : null, " ",
      x.key && fields.has(x.key) ? el("button", { type: "button", onclick: () => toField(x.key) }, x.key) : visible(x.key || ""), x.key ? ": " : "", visible(x.text))) : [el("li", { class: "good" }, "No fault: it can be started.")]));
    notices.replaceChildren(...out.notices.map(n => note(visible(n))));
    fill(out.values);
  }

  function toLine(n) {
    const lines = text.value.split("\n"), at = lines.slice(0, n - 1).reduce((sum, l) => sum + l.length + 1, 0);
    text.focus();
    text.setSelectionRange(at, at + (lines[n - 1] || "").length);
  }

  function toField(key) {
    const f = fields.get(key);
    f.box.hidden = false;
    f.box.closest("details").open = true;
    f.input.scrollIntoView({ block: "center" });
    f.input.focus();
  }

  const complain = s => faults.replaceChildren(el("li", { class: "bad" }, visible(s)));

  async function check() {
    const mine = ++asked;
    try {
      const answer = await post("check", { yaml: text.value });
      const out = answer.ok ? await answer.json() : await answer.text();
      if (mine !== asked) return; // the text has changed meanwhile
      if (answer.ok) say(out);
      else complain(out);
    } catch (e) { complain("the board does not respond"); }
  }

  async function edit(key, value) {
    const before = text.value, answer = await post("edit", { yaml: before, key, value });
    if (!answer.ok) { complain(await answer.text()); return; }
    const after = (await answer.json()).yaml;
    if (text.value !== before) return;
    text.value = after;
    check();
  }

  async function start() {
    asked++;
    clearTimeout(timer);
    button.disabled = true;
    try {
      const answer = await post("start", { yaml: text.value });
      const out = answer.ok ? await answer.json() : await answer.text();
      if (!answer.ok) complain(out);
      else if (out.run) started(out.run);
      else say(out);
    } catch (e) { complain("the board does not respond"); }
    button.disabled = false;
  }

  const search = el("input", { type: "search", placeholder: "find a key", "aria-label": "find a key", oninput: e => {
    const q = e.target.value.toLowerCase();
    for (const f of fields.values()) f.box.hidden = !f.words.includes(q);
    for (const d of groups.querySelectorAll("details")) { d.hidden = !d.querySelector(".field:not([hidden])"); if (q) d.open = true; }
  } });
  const button = el("button", { type: "button", name: "start", onclick: start }, "start");
  text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(check, 500); });
  fetch("keys").then(a => a.json()).then(keys => {
    groups.replaceChildren(...groupsInOrder.map(g => el("details", {}, el("summary", {}, g, el("span", { class: "dim" })), keys.filter(k => k.group === g).map(fieldOf))));
    check();
  });
  return panel("A new run", "form", [
    el("div", { class: "tools" }, button, el("button", { type: "button", name: "close", onclick: close }, "close"), search),
    faults, notices,
    el("div", { class: "form" }, groups, text)], true);
}
