"use strict";
// Drawing: small helpers that make elements. Texts go in as text, never as markup.

function el(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  for (const c of children.flat()) if (c !== null && c !== undefined) e.append(c);
  return e;
}

function svg(tag, attrs, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attrs || {})) e.setAttribute(k, v);
  for (const c of children) e.append(c);
  return e;
}

// num writes a number for people: at most four digits, more where it is a count.
function num(v) {
  if (v === null || v === undefined) return "–";
  if (Number.isInteger(v) && Math.abs(v) < 1e9) return String(v);
  const a = Math.abs(v);
  return a !== 0 && (a < 1e-3 || a >= 1e6) ? v.toExponential(3) : String(Number(v.toPrecision(4)));
}

const share = (n, of) => (of > 0 ? (100 * n / of).toFixed(1) + " %" : "–");

// visible shows what a text would hide: control characters, those that turn the
// direction of writing, and invisible ones.
function visible(s) {
  return s.replace(/[\u0000-\u0008\u000b-\u001f]/g, c => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/gu,
      c => "⟨U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
}

function table(head, rows, numeric) {
  const cls = i => (numeric && numeric[i] ? "n" : undefined);
  return el("div", { class: "scroll", tabindex: "0" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((h, i) => el("th", { class: cls(i) }, h)))),
    el("tbody", {}, rows.map(r => el("tr", {}, r.map((c, i) => el("td", { class: cls(i) }, c)))))));
}

// round are round numbers between low and high, at most n of them; decimal writes
// k·m·10^e without the digits of binary fractions.
function round(low, high, n, whole) {
  if (!(high > low)) return [low];
  for (let e = Math.max(Math.floor(Math.log10(high - low)) - 2, whole ? 0 : -300); ; e++) {
    for (const m of [1, 2, 5]) {
      const step = m * 10 ** e, first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
      if (last - first + 1 > n) continue;
      const out = [];
      for (let k = first; k <= last; k++) out.push(Number(k * m + "e" + e));
      return out;
    }
  }
}

// tick writes a round number so that it is read back as that number.
function tick(t) {
  const plain = String(t), short = t.toExponential();
  return plain.length > 7 && short.length < plain.length ? short : plain;
}

// drawn is an area that is redrawn when its width changes. Its height is kept free until it is
// drawn, so that what is below does not jump.
function drawn(height, draw) {
  const area = el("div", { class: "area" });
  area.style.minHeight = height + "px";
  let width = 0;
  area.fit = () => {
    const w = Math.floor(area.clientWidth);
    if (w === width || w < 40) return;
    width = w;
    area.replaceChildren(draw(w, height));
  };
  // In the next frame: drawing inside the observer would change what it observes.
  new ResizeObserver(() => requestAnimationFrame(area.fit)).observe(area);
  return area;
}

const look = i => "curve s" + i % 7 + (i >= 7 ? " d" + (1 + Math.floor(i / 7) % 3) : "");

// lines draws curves {name, x, y} with the legend beside them. Under the pointer it
// says the values.
function lines(curves, opts) {
  opts = opts || {};
  const label = opts.label || num;
  curves = curves.filter(c => c.x.length > 0);
  const readout = el("div", { class: "readout" });
  const area = drawn(opts.height || 210, (w, h) => lineArea(curves, opts, label, readout, w, h));
  // One curve needs no legend: the panel's title names it.
  const legend = el("ul", { class: "legend" }, curves.map((c, i) => el("li", {},
    svg("svg", { width: 22, height: 10 }, svg("line", { x1: 0, x2: 22, y1: 5, y2: 5, class: look(i) })),
    el("span", {}, visible(c.name) + (c.of ? ` (${c.x.length} of ${c.of} points: the lowest and highest of every stretch)` : "")))));
  return el("div", {}, el("div", { class: "chart" }, area, curves.length > 1 || curves.some(c => c.of) ? legend : null), readout);
}

function lineArea(curves, opts, label, readout, w, h) {
  const xs = curves.flatMap(c => c.x), ys = curves.flatMap(c => c.y);
  const lowest = a => a.reduce((m, v) => Math.min(m, v), Infinity), highest = a => a.reduce((m, v) => Math.max(m, v), -Infinity);
  const x0 = lowest(xs), x1 = highest(xs);
  let y0 = opts.zero ? Math.min(0, lowest(ys)) : lowest(ys), y1 = highest(ys);
  if (y0 === y1) { const pad = Math.abs(y0) * 0.1 || 1; y0 -= pad; y1 += pad; }
  const yTicks = round(y0, y1, 5), xTicks = round(x0, x1, Math.max(2, Math.floor(w / 90)), !opts.x);
  const left = 12 + 7.5 * Math.max(...yTicks.map(t => tick(t).length), 5), right = 12, top = 8, bottom = 34;
  const X = x => left + (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5) * (w - left - right);
  const Y = y => h - bottom - (y - y0) / (y1 - y0) * (h - top - bottom);
  const s = svg("svg", { width: w, height: h, role: "img", "aria-label": curves.map(c => c.name).join(", ") });
  for (const t of yTicks) {
    s.append(svg("line", { x1: left, x2: w - right, y1: Y(t), y2: Y(t), class: "axis" }), svg("text", { x: left - 6, y: Y(t) + 4, "text-anchor": "end" }, tick(t)));
  }
  for (const t of xTicks) {
    s.append(svg("line", { x1: X(t), x2: X(t), y1: h - bottom, y2: h - bottom + 4, class: "axis" }), svg("text", { x: X(t), y: h - bottom + 17, "text-anchor": "middle" }, tick(t)));
  }
  s.append(svg("text", { x: (left + w - right) / 2, y: h - 3, "text-anchor": "middle" }, opts.x || "step"));
  curves.forEach((c, i) => {
    const at = k => (opts.steps && k > 0 ? `${X(c.x[k])},${Y(c.y[k - 1])} ` : "") + `${X(c.x[k])},${Y(c.y[k])}`;
    if (c.x.length > 1) s.append(svg("polyline", { points: c.x.map((_, k) => at(k)).join(" "), class: look(i) }));
    if (c.x.length <= 40) c.x.forEach((x, k) => s.append(svg("circle", { cx: X(x), cy: Y(c.y[k]), r: 2.6, class: "f" + i % 7 })));
  });
  const line = svg("line", { y1: top, y2: h - bottom, x1: -9, x2: -9, class: "at" });
  s.append(line);
  s.addEventListener("pointermove", e => {
    const x = x0 + (e.clientX - s.getBoundingClientRect().left - left) / (w - left - right) * (x1 - x0);
    const near = curves.map(c => c.x.reduce((b, v, k) => (Math.abs(v - x) < Math.abs(c.x[b] - x) ? k : b), 0));
    const best = near.reduce((b, k, i) => (Math.abs(curves[i].x[k] - x) < Math.abs(b - x) ? curves[i].x[k] : b), Infinity);
    line.setAttribute("x1", X(best)); line.setAttribute("x2", X(best));
    readout.textContent = `${opts.x || "step"} ${best}: ` + curves.map((c, i) => visible(c.name) + " " + label(c.y[near[i]])).join(", ");
  });
  return s;
}

// histogram draws counts of all rows, and in front of them those of the chosen ones.
// Heights are logarithmic: a few rows beside a million must be seen.
function histogram(h, height) {
  return drawn(height, (w, hgt) => {
    const left = 40, right = 8, top = 6, bottom = 22, n = h.all.length;
    const most = Math.log1p(Math.max(...h.all));
    const Y = v => hgt - bottom - (most > 0 ? Math.log1p(v) / most : 0) * (hgt - top - bottom);
    const X = i => left + i / n * (w - left - right);
    const s = svg("svg", { width: w, height: hgt, role: "img", "aria-label": "distribution" });
    for (let t = 1; Math.log1p(t) <= most + 1e-9; t *= 10) {
      s.append(svg("line", { x1: left, x2: w - right, y1: Y(t), y2: Y(t), class: "axis" }), svg("text", { x: left - 4, y: Y(t) + 4, "text-anchor": "end" }, t >= 1e6 ? t / 1e6 + "M" : t >= 1e3 ? t / 1e3 + "k" : String(t)));
    }
    h.all.forEach((v, i) => {
      const from = h.low + (h.high - h.low) * i / n, to = h.low + (h.high - h.low) * (i + 1) / n;
      const bar = (v, cls) => v > 0 && s.append(svg("rect", { x: X(i) + .5, width: Math.max(1, X(1) - X(0) - 1), y: Y(v), height: hgt - bottom - Y(v), class: cls },
        svg("title", {}, `${num(from)} to ${num(to)}: ${h.all[i]} rows` + (h.chosen ? `, ${h.chosen[i]} chosen` : ""))));
      bar(v, "fall");
      if (h.chosen) bar(h.chosen[i], "f1");
    });
    const ticks = round(h.low, h.high, Math.max(2, Math.floor(w / 90)));
    for (const t of ticks) {
      const x = left + (h.high > h.low ? (t - h.low) / (h.high - h.low) : 0.5) * (w - left - right);
      s.append(svg("text", { x, y: hgt - 6, "text-anchor": "middle" }, tick(t)));
    }
    return s;
  });
}

// bars draws named amounts as bars; two per name where there is a second.
function bars(names, first, second, label) {
  const most = Math.max(...first, ...(second || []), 1e-12);
  const box = el("div", { class: "share" });
  names.forEach((name, i) => {
    const one = (v, cls) => svg("rect", { x: 0, y: cls === "fall" ? 0 : 9, height: 8, width: Math.max(v / most * 100, v > 0 ? .5 : 0) + "%", class: cls });
    const s = svg("svg", { width: "100%", height: second ? 18 : 9 }, one(first[i], "fall"));
    if (second) s.append(one(second[i], "f1"));
    box.append(el("span", {}, el("bdi", {}, visible(name)), " ", el("span", { class: "dim" }, label(i))), s);
  });
  return box;
}
