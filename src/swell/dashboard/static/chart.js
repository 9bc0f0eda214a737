// One chart over time, in SVG. Lines differ in their strokes and not by colour alone; what the cursor points at is in
// the legend, as text. Arrow keys move the cursor. Time ends now, unless `options.axis` says otherwise: then it gives the
// labels below, [at, text] each.

import { h, s, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 148, TOP = 10, BOTTOM = 18, LEFT = 46, RIGHT = 6;
const NARROW = 340; // below, the first label of the time would touch the next

export class Chart {
  constructor(options, onCursor) {
    this.options = options;
    this.onCursor = onCursor;
    this.svg = s("svg", { height: HEIGHT, role: "img", tabindex: "0", "aria-labelledby": `${options.id}-title` });
    this.grid = s("g", { class: "grid" });
    this.paths = options.series.map((series) => [
      series.kind === "area" || series.kind === "steps" ? s("path", { class: `fill ${series.style}` }) : null,
      s("path", { class: `stroke ${series.style}` }),
    ]);
    this.marks = s("g", { class: "marks" });
    this.line = s("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM });
    this.present = options.axis ? s("line", { class: "present", y1: TOP, y2: HEIGHT - BOTTOM }) : null;
    this.svg.append(...[this.grid, this.present, ...this.paths.flat(), this.marks, this.line].filter(Boolean));
    this.when = h("span", { class: "when" });
    this.values = options.series.map((series) => h("b", {}));
    this.keys = options.series.map((series, index) =>
      h("li", {}, s("svg", { width: 16, height: 8, "aria-hidden": "true" },
        s("path", { class: `stroke ${series.style}`, d: "M0 4h16" })), `${series.label} `, this.values[index]));
    this.told = h("p", { class: "told" });
    this.element = h("figure", { id: options.id },
      h("figcaption", {}, h("h3", { id: `${options.id}-title` }, options.title), this.when, h("ul", { class: "legend" }, this.keys)),
      this.svg, options.decisions ? this.told : null);
    this.svg.addEventListener("pointermove", (event) => this.#pointed(event));
    this.svg.addEventListener("pointerleave", () => onCursor(null));
    this.svg.addEventListener("blur", () => onCursor(null));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
  }

  // `now` is the point whose numbers stand in the legend while there is no cursor.
  draw(points, begin, end, cursor, decisions = [], now = points.at(-1)) {
    const width = this.svg.clientWidth || 400;
    setAttribute(this.svg, "viewBox", `0 0 ${width} ${HEIGHT}`);
    const right = width - RIGHT, bottom = HEIGHT - BOTTOM;
    const x = (at) => LEFT + ((at - begin) / (end - begin)) * (right - LEFT);
    const scale = this.options.logarithmic ? logarithmic : linear;
    const seen = points.filter((point) => point.at >= begin);
    const values = this.options.series.flatMap(({ name }) => seen.map((point) => point[name]).filter((value) => value !== null));
    const { ticks, place } = scale(values, this.options.least ?? 1);
    const y = (value) => bottom - place(value) * (bottom - TOP);
    Object.assign(this, { begin, end, points: seen, cursor, now, width });

    this.#drawGrid(ticks, x, y, begin, end, right);
    this.options.series.forEach((series, index) => {
      const runs = split(points, series.name, series.style === "fault");
      const stepped = series.kind.startsWith("step");
      const [area, stroke] = this.paths[index];
      const clip = (at) => Math.max(LEFT, x(at));
      const trace = (run) => run.map((point, place) => {
        const [px, py] = [clip(point.at).toFixed(1), y(point[series.name]).toFixed(1)];
        return place === 0 ? `M${px} ${py}` : stepped ? `H${px}V${py}` : `L${px} ${py}`;
      }).join("");
      setAttribute(stroke, "d", runs.map(trace).join(""));
      if (area) {
        const closed = (run) => `${trace(run)}V${bottom}H${clip(run[0].at).toFixed(1)}Z`;
        setAttribute(area, "d", runs.filter((run) => run.length > 1).map(closed).join(""));
      }
      const shown = cursor ?? now;
      const value = shown?.[series.name] ?? null;
      setText(this.values[index], this.options.format(value));
      // What never occurs need not be explained.
      this.keys[index].hidden = series.style === "fourth" && values.length > 0 && seen.every((point) => point[series.name] === null);
    });
    setText(this.when, cursor ? clock(cursor.at) : "");
    if (this.present && now) setAttribute(this.present, "transform", `translate(${Math.round(x(now.at)) + 0.5} 0)`);
    setAttribute(this.line, "transform", `translate(${cursor ? Math.round(x(cursor.at)) + 0.5 : 0} 0)`);
    this.#drawDecisions(decisions, x, begin, cursor);
  }

  #drawGrid(ticks, x, y, begin, end, right) {
    const parts = ticks.flatMap((tick) => [
      s("line", { x1: LEFT, x2: right, y1: y(tick), y2: y(tick) }),
      s("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, this.options.format(tick)),
    ]);
    if (this.options.axis) {
      for (const [at, text] of this.options.axis(begin, end)) parts.push(s("text", { x: x(at), y: HEIGHT - 4, "text-anchor": "middle" }, text));
      return this.grid.replaceChildren(...parts);
    }
    const span = end - begin;
    const step = span / (span === 60 ? 4 : 5);
    for (let back = 0; back < span + 1; back += step) {
      const text = back === 0 ? "now" : span === 60 ? `−${back} s` : `−${back / 60} min`;
      const first = back >= span;
      if (first && right - LEFT < NARROW) continue;
      const anchor = back === 0 ? "end" : first ? "start" : "middle";
      parts.push(s("text", { x: x(end - back), y: HEIGHT - 4, "text-anchor": anchor }, text));
    }
    this.grid.replaceChildren(...parts);
  }

  #drawDecisions(decisions, x, begin, cursor) {
    const seen = decisions.filter((one) => one.at >= begin && one.at <= this.end + 1);
    this.marks.replaceChildren(...seen.map((one) => {
      const [px, up] = [x(Math.min(one.at, this.end)).toFixed(1), one.after > one.before];
      const shape = one.after === one.before ? "m-3 -3h6v6h-6z" : up ? "m0 -4l4 7h-8z" : "m0 4l4 -7h-8z";
      return s("path", { d: `M${px} ${TOP - 4}${shape}` }, s("title", {}, `${clock(one.at)} ${sentence(one)}`));
    }));
    const near = cursor && seen.filter((one) => Math.abs(one.at - cursor.at) < (this.end - begin) / 60)
      .sort((a, b) => Math.abs(a.at - cursor.at) - Math.abs(b.at - cursor.at))[0];
    setText(this.told, near ? `${clock(near.at)} ${sentence(near)}` : "");
  }

  #pointed(event) {
    if (this.end === undefined) return;
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    this.onCursor(this.begin + Math.min(1, Math.max(0, share)) * (this.end - this.begin));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.onCursor(null);
    if (!step || !this.points?.length) return;
    event.preventDefault();
    const ahead = this.points.indexOf(this.now) + 1 || this.points.length;
    const index = this.cursor ? this.points.indexOf(this.cursor) : ahead;
    const many = event.shiftKey ? 10 : 1;
    this.onCursor(this.points[Math.min(this.points.length - 1, Math.max(0, index + step * many))].at);
  }
}

export const sentence = (one) => `${one.after === one.before ? `stays ${one.after}` : `${one.before} → ${one.after}`}: ${one.text}`;

// Runs without a gap: where nothing was measured there is no line. With `happened`, nothing is 0 as well.
function split(points, name, happened) {
  const runs = [];
  let run = null, before = null;
  for (const point of points) {
    const gap = before !== null && point.at - before > Math.max(3, point.span * 1.5 + 1);
    const value = point[name] ?? null;
    if (value === null || (happened && value === 0)) run = null;
    else {
      if (run === null || gap) runs.push((run = []));
      run.push(point);
    }
    before = point.at;
  }
  return runs;
}

// From 0 to a round number.
function linear(values, least) {
  const most = Math.max(least, ...values);
  const raw = most / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw && (least < 2 || one >= 1));
  const top = Math.max(step, Math.ceil(most / step - 1e-9) * step);
  const ticks = [];
  for (let tick = 0; tick <= top + step / 2; tick += step) ticks.push(tick);
  return { ticks, place: (value) => value / top };
}

// Whole decades, between 100 µs and 10 s unless the values lie elsewhere.
function logarithmic(values) {
  const known = values.filter((value) => value > 0);
  let low = Math.floor(Math.log10(Math.min(...known, 0.001)) + 1e-9);
  let high = Math.ceil(Math.log10(Math.max(...known, 0.01)) - 1e-9);
  if (high - low < 2) high = low + 2;
  low = Math.max(low, -6);
  const ticks = [];
  for (let power = low; power <= high; power += 1) ticks.push(10 ** power);
  return { ticks, place: (value) => Math.max(0, (Math.log10(Math.max(value, 1e-6)) - low) / (high - low)) };
}
