// What changes something: asked for in a dialog, sent by POST with a field of our own that other sites cannot send
// (docs/admin.md), its result or error shown until somebody has seen it.

import { byId, h } from "./dom.js";
import { percent, plural } from "./format.js";

const SHOWN = 6000; // ms; errors stay

export class Actions {
  constructor(store) {
    this.store = store;
    this.profiles = []; // that this page has asked for, the latest first
    byId("scale").addEventListener("click", () => this.scale());
    byId("reload").addEventListener("click", () => this.reload());
    byId("drain").addEventListener("click", () => this.drain());
  }

  get #may() {
    return this.store.now !== null && !this.store.access.read_only;
  }

  scale() {
    if (!this.#may) return;
    const { min, max, target } = this.store.now.instance;
    const fields = [
      { name: "min", label: "At least", type: "number", value: min, min: 0, max: 256 },
      { name: "max", label: "At most", type: "number", value: max, min: 1, max: 256 },
    ];
    this.#ask({
      title: "Scale",
      text: `${plural(target, "worker")} now. The same number twice is fixed; a range follows the load; from 0 it may sleep.`,
      fields,
      confirm: "Scale",
      check: ({ min, max }) => (min > max ? "At least is more than at most." : null),
      done: (values) => this.#send("scale", values, `Scaling to ${values.min} to ${values.max}…`),
    });
  }

  reload() {
    if (!this.#may) return;
    this.#ask({
      title: "Reload the code?",
      text: "New workers start with the code as it is now and replace the others one by one. Nothing is lost; if they cannot start, the old ones go on.",
      confirm: "Reload",
      done: () => this.#send("reload", {}, "Reloading…"),
    });
  }

  drain() {
    if (!this.#may) return;
    this.#ask({
      title: "Drain and end the server?",
      text: "Running requests are finished, then the whole instance ends. It does not come back by itself, and this page goes with it.",
      confirm: "End the server",
      grave: true,
      done: () => this.#send("drain", {}, "Draining…"),
    });
  }

  restart(worker) {
    if (!this.#may) return;
    this.#ask({
      title: `Restart worker ${worker}?`,
      text: "Another one starts first; then this one finishes what it serves and ends.",
      confirm: "Restart",
      done: () => this.#send("restart", { worker }, `Restarting worker ${worker}…`),
    });
  }

  profile(worker) {
    if (!this.#may) return;
    this.#ask({
      title: `Profile worker ${worker}`,
      text: "A thread of the worker looks where its time goes, 100 times a second; requests go on. What stays allocated instead is seen by tracing every allocation, which is slow: keep it short.",
      fields: [
        { name: "seconds", label: "Seconds", type: "number", value: 10, min: 1, max: 600 },
        { name: "memory", label: "Memory, not time", type: "checkbox" },
      ],
      confirm: "Profile",
      done: (values) => this.#profile(worker, values),
    });
  }

  signIn(done) {
    const dialog = byId("ask");
    if (dialog.open && dialog.dataset.kind === "sign-in") return;
    this.#ask({
      kind: "sign-in",
      title: "Sign in",
      text: "This address wants the token from the file of --admin-token-file.",
      fields: [{ name: "token", label: "Token", type: "password", autocomplete: "current-password", required: true }],
      confirm: "Sign in",
      modal: true,
      done: async (values, say) => {
        const failed = await post("session", values);
        if (failed.error) return say(failed.text);
        dialog.close();
        done();
      },
    });
  }

  async #send(command, values, pending) {
    const toast = this.#toast(pending, "pending");
    const { error, text } = await post(command, values);
    toast.remove();
    this.#toast(text, error ? "error" : "done");
  }

  async #profile(worker, { seconds, memory }) {
    const one = { worker, seconds, begun: Date.now(), failed: null, href: null };
    this.profiles.unshift(one);
    const bar = h("progress", { max: seconds, value: 0, "aria-label": `Profile of worker ${worker}` });
    const toast = this.#toast([`Profiling worker ${worker} for ${seconds} s…`, bar], "pending");
    const tick = setInterval(() => (bar.value = Math.min(seconds, (Date.now() - one.begun) / 1000)), 100);
    const { error, text, document } = await post("profile", { worker, seconds, memory, page: true });
    clearInterval(tick);
    toast.remove();
    if (error) {
      one.failed = text;
      return this.#toast(text, "error");
    }
    one.href = `/api/flame?profile=${document.profile}`;
    one.text = text;
    const hottest = document.hottest.slice(0, 3).map((hot) => h("li", {}, h("b", {}, percent(hot.own)), h("code", {}, hot.function)));
    this.#toast([h("b", {}, `Worker ${worker}: `), flame(one), hottest.length ? h("ol", { class: "hottest" }, hottest)
      : h("p", { class: "muted" }, "It had nothing to do, or nothing stayed allocated.")], "kept");
  }

  #toast(text, kind) {
    const glyph = { pending: "…", done: "✓", kept: "✓", error: "✕" }[kind];
    const close = kind === "pending" ? null : h("button", { type: "button", "aria-label": "Close", onclick: () => toast.remove() }, "×");
    const toast = h("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : null },
      h("span", { "aria-hidden": "true" }, glyph), h("div", {}, text), close);
    byId("toasts").append(toast);
    if (kind === "done") setTimeout(() => toast.remove(), SHOWN);
    return toast;
  }

  // A dialog: `done(values, say)` is called with what was entered; `say` shows what is wrong with it.
  #ask({ kind = "", title, text, fields = [], confirm, check, done, grave = false, modal = false }) {
    const dialog = byId("ask");
    if (dialog.open) dialog.close();
    dialog.dataset.kind = kind;
    const wrong = h("p", { class: "wrong", role: "alert" });
    const inputs = fields.map(({ label, ...attributes }) => h("input", { id: `ask-${attributes.name}`, required: attributes.type !== "checkbox", ...attributes }));
    const form = h("form", { novalidate: false }, h("h2", { id: "ask-title" }, title), h("p", {}, text),
      h("div", { class: "fields" }, inputs.map((input, index) => h("label", { class: input.type === "checkbox" ? "check" : null }, fields[index].label, input))), wrong,
      h("div", { class: "buttons" },
        modal ? null : h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { type: "submit", class: grave ? "grave" : "main" }, confirm)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const read = (input) => (input.type === "number" ? Number(input.value) : input.type === "checkbox" ? input.checked : input.value);
      const values = Object.fromEntries(inputs.map((input) => [input.name, read(input)]));
      const mistake = check?.(values);
      if (mistake) return (wrong.textContent = mistake);
      if (!modal) dialog.close();
      done(values, (said) => (wrong.textContent = said));
    });
    dialog.oncancel = modal ? (event) => event.preventDefault() : null;
    dialog.replaceChildren(form);
    dialog.showModal();
    (inputs[0] ?? form.querySelector(grave ? "button" : "button[type=submit]")).focus();
    inputs[0]?.select?.();
  }
}

// The link to what a profile has found. A page of its own, which knows nothing of this one.
export const flame = ({ href }) => h("a", { href, target: "_blank", rel: "noopener" }, "open the flame graph");

async function post(command, values) {
  try {
    const answer = await fetch(`/api/${command}`, {
      method: "POST",
      headers: { "Swell-Admin": "1", "Content-Type": "application/json" },
      body: JSON.stringify(values),
    });
    const document = await answer.json();
    return answer.ok ? { text: document.text, document } : { error: true, text: document.detail ?? document.title };
  } catch {
    return { error: true, text: "The server went away before it answered." };
  }
}
