// The figures at the top, and the connections by protocol.

import { byId, h, keyed, setAttribute, setText } from "./dom.js";
import { bytes, count, duration, exact, percent, plural, NONE } from "./format.js";

const ALARMING = 0.01; // of all requests

export function figures({ now, last }) {
  const totals = now.totals;
  const failing = last && last.requests ? last.errors5 / last.requests : 0;
  const ready = now.workers.filter((worker) => worker.state === "ready").length;
  const sum = (name) => now.workers.reduce((total, worker) => total + worker[name], 0);
  const rows = [
    ["requests", "Requests per second", count(last?.requests), `${exact(totals.requests)} in all`],
    ["p50", "Latency p50", duration(last?.p50), `p99 ${duration(last?.p99)}`],
    ["p95", "Latency p95", duration(last?.p95), `waited to start ${duration(last?.dispatch)}`],
    [
      "errors", "Failing", last ? percent(Math.min(1, failing)) : NONE,
      `${exact(totals.responses_5xx)} × 5xx, ${exact(totals.responses_4xx)} × 4xx`, failing >= ALARMING,
    ],
    ["in-flight", "In flight", exact(sum("in_flight")), `${plural(now.running.filter((one) => one.seconds > 1).length, "request")} over 1 s`],
    ["open", "Connections", exact(sum("connections")), `${plural(sum("websockets"), "WebSocket")}`],
    [
      "ready", "Workers ready", `${ready}`, `of ${now.instance.target} wanted, ${bounds(now.instance)}`,
      ready === 0 && now.instance.state !== "sleeping",
    ],
  ];
  keyed(
    byId("figures"), rows, ([key]) => key,
    ([key, label]) => h("div", { id: `figure-${key}` }, h("dt", {}, label), h("dd", {}), h("dd", { class: "muted" })),
    (element, [, , value, more, alarm]) => {
      setText(element.children[1], value);
      setText(element.children[2], more);
      setAttribute(element, "class", alarm ? "alarm" : null);
    },
  );
}

export function bounds({ min, max }) {
  return min === max ? "fixed" : `${min} to ${max}`;
}

const sumOf = (totals, prefix) =>
  Object.entries(totals).reduce((sum, [name, number]) => (name.startsWith(prefix) ? sum + number : sum), 0);

export function connections({ now }) {
  const totals = now.totals;
  const rows = now.protocols.map(({ scheme, version, rate }) => [
    `${scheme.startsWith("w") ? "WebSocket" : `HTTP/${version || "?"}`}${scheme.endsWith("s") ? " over TLS" : ""}`,
    `${count(rate)} per second`,
  ]);
  const open = now.open;
  rows.push(["Open, HTTP/1.1", `${exact(open.connections - open.h2_open)}`]);
  rows.push(["Open, HTTP/2", `${exact(open.h2_open)} with ${plural(open.h2_streams_open, "stream")}`]);
  rows.push(["WebSockets open", `${exact(open.websockets)} of ${exact(totals.websockets_opened)} so far`]);
  rows.push(["Accepted", `${exact(totals.accepted)}, ${exact(totals.handed_over)} handed on`]);
  for (const [address, length, limit] of now.queues) {
    rows.push([`Queue of ${address.replace(/^https?:\/\//, "")}`, `${exact(length)} of ${exact(limit)}`]);
  }
  if (totals.handshakes + totals.handshakes_failed) {
    const { handshakes, handshakes_resumed: resumed, handshakes_failed: failed } = totals;
    rows.push(["TLS handshakes", `${exact(handshakes)}, ${exact(resumed)} resumed, ${exact(failed)} failed`]);
  }
  if (totals.h2_connections) {
    rows.push(["HTTP/2 streams", `${exact(totals.h2_streams)} on ${plural(totals.h2_connections, "connection")}`]);
    rows.push(["reset by clients, by us", `${exact(sumOf(totals, "h2_resets_received_"))}, ${exact(sumOf(totals, "h2_resets_sent_"))}`]);
    rows.push(["closed by a limit", exact(sumOf(totals, "h2_closed_"))]);
  }
  rows.push(["Refused", `${exact(totals.refused)}, ${exact(totals.overloaded)} by overload`]);
  rows.push(["Time-outs", exact(totals.timed_out)]);
  rows.push(["Exceptions", `${exact(totals.application_errors)} of the application, ${exact(totals.engine_faults)} of Swell`]);
  rows.push(["Received, sent", `${bytes(totals.bytes_received)}, ${bytes(totals.bytes_sent)}`]);
  const exits = Object.entries(now.exits).map(([cause, number]) => `${number} × ${cause}`);
  rows.push(["Workers ended", exits.join(", ") || "none"]);
  rows.push(["Parent", `${bytes(now.parent.rss)}, ${duration(now.parent.cpu)} CPU`]);
  keyed(
    byId("connections"), rows, ([label]) => label,
    ([label]) => h("div", {}, h("dt", {}, label), h("dd", {})),
    (element, [, value]) => setText(element.children[1], value),
  );
}
