// The stream of events, and what to do when there is none.
//
// States: connecting → live → lost (waits, tries again, each time a little later) and back; signed-out, where a token is
// asked for; refused, where trying again would not help. Nobody who looks at another tab is sent anything.

const SILENCE = 5000; // ms without an event, of which there is one a second: the connection hangs
const FIRST_WAIT = 500, LONGEST_WAIT = 5000;
const HIDDEN = 60_000; // ms in the background until the stream is given up

export class Stream {
  // on.hello(document), on.now(document), on.state(name, {text, retryAt})
  constructor(on) {
    this.on = on;
    this.wait = FIRST_WAIT;
    this.timers = {};
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  open() {
    this.close();
    this.on.state("connecting", {});
    const source = (this.source = new EventSource("/api/events"));
    source.addEventListener("hello", (event) => {
      this.wait = FIRST_WAIT;
      this.on.state("live", {});
      this.on.hello(JSON.parse(event.data));
      this.#heard();
    });
    source.addEventListener("now", (event) => {
      this.on.now(JSON.parse(event.data));
      this.#heard();
    });
    source.addEventListener("error", () => this.#lost());
    this.#heard();
  }

  close() {
    this.source?.close();
    this.source = null;
    for (const name of Object.keys(this.timers)) this.#clear(name);
  }

  #heard() {
    this.#set("silence", SILENCE, () => this.#lost());
  }

  // An EventSource does not say why it has failed; an ordinary request does.
  async #lost() {
    this.close();
    let answer;
    try {
      answer = await fetch("/livez", { cache: "no-store", signal: AbortSignal.timeout(SILENCE) });
      answer = await fetch("/api/health", { cache: "no-store", signal: AbortSignal.timeout(SILENCE) });
    } catch {
      return this.#again("The server does not answer");
    }
    if (answer.status === 401) return this.on.state("signed-out", {});
    if (answer.status === 403) return this.on.state("refused", { text: (await answer.json()).detail });
    this.#again("The connection was interrupted");
  }

  #again(text) {
    if (document.hidden) return;
    const wait = this.wait;
    this.wait = Math.min(LONGEST_WAIT, wait * 1.6);
    this.on.state("lost", { text, retryAt: Date.now() + wait });
    this.#set("retry", wait, () => this.open());
  }

  #visibility() {
    if (document.hidden) this.#set("hidden", HIDDEN, () => this.close());
    else if (this.source) this.#clear("hidden");
    else if (!this.timers.retry) this.open();
  }

  #set(name, delay, action) {
    this.#clear(name);
    this.timers[name] = setTimeout(() => {
      this.timers[name] = 0;
      action();
    }, delay);
  }

  #clear(name) {
    clearTimeout(this.timers[name]);
    this.timers[name] = 0;
  }
}
