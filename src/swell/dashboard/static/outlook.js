// The last day beside what was foretold of it, and the hours ahead. Asked for once a minute while somebody looks: minutes
// are what is recorded.

import { Chart } from "./chart.js";
import { nearest } from "./charts.js";
import { byId, setAttribute, setText, show } from "./dom.js";
import { count } from "./format.js";

const EVERY = 60_000; // ms
const STEP = 600; // seconds between two points
const LABELS = 6; // hours between two labels

const CHARTS = [
  {
    id: "chart-load",
    title: "Load in workers",
    format: count,
    axis,
    least: 2,
    series: [
      { name: "load", label: "actual", kind: "area", style: "main" },
      { name: "forecast", label: "forecast", kind: "stepline", style: "foretold" },
      { name: "target", label: "wanted", kind: "stepline", style: "second" },
    ],
  },
  {
    id: "chart-day",
    title: "Requests per second",
    format: count,
    axis,
    series: [{ name: "requests", label: "actual", kind: "area", style: "main" }],
  },
];

export class Outlook {
  constructor() {
    this.allowed = this.elastic = false;
    this.seen = null;
    this.cursor = null;
    this.charts = CHARTS.map((options) => new Chart(options, (at) => this.#point(at)));
    byId("day-charts").append(...this.charts.map((chart) => chart.element));
    setInterval(() => this.#ask(), EVERY);
    document.addEventListener("visibilitychange", () => this.#ask());
    new ResizeObserver(() => this.#draw()).observe(byId("day-charts"));
  }

  // Whether there is somebody to ask.
  allow(is) {
    if (this.allowed === is) return;
    this.allowed = is;
    this.#ask();
  }

  // Whether the load decides; without, nothing is recorded.
  follow(is) {
    if (this.elastic === is) return;
    this.elastic = is;
    show(byId("day"), is);
    this.#ask();
  }

  async #ask() {
    if (!this.allowed || !this.elastic || document.hidden) return;
    try {
      const answer = await fetch("/api/forecast");
      if (!answer.ok) return;
      this.seen = await answer.json();
    } catch {
      return; // what is there stays; the notice at the top says what is wrong
    }
    const { recorded, actual, forecast } = this.seen;
    setText(byId("day-note"), note(this.seen));
    show(byId("day-charts"), recorded && (actual.length > 0 || forecast.some(({ load }) => load !== null)));
    this.#draw();
  }

  #point(at) {
    this.cursor = at;
    this.#draw();
  }

  #draw() {
    if (!this.seen?.recorded) return;
    const points = joined(this.seen);
    const now = points.findLast((point) => point.load !== null) ?? nearest(points, this.seen.at);
    const cursor = this.cursor === null ? null : nearest(points, this.cursor);
    for (const chart of this.charts) {
      chart.draw(points, points[0].at, points.at(-1).at, cursor, [], now);
      setAttribute(chart.element, "data-cursor", cursor ? "" : null);
    }
  }
}

// One point for each step of the time, in the middle of it.
function joined({ span, actual, forecast }) {
  const known = new Map(actual.map((one) => [one.at, one]));
  const points = [];
  for (const { at: hour, load: foretold } of forecast) {
    for (let at = hour; at < hour + 3600; at += STEP) {
      const { load = null, target = null, requests = null } = known.get(at) ?? {};
      points.push({ at: at + span / 2, span, load, target, requests, forecast: foretold });
    }
  }
  return points;
}

export function note({ recorded, text, load, mode }) {
  if (!recorded) return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
  if (load === null) return `No forecast yet: ${text}.`;
  const role = { off: "It is off (--forecast) and would say: ", "forecast-only": "It only watches (--forecast forecast-only): " }[mode] ?? "";
  return role ? `${role}${text}.` : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

// Whole hours by the viewer's clock.
function axis(begin, end) {
  const labels = [];
  const day = new Date(begin * 1000);
  day.setMinutes(0, 0, 0);
  for (; day.getTime() / 1000 <= end; day.setHours(day.getHours() + 1)) {
    const at = day.getTime() / 1000;
    if (at >= begin && day.getHours() % LABELS === 0) labels.push([at, `${String(day.getHours()).padStart(2, "0")}:00`]);
  }
  return labels;
}
