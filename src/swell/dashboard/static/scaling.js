// Why there are as many workers as there are: the signals against their targets, the forecast, the decisions.

import { bounds } from "./figures.js";
import { byId, h, keyed, setAttribute, setText, show } from "./dom.js";
import { clock, count, duration, percent, plural } from "./format.js";

const NAMES = {
  utilisation: "Loops busy",
  cpu: "CPU per worker",
  pool: "Threads busy",
  in_flight: "In flight per worker",
  dispatch_delay: "Wait to start",
  loop_lag: "Loop lag",
  host: "Machine CPU",
};

export function scaling({ now, decisions }, charts) {
  const { instance, scaling: seen } = now;
  setText(byId("bounds"), `${plural(instance.target, "worker")}, ${bounds(instance)}`);
  setText(byId("why"), sentence(now.why));
  keyed(byId("signals"), signals(seen), ({ name }) => name, makeSignal, updateSignal);
  show(byId("signals"), seen !== null);
  setText(byId("forecast"), forecast(instance, seen));
  const list = byId("decisions");
  const latest = [...decisions].reverse();
  keyed(list, latest, ({ at }) => at, (one) => makeDecision(one, charts, now.at));
  if (!latest.length) list.replaceChildren(h("li", { class: "muted" }, "None yet."));
  else list.querySelector("li:not([data-at])")?.remove();
}

// "2 of 1..6: the reason": the numbers stand in the heading already.
function sentence(why) {
  const reason = why.replace(/^\d+ of [\d.]+: /, "");
  return reason.charAt(0).toUpperCase() + reason.slice(1);
}

function signals(seen) {
  if (seen === null || !seen.signals) return [];
  const rows = Object.entries(seen.signals).map(([name, one]) => {
    const show = name === "in_flight" ? count : percent;
    const most = name === "in_flight" ? one.target * 1.5 : 1;
    return { name, value: one.short, target: one.target, most, show, asks: one.needs };
  });
  for (const [name, value] of Object.entries(seen.delays)) {
    rows.push({ name, value, target: seen.delay_target, most: seen.delay_target * 2, show: duration });
  }
  if (seen.host_cpu !== null) rows.push({ name: "host", value: seen.host_cpu, target: null, most: 1, show: percent });
  return rows;
}

function makeSignal({ name }) {
  return h("li", { id: `signal-${name}` },
    h("span", {}, NAMES[name] ?? name), h("span", { class: "bar" }, h("i"), h("u")), h("b"), h("span", { class: "muted" }, h("span"), h("span", { class: "asks" })));
}

function updateSignal(element, { value, target, most, show: text, asks }) {
  const [, bar, number, more] = element.children;
  const over = target !== null && value !== null && value > target;
  bar.firstChild.style.width = `${Math.min(100, ((value ?? 0) / most) * 100).toFixed(1)}%`;
  bar.lastChild.style.left = `${((target ?? most) / most) * 100}%`;
  bar.lastChild.hidden = target === null;
  setText(number, `${text(value)}${over ? " ▲" : ""}`);
  setText(more.firstChild, target === null ? "" : `of ${text(target)}`);
  setText(more.lastChild, asks === undefined ? "" : `, asks ${count(asks)}`);
  setAttribute(element, "class", over ? "over" : null);
}

function forecast(instance, seen) {
  if (seen === null) {
    return instance.min === instance.max
      ? "The number is fixed. Scale to a range, such as 1 to 8, and it follows the load."
      : "";
  }
  if (seen.mode === "off") return "Forecast: off (--forecast).";
  if (!seen.forecast) return "Forecast: not made yet.";
  const { load, floor, error, acts, text } = seen.forecast;
  const role = acts ? "" : " It only watches (--forecast forecast-only).";
  if (load === null) return `Forecast: none, ${text}.${role}`;
  const wrong = error === null ? "" : `, wrong by ${percent(error)} over the last day`;
  const holds = floor === null ? `. ${text}.` : `, so at least ${plural(floor, "worker")}.`;
  return `Forecast: load ${count(load)}, actual ${count(seen.need)}${wrong}${holds}${role}`;
}

function makeDecision(one, charts, now) {
  const change = one.after === one.before ? `= ${one.after}` : `${one.before} → ${one.after}`;
  const point = () => charts.point(one.at);
  return h("li", { "data-at": one.at, onpointerenter: point, onpointerleave: () => charts.point(null) },
    h("time", { datetime: new Date(one.at * 1000).toISOString() }, clock(one.at, now)),
    h("b", { class: one.after > one.before ? "up" : one.after < one.before ? "down" : "stay" }, change),
    h("span", {}, one.text, one.guard ? h("em", {}, ` guard ${one.guard}`) : null));
}
