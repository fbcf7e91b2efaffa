// The event tail: filter, severity, pause.
import { byId, count, make, say } from "/words.js";

const KEPT = 2000;
const SHOWN = 300;
const tail = { events: [], paused: false, missed: 0, seen: 0, dirty: false };
const LEVELS = [[17, "error", "bad"], [13, "warn", "warn"], [9, "info", ""], [5, "debug", ""], [1, "trace", ""], [0, "–", ""]];
const level = (severity) => LEVELS.find(([least]) => severity >= least);

function text(event) {
  return `${event.name} ${event.producer} ${Object.entries(event.attributes).map(([key, value]) => `${key}=${value}`).join(" ")}`.toLowerCase();
}

const plain = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : value);

function eventRow(event) {
  const [, word, kind] = level(event.severity);
  const values = make("span", "values");
  for (const [key, value] of Object.entries(event.attributes)) values.append(make("span", null, `${key}=`), `${plain(value)} `);
  return make("li", kind, make("span", "when", event.time.slice(11, 23)), make("span", "level", word), make("span", "name", event.name), values);
}

function drawTail() {
  tail.dirty = false;
  const wanted = byId("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const least = Number(byId("severity").value);
  const chosen = [];
  for (let place = tail.events.length - 1; place >= 0 && chosen.length < SHOWN; place -= 1) {
    const event = tail.events[place];
    if (event.severity >= least && wanted.every((word) => (event.text ??= text(event)).includes(word))) chosen.push(event);
  }
  const list = byId("tail");
  const atTop = list.scrollTop < 8;
  const nothing = make("li", "empty", tail.events.length ? "Nothing matches the filter." : "No event yet.");
  list.replaceChildren(...(chosen.length ? chosen.map((event) => (event.row ??= eventRow(event))) : [nothing]));
  if (atTop) list.scrollTop = 0;
  const behind = tail.paused && tail.missed ? `, ${count(tail.missed)} since the pause` : "";
  say(byId("tail-count"), `${count(chosen.length)} shown of ${count(tail.seen)}${behind}`);
}

// Takes events as they come.
export function take(events) {
  tail.seen += events.length;
  if (tail.paused) tail.missed += events.length;
  else {
    tail.events.push(...events);
    if (tail.events.length > KEPT) tail.events.splice(0, tail.events.length - KEPT);
  }
  if (!tail.dirty) {
    tail.dirty = true;
    requestAnimationFrame(drawTail);
  }
}

byId("filter").addEventListener("input", drawTail);
byId("severity").addEventListener("change", drawTail);
byId("pause").addEventListener("click", () => {
  tail.paused = !tail.paused;
  tail.missed = 0;
  byId("pause").setAttribute("aria-pressed", String(tail.paused));
  say(byId("pause"), tail.paused ? "Go on" : "Pause");
  drawTail();
});
byId("clear").addEventListener("click", () => {
  tail.events = [];
  drawTail();
});
drawTail();
