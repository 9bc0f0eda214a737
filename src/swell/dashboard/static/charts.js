// The three charts, their common time axis, and the cursor that stands in all of them.

import { Chart } from "./chart.js";
import { byId, h, setAttribute } from "./dom.js";
import { count, duration } from "./format.js";

const WINDOWS = [[60, "1 min"], [300, "5 min"], [900, "15 min"]];

const CHARTS = [
  {
    id: "chart-traffic",
    title: "Requests per second",
    format: count,
    series: [
      { name: "requests", label: "all", kind: "area", style: "main" },
      { name: "errors4", label: "4xx", kind: "line", style: "second" },
      { name: "errors5", label: "5xx", kind: "area", style: "fault" },
    ],
  },
  {
    id: "chart-latency",
    title: "Latency",
    format: duration,
    logarithmic: true,
    series: [
      { name: "p50", label: "p50", kind: "line", style: "main" },
      { name: "p95", label: "p95", kind: "line", style: "second" },
      { name: "p99", label: "p99", kind: "line", style: "third" },
    ],
  },
  {
    id: "chart-workers",
    title: "Workers",
    format: count,
    decisions: true,
    least: 2,
    series: [
      { name: "ready", label: "ready", kind: "steps", style: "main" },
      { name: "target", label: "wanted", kind: "stepline", style: "second" },
      { name: "need", label: "needed", kind: "line", style: "third" },
      { name: "forecast", label: "forecast", kind: "line", style: "fourth" },
    ],
  },
];

export class Charts {
  constructor(store) {
    this.store = store;
    this.seconds = 300;
    this.cursor = null;
    this.charts = CHARTS.map((options) => new Chart(options, (at) => this.point(at)));
    byId("charts").append(...this.charts.map((chart) => chart.element));
    this.buttons = WINDOWS.map(([seconds, text]) =>
      h("label", {}, h("input", { type: "radio", name: "window", value: seconds, onchange: () => this.choose(seconds) }), text));
    byId("window").append(...this.buttons);
    this.choose(this.seconds);
    new ResizeObserver(() => this.draw()).observe(byId("charts"));
  }

  choose(seconds) {
    this.seconds = seconds;
    for (const button of this.buttons) button.firstChild.checked = Number(button.firstChild.value) === seconds;
    this.draw();
  }

  // Sets the cursor to a time, or takes it away.
  point(at) {
    this.cursor = at;
    this.draw();
  }

  draw() {
    if (!this.store.last) return;
    const end = this.store.last.at;
    const begin = end - this.seconds;
    const from = Math.max(0, this.store.points.findIndex((point) => point.at >= begin) - 1);
    const points = this.store.points.slice(from);
    const cursor = this.cursor === null ? null : nearest(points, Math.max(begin, this.cursor));
    for (const chart of this.charts) {
      chart.draw(points, begin, end, cursor, chart.options.decisions ? this.store.decisions : []);
      setAttribute(chart.element, "data-cursor", cursor ? "" : null);
    }
  }
}

export function nearest(points, at) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(point.at - at) < Math.abs(best.at - at)) best = point;
  }
  return best;
}
