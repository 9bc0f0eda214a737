// Where the tasks and threads of a worker are: asked for with a button, as `swell tasks` and `swell dump` do.

import { h } from "./dom.js";
import { duration } from "./format.js";

const KINDS = [["tasks", "Tasks"], ["dump", "Stacks"]];

// The buttons for a worker, and the place below them where the answer appears.
export function insight(worker) {
  const place = h("div", { class: "insight", "aria-live": "polite" });
  const buttons = KINDS.map(([path, label]) =>
    h("button", { type: "button", id: `ask-${path}`, onclick: () => ask(path, worker, place) }, label));
  return [h("div", { class: "links" }, buttons), place];
}

async function ask(path, worker, place) {
  place.replaceChildren(h("p", { class: "muted" }, "Asking the worker…"));
  try {
    const answer = await fetch(`/api/${path}?worker=${worker}`);
    const document = await answer.json();
    if (!answer.ok) throw new Error(document.detail);
    place.replaceChildren(...(path === "tasks" ? tasks(document) : threads(document)));
  } catch (error) {
    place.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
  }
}

function tasks({ tasks: all, answered, left_out: more }) {
  const parts = [];
  if (!answered) parts.push(h("p", { class: "alarm" }, "✕ Its event loop does not answer; how old the tasks are is not known."));
  for (const [task, depth] of ordered(all)) {
    const about = [task.request ? request(task.request) : task.coroutine, task.state];
    if (task.age !== null) about.push(`for ${duration(task.age)}`);
    const element = block(about.join(", "), task.stack);
    element.style.marginLeft = `${depth * 16}px`;
    parts.push(element);
  }
  if (more) parts.push(h("p", { class: "muted" }, `${more} more tasks`));
  return parts;
}

// Requests first, the oldest at the top; below each task those that it waits for. A circle has no top.
function ordered(all) {
  const known = new Map(all.map((task) => [task.id, task]));
  const below = new Map();
  const tops = [];
  for (const task of all) {
    const parent = task.awaited_by.find((one) => known.has(one));
    if (parent === undefined) tops.push(task);
    else below.set(parent, [...(below.get(parent) ?? []), task]);
  }
  const rows = [];
  const seen = new Set();
  const add = (task, depth) => {
    if (seen.has(task.id)) return;
    seen.add(task.id);
    rows.push([task, depth]);
    for (const child of below.get(task.id) ?? []) add(child, depth + 1);
  };
  tops.sort((a, b) => (a.request === null) - (b.request === null) || (b.age ?? 0) - (a.age ?? 0));
  for (const task of [...tops, ...all]) add(task, 0);
  return rows;
}

function threads({ threads: all, raw, native, left_out: more }) {
  const parts = all.map((thread) => block(thread.name + (thread.request ? `, serves ${request(thread.request)}` : ""), thread.stack));
  if (raw) parts.push(h("p", { class: "muted" }, "Python does not run: written from below the interpreter."), h("pre", {}, raw));
  if (more) parts.push(h("p", { class: "muted" }, `${more} more threads`));
  for (const thread of native) {
    parts.push(h("p", { class: "muted" }, `${thread.name} (${thread.thread_id}): ${thread.does}, ${thread.cpu_seconds.toFixed(2)} s CPU`));
  }
  return parts;
}

const request = ({ method, path, id }) => `${method} ${path}${id ? ` id ${id}` : ""}`;

// The innermost frame stands first: it is where it waits.
function block(title, stack) {
  const lines = [...stack].reverse().map((frame) =>
    `${shortened(frame.file)}:${frame.line} in ${frame.function}${frame.code ? `\n    ${frame.code}` : ""}`);
  return h("details", { open: stack.length <= 4 }, h("summary", {}, title), h("pre", {}, lines.join("\n")));
}

function shortened(file) {
  const packages = file.match(/(?:site|dist)-packages\/(.*)/);
  return packages ? packages[1] : file.split("/").slice(-3).join("/");
}
