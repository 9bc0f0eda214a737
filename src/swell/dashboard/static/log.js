// Requests that are over, as the access log has them: those that fail, those that are slow, or all.
//
// The server sends nothing before this asks, and the workers do not wait for it: what comes faster than it can be read
// here is dropped and counted. Closed while the page is in the background.

import { byId, h, setText, show } from "./dom.js";
import { clock, duration, exact } from "./format.js";

const ROWS = 200;
const DRAW = 250; // ms
const KINDS = [["failing", "Failing"], ["slow", "Slow"], ["all", "All"], ["off", "Off"]];
const NO_RESPONSE = 1, SERVER_ERROR = 1 << 5; // bits of `statuses`
const TEXT = /^(\S+) .*? "(.*?)" (\d+|-) ([\d.]+)ms(.*)$/;
const COLOURS = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g");

export class Log {
  constructor() {
    this.kind = "failing";
    this.waiting = []; // the oldest first
    this.lost = 0;
    this.stream = null;
    this.allowed = false;
    byId("log-kind").append(...KINDS.map(([kind, text]) =>
      h("label", {}, h("input", { type: "radio", name: "log", value: kind, checked: kind === this.kind, onchange: () => this.#choose(kind) }), text)));
    byId("log-slower").addEventListener("change", () => this.#anew());
    byId("log-contains").addEventListener("change", () => this.#anew());
    document.addEventListener("visibilitychange", () => this.#open());
    setInterval(() => this.#draw(), DRAW);
  }

  // Whether there is somebody to ask.
  allow(is) {
    if (this.allowed === is) return;
    this.allowed = is;
    this.#open();
  }

  #choose(kind) {
    this.kind = kind;
    this.#anew();
  }

  #anew() {
    byId("log").replaceChildren();
    this.waiting = [];
    this.lost = 0;
    this.#open();
  }

  get #slower() {
    return this.kind === "slow" ? Math.max(0, Math.round(Number(byId("log-slower").value) || 0)) : 0;
  }

  get #contains() {
    return byId("log-contains").value.trim();
  }

  #query() {
    const query = new URLSearchParams({ level: "off", slower_ms: this.#slower });
    if (this.kind === "failing") query.set("statuses", NO_RESPONSE | SERVER_ERROR);
    if (this.#contains) query.set("contains", this.#contains);
    return query;
  }

  // The server sends what all who follow want together.
  #wants(row, line) {
    if (this.kind === "failing" && !row.failed) return false;
    return row.seconds * 1000 >= this.#slower && line.includes(this.#contains);
  }

  #open() {
    this.stream?.abort();
    this.stream = null;
    show(byId("log-slower").parentElement, this.kind === "slow");
    const off = this.kind === "off" || !this.allowed || document.hidden;
    if (off) return this.#say(this.kind === "off" ? "Off: the workers send nothing." : "");
    const stream = (this.stream = new AbortController());
    this.#read(stream.signal).catch((error) => {
      if (!stream.signal.aborted) this.#say(`The log was interrupted: ${error.message}`);
    });
  }

  async #read(signal) {
    const answer = await fetch(`/api/logs?${this.#query()}`, { signal });
    show(byId("log-section"), answer.status !== 404);
    if (!answer.ok) throw new Error((await answer.json()).detail);
    this.#say("Nothing yet.");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return this.#say("The log has ended.");
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line) continue;
        const { worker, lost, lines: entries } = JSON.parse(line);
        this.lost += lost;
        for (const entry of entries) this.#take(entry, worker);
      }
    }
  }

  #take(line, worker) {
    const row = parse(line);
    if (!row || !this.#wants(row, line)) return;
    this.waiting.push({ ...row, worker });
    if (this.waiting.length > ROWS) {
      this.waiting.shift();
      this.lost += 1;
    }
  }

  #draw() {
    setText(byId("log-lost"), this.lost ? `${exact(this.lost)} not shown` : "");
    if (!this.waiting.length) return;
    const list = byId("log");
    list.prepend(...this.waiting.reverse().map(element));
    this.waiting = [];
    while (list.childElementCount > ROWS) list.lastElementChild.remove();
    this.#say("");
  }

  #say(text) {
    const empty = byId("log").childElementCount === 0;
    setText(byId("log-empty"), text);
    show(byId("log-empty"), text !== "" && (empty || text !== "Nothing yet."));
  }
}

// A line of the access log, in either of its formats.
export function parse(line) {
  if (line.startsWith("{")) {
    const read = JSON.parse(line);
    if (read.duration_ms === undefined) return null;
    const request = read.method ? `${read.method} ${read.path}` : (read.request ?? "");
    return row(read.time, request, read.status, read.duration_ms, read.request_id, read.refused);
  }
  const found = TEXT.exec(line.replace(COLOURS, ""));
  if (!found) return null;
  const [, time, request, status, milliseconds, rest] = found;
  const id = / id=(\S+)/.exec(rest)?.[1];
  const refused = / refused: ([^"]*?)(?: id=|$)/.exec(rest)?.[1];
  return row(time, request.replace(/ HTTP\/[\d.]+$/, ""), status === "-" ? null : Number(status), Number(milliseconds), id, refused);
}

function row(time, request, status, milliseconds, id, refused) {
  const failed = status === null || status >= 500;
  return { at: Date.parse(time) / 1000, request, status, failed, seconds: milliseconds / 1000, id, refused };
}

function element({ at, request, status, failed, seconds, id, refused, worker }) {
  return h("li", {},
    h("time", {}, clock(at)),
    h("b", { class: failed ? "alarm" : null }, `${failed ? "✕ " : ""}${status ?? "none"}`),
    h("span", {}, duration(seconds)),
    h("code", { title: request }, request, refused ? h("em", {}, ` ${refused}`) : null),
    h("code", { class: "muted id", title: id }, id ?? ""),
    h("span", { class: "muted" }, `worker ${worker}`));
}
