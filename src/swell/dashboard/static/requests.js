// Requests: those that run, the longest first, and the routes of the last minute that fail or are slow.

import { byId, h, keyed, setAttribute, setText } from "./dom.js";
import { count, duration, exact } from "./format.js";

export function running({ now }) {
  const list = byId("running");
  const rows = now.running.map((one, index) => ({ ...one, index }));
  keyed(
    list, rows, (row) => row.index,
    () => h("li", {}, h("b", {}), h("code", {}), h("span", { class: "muted" })),
    (element, row) => {
      setText(element.children[0], duration(row.seconds));
      setText(element.children[1], row.line);
      setAttribute(element.children[1], "title", row.line);
      setText(element.children[2], `worker ${row.worker}${row.blocks ? ", on the loop" : ""}`);
      setAttribute(element, "class", row.blocks && row.seconds > 1 ? "alarm" : null);
    },
  );
  empty(list, rows.length === 0, "Nothing is running at this moment.");
}

const HEAD = ["Route", "per s", "mean", "p95", "4xx", "5xx"];

export function routes({ now }) {
  const table = byId("routes");
  if (!table.tHead) {
    table.append(
      h("thead", {}, h("tr", {}, HEAD.map((text, index) => h("th", { scope: "col", class: index ? "number" : null }, text)))),
      h("tbody"),
    );
  }
  keyed(
    table.tBodies[0], now.routes, (row) => `${row.method} ${row.route}`,
    (row) => h("tr", {},
      h("th", { scope: "row" }, h("code", {}, `${row.method} ${row.route || "(no route)"}`)),
      HEAD.slice(1).map(() => h("td", { class: "number" }))),
    (element, row) => {
      const cells = element.children;
      setText(cells[1], count(row.rate));
      setText(cells[2], duration(row.mean));
      setText(cells[3], duration(row.p95));
      setText(cells[4], row.errors4 ? exact(row.errors4) : "");
      setText(cells[5], row.errors5 ? `✕ ${exact(row.errors5)}` : "");
      setAttribute(cells[5], "class", row.errors5 ? "number alarm" : "number");
    },
  );
  empty(table.parentElement, now.routes.length === 0, "No requests in the last minute.");
  table.hidden = now.routes.length === 0;
}

export function empty(place, is, text) {
  const next = place.nextElementSibling;
  const old = next?.classList.contains("empty") ? next : null;
  if (is && !old) place.after(h("p", { class: "empty" }, text));
  else if (!is) old?.remove();
}
