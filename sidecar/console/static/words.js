// Elements, and figures as people read them.
export const byId = (id) => document.getElementById(id);

// An element. A class may be null; children are nodes or texts, null is left out.
export function make(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Replaces a container's content only where it differs: an unchanged part keeps its selection and scroll.
export function show(container, ...children) {
  const fresh = document.createElement("div");
  fresh.append(...children.filter((child) => child !== null));
  if (container.innerHTML !== fresh.innerHTML) container.replaceChildren(...fresh.childNodes);
}

export function say(container, text) {
  if (container.textContent !== text) container.textContent = text;
}

export const count = (value) => Math.round(value).toLocaleString("en");

export function short(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return count(value);
}

export function speed(value) {
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(1);
  return short(value);
}

export function bytes(value) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return "";
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.round(whole / 60)} min`;
  if (whole < 129600) return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
  return `${Math.round(whole / 86400)} d`;
}

export function millis(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(1)} ms`;
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

// The time of day in UTC, as logs have it; with its date where that is another than the one of `now`.
export function clock(text, now) {
  if (!text) return "–";
  const day = new Date(now).toISOString().slice(0, 10);
  return text.startsWith(day) ? text.slice(11, 19) : `${text.slice(0, 10)} ${text.slice(11, 19)}`;
}
export const ago = (text, now) => (text ? span((now - Date.parse(text)) / 1000) : "–");
export const reasons = (table) => Object.entries(table).map(([reason, number]) => `${reason} ${count(number)}`).join(", ");
export const sum = (table) => Object.values(table).reduce((total, value) => total + value, 0);
export const pill = (kind, text) => make("span", `pill ${kind}`, text);
