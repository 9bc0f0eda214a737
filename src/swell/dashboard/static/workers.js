// A row per worker. Columns sort; the number opens everything that is known of the worker.

import { byId, h, keyed, setAttribute, setText, show } from "./dom.js";
import { flame } from "./actions.js";
import { insight } from "./insight.js";
import { age, bytes, clock, count, duration, exact, percent, plural } from "./format.js";

const BLOCKED = 1; // seconds on the loop from which on a request is in everybody's way
const GLYPHS = { ready: "●", starting: "◌", draining: "◐", stopping: "◐", stuck: "✕", empty: "○" };

// name, heading, value to sort by, text, class
const COLUMNS = [
  ["id", "Worker", (one) => one.id],
  ["state", "State", (one) => one.state],
  ["age", "Age", (one) => one.age, (one) => age(one.age), "number"],
  ["cpu", "CPU", (one) => one.cpu, (one) => percent(one.cpu), "number"],
  ["rss", "Memory", (one) => one.rss, (one) => bytes(one.rss), "number"],
  ["busy", "Loop busy", (one) => one.busy],
  ["in_flight", "In flight", (one) => one.in_flight, (one) => exact(one.in_flight), "number"],
  ["connections", "Conns", (one) => one.connections, (one) => exact(one.connections), "number"],
  ["rate", "Req/s", (one) => one.rate, (one) => count(one.rate), "number"],
  ["p95", "p95", (one) => one.p95 ?? -1, (one) => duration(one.p95), "number"],
  ["serves", "Serves now", (one) => one.serves?.seconds ?? -1],
];

export class Workers {
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.sort = ["id", 1];
    this.shown = null;
    this.body = h("tbody");
    this.heads = COLUMNS.map(([name, text, , , kind]) =>
      h("th", { scope: "col", class: `${name} ${kind ?? ""}` },
        h("button", { type: "button", onclick: () => this.#by(name) }, text)));
    byId("workers").append(h("thead", {}, h("tr", {}, this.heads)), this.body);
    this.body.addEventListener("keydown", (event) => this.#key(event));
  }

  focus() {
    this.body.querySelector("button")?.focus();
  }

  draw() {
    const { workers, instance } = this.store.now;
    const [by, direction] = this.sort;
    const value = COLUMNS.find(([name]) => name === by)[2];
    const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.id - b.id) * direction;
    const order = [...workers].sort(compare);
    this.heads.forEach((head, index) => {
      const sorted = COLUMNS[index][0] === by ? (direction > 0 ? "ascending" : "descending") : null;
      setAttribute(head, "aria-sort", sorted);
    });
    keyed(this.body, order, (one) => one.id, (one) => this.#row(one), (row, one) => this.#update(row, one));
    show(byId("workers"), workers.length > 0);
    show(byId("no-workers"), workers.length === 0);
    const asleep = instance.state === "sleeping";
    setText(byId("no-workers"), asleep ? "No workers: the instance sleeps until somebody connects." : "No workers.");
    const stuck = workers.filter((one) => one.state === "stuck").length;
    const generation = instance.generation > 1 ? `, generation ${instance.generation}` : "";
    setText(byId("workers-note"), `${plural(workers.length, "worker")}${stuck ? `, ${stuck} stuck` : ""}${generation}`);
    if (this.shown !== null) this.#detail();
  }

  #by(name) {
    const [before, direction] = this.sort;
    // Numbers are looked at from the largest on.
    this.sort = [name, before === name ? -direction : ["id", "state"].includes(name) ? 1 : -1];
    this.draw();
  }

  #row(one) {
    const open = h("button", { type: "button", class: "open", onclick: () => this.open(one.id) }, String(one.id));
    const bar = h("span", { class: "bar" }, h("i"));
    const cells = COLUMNS.map(([name, , , , kind]) => {
      if (name === "id") return h("th", { scope: "row", class: "id" }, open);
      if (name === "busy") return h("td", { class: "busy" }, bar, h("span"));
      if (name === "serves") return h("td", { class: "serves" }, h("span", { class: "muted" }), h("code"));
      return h("td", { class: `${name} ${kind ?? ""}` });
    });
    return h("tr", { id: `worker-${one.id}` }, cells);
  }

  #update(row, one) {
    const old = one.generation !== this.store.now.instance.generation;
    setAttribute(row, "data-state", one.state);
    COLUMNS.forEach(([name, , , text], index) => {
      const cell = row.children[index];
      if (text) setText(cell, text(one));
      else if (name === "state") {
        setText(cell, `${GLYPHS[one.state]} ${one.state}${old ? ", old code" : ""}`);
        setAttribute(cell, "title", one.cause);
      } else if (name === "busy") {
        setAttribute(cell.firstChild.firstChild, "data-of", Math.round(one.busy * 100));
        cell.firstChild.firstChild.style.width = `${Math.min(100, one.busy * 100).toFixed(1)}%`;
        setText(cell.lastChild, percent(one.busy));
      } else if (name === "serves") {
        setText(cell.firstChild, one.serves ? `${duration(one.serves.seconds)} ` : "");
        setText(cell.lastChild, one.serves?.line ?? "");
        setAttribute(cell, "title", one.serves ? `${one.serves.line}${one.blocks ? ", on the loop" : ""}` : null);
        setAttribute(cell, "class", `serves${one.blocks && one.serves.seconds > BLOCKED ? " alarm" : ""}`);
      }
    });
  }

  // Up and down move from worker to worker.
  #key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    const buttons = [...this.body.querySelectorAll("button.open")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }

  open(id) {
    this.shown = id;
    const dialog = byId("detail");
    dialog.replaceChildren();
    this.#detail();
    dialog.showModal();
    dialog.addEventListener("close", () => (this.shown = null), { once: true });
  }

  #detail() {
    const dialog = byId("detail");
    const one = this.store.now.workers.find(({ id }) => id === this.shown);
    if (!dialog.firstChild) {
      const restart = h("button", { type: "button", class: "changes", id: "restart", onclick: () => this.#restart() }, "Restart…");
      const profile = h("button", { type: "button", class: "changes", id: "profile", onclick: () => this.#profile() }, "Profile…");
      const close = h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close");
      dialog.append(
        h("h2", { id: "detail-title" }, `Worker ${this.shown}`), h("p", { class: "muted" }), h("dl", { class: "pairs" }),
        h("h3", {}, "Waiting requests"), h("ol", { class: "rows" }), ...insight(this.shown),
        h("ol", { class: "profiles" }), h("div", { class: "buttons" }, profile, restart, close));
    }
    const [, about, facts, , waiting] = dialog.children;
    setAttribute(dialog, "data-gone", one ? null : "");
    this.#profiles(dialog.querySelector(".profiles"));
    if (!one) return setText(about, "This worker has ended.");
    setText(about, `${GLYPHS[one.state]} ${one.state}, process ${one.pid}${one.cause ? `: ${one.cause}` : ""}`);
    const [busy, size, calls] = one.threads;
    const rows = [
      ["Age", age(one.age)],
      ["Generation of the code", exact(one.generation)],
      ["CPU", percent(one.cpu)],
      ["Memory", bytes(one.rss)],
      ["Loop busy", `${percent(one.busy)}, came round ${duration(one.silence)} ago`],
      ["Threads", size ? `${busy} of ${size} busy, ${plural(calls, "call")} waiting` : "none"],
      ["Requests", `${exact(one.requests)}, ${count(one.rate)} per second, p95 ${duration(one.p95)}`],
      ["Answered with 5xx", exact(one.errors)],
      ["Connections", `${exact(one.connections)}, ${plural(one.websockets, "WebSocket")}`],
    ];
    keyed(facts, rows, ([label]) => label, ([label]) => h("div", {}, h("dt", {}, label), h("dd", {})),
      (element, [, value]) => setText(element.children[1], value));
    const all = one.waiting.length ? one.waiting : [{ line: "none", seconds: null }];
    keyed(waiting, all.map((entry, index) => ({ ...entry, index })), ({ index }) => index,
      () => h("li", {}, h("b", {}), h("code", {})),
      (element, entry) => {
        setText(element.children[0], entry.seconds === null ? "" : duration(entry.seconds));
        setText(element.children[1], entry.line);
      });
  }

  #profiles(list) {
    const mine = this.actions.profiles.filter(({ worker }) => worker === this.shown);
    keyed(list, mine, ({ begun, href, failed }) => `${begun} ${href} ${failed}`, ({ begun, seconds, href, text, failed }) =>
      h("li", {}, `Profile of ${clock(begun / 1000)}: `,
        href ? [flame({ href }), h("span", { class: "muted" }, ` ${text}`)] : (failed ?? `under way, ${seconds} s`)));
  }

  #profile() {
    const id = this.shown;
    byId("detail").close();
    this.actions.profile(id);
  }

  #restart() {
    const id = this.shown;
    byId("detail").close();
    this.actions.restart(id);
  }
}
