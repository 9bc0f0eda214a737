// What the page knows: this moment, and points that outlive a restart of the server, because the page does.

const KEPT = 900; // seconds, as on the server
const DECISIONS = 100;

export class Store {
  constructor() {
    this.columns = [];
    this.points = []; // objects by column, the oldest first
    this.decisions = []; // the oldest first
    this.now = null;
    this.access = { read_only: true };
  }

  hello(document) {
    this.columns = document.columns;
    this.access = document.access;
    const theirs = document.history.map((row) => this.#point(row));
    // What is older than their memory is what another server, or this page, has seen. From before its own start a
    // server may have a point a minute of some of the columns: that is better than nothing only.
    const whole = theirs.filter((point) => point.requests !== null);
    const ours = this.points.filter((point) => point.at < (whole[0]?.at ?? Infinity));
    const sparse = theirs.filter((point) => point.requests === null && point.at < (ours[0] ?? whole[0] ?? { at: Infinity }).at);
    this.points = [...sparse, ...ours, ...whole];
    this.#trim();
    this.#decide(document.decisions);
    this.now = document;
  }

  moment(document) {
    if (document.point) {
      const point = this.#point(document.point);
      if (!this.points.length || point.at > this.points.at(-1).at) this.points.push(point);
      this.#trim();
    }
    this.#decide(document.decisions);
    this.now = document;
  }

  get last() {
    return this.points.at(-1) ?? null;
  }

  #point(row) {
    return Object.fromEntries(this.columns.map((name, index) => [name, row[index]]));
  }

  #trim() {
    const oldest = (this.last?.at ?? 0) - KEPT - 10;
    let drop = 0;
    while (drop < this.points.length && this.points[drop].at < oldest) drop += 1;
    if (drop) this.points.splice(0, drop);
  }

  #decide(decisions) {
    const known = new Set(this.decisions.map((one) => one.at));
    const added = decisions.filter((one) => !known.has(one.at));
    if (added.length) {
      this.decisions = [...this.decisions, ...added].sort((a, b) => a.at - b.at).slice(-DECISIONS);
    }
  }
}
