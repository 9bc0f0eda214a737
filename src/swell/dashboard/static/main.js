// The page: puts the parts together. Everything that is shown comes from the stream; everything that is done goes
// through `actions`.

import { Actions } from "./actions.js";
import { Charts } from "./charts.js";
import { byId, setText, show } from "./dom.js";
import { figures, connections } from "./figures.js";
import { Outlook } from "./outlook.js";
import { Link } from "./link.js";
import { Log } from "./log.js";
import { routes, running } from "./requests.js";
import { scaling } from "./scaling.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Workers } from "./workers.js";
import { age } from "./format.js";

const store = new Store();
const actions = new Actions(store);
const charts = new Charts(store);
const workers = new Workers(store, actions);
const log = new Log();
const outlook = new Outlook();
const link = new Link(actions, () => stream.open());

const stream = new Stream({
  hello(document) {
    link.greeted(document.instance, store.now?.instance);
    store.hello(document);
    draw();
  },
  now(document) {
    store.moment(document);
    draw();
  },
  state(name, details) {
    link.set(name, details);
    log.allow(name === "live");
    outlook.allow(name === "live");
  },
});

function draw() {
  const { instance } = store.now;
  document.title = `${store.now.workers.length ? "" : "! "}${instance.name} · Swell`;
  document.body.classList.remove("waiting");
  setText(byId("name"), instance.name);
  setText(byId("about"), `${instance.app} on ${instance.addresses.join(", ")}`);
  setText(byId("version"), `Swell ${instance.version}, parent ${instance.pid}, up ${age(store.now.at - instance.started)}`);
  show(byId("actions"), !store.access.read_only);
  show(byId("read-only"), store.access.read_only);
  document.body.classList.toggle("read-only", store.access.read_only);
  link.instance(instance);
  figures(store);
  charts.draw();
  outlook.follow(instance.min < instance.max);
  workers.draw();
  scaling(store, charts);
  running(store);
  routes(store);
  connections(store);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {
    s: () => actions.scale(),
    r: () => actions.reload(),
    w: () => workers.focus(),
    1: () => charts.choose(60),
    5: () => charts.choose(300),
    9: () => charts.choose(900),
  };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

stream.open();
