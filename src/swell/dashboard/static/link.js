// Whether the page is connected, and to what: the words in the corner and the notices below.

import { byId, h, setText } from "./dom.js";
import { clock } from "./format.js";

const STATES = {
  starting: "starts: no worker has been ready yet",
  reloading: null,
  running: null,
  draining: "is ending: running requests are finished, nothing new is accepted",
  stopping: "is ending: running requests are finished, nothing new is accepted",
  sleeping: "sleeps, for want of requests: the next connection wakes it",
};

export class Link {
  constructor(actions, open) {
    this.actions = actions;
    this.open = open;
    this.lostAt = null;
    this.retryAt = null;
    setInterval(() => this.#countdown(), 250);
  }

  set(name, { text, retryAt }) {
    document.body.dataset.link = name;
    this.retryAt = retryAt ?? null;
    if (name === "live") {
      this.lostAt = null;
      setText(byId("link-text"), "Live");
      this.#notice("lost", null);
    } else if (name === "lost") {
      this.lostAt ??= Date.now() / 1000;
      const again = h("button", { type: "button", onclick: () => this.open() }, "Try now");
      this.#notice("lost", `${text}. What you see is from ${clock(this.lostAt)}.`, again);
      this.#countdown();
    } else if (name === "signed-out") {
      setText(byId("link-text"), "Signed out");
      this.#notice("lost", null);
      this.actions.signIn(() => this.open());
    } else if (name === "refused") {
      setText(byId("link-text"), "Refused");
      this.#notice("lost", text);
    } else if (this.lostAt === null) {
      setText(byId("link-text"), "Connecting…");
    }
  }

  // Who greets may be another than before.
  greeted(instance, before) {
    if (before && before.pid !== instance.pid) {
      const gone = `The server was replaced: process ${before.pid}, now ${instance.pid}, since ${clock(instance.started)}.`;
      this.#notice("replaced", gone, this.#close("replaced"));
    }
  }

  instance({ name, state }) {
    document.body.dataset.instance = state;
    this.#notice("state", STATES[state] ? `${name} ${STATES[state]}.` : null);
  }

  #countdown() {
    if (this.retryAt === null || document.body.dataset.link !== "lost") return;
    const seconds = Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000));
    setText(byId("link-text"), seconds ? `Reconnecting in ${seconds} s` : "Reconnecting…");
  }

  #close(name) {
    return h("button", { type: "button", onclick: () => this.#notice(name, null) }, "Close");
  }

  #notice(name, text, ...buttons) {
    const id = `notice-${name}`;
    const old = byId(id);
    if (text === null) return old?.remove();
    if (old?.firstElementChild.textContent === text) return;
    const made = h("div", { class: "notice", id }, h("p", {}, text), ...buttons);
    if (old) old.replaceWith(made);
    else byId("notices").append(made);
  }
}
