// Elements, and figures as people read them. All texts become text nodes: none is ever read as markup.
export const byId = (id) => document.getElementById(id);

// An element. A class may be null; children are nodes or texts, null is left out.
export function make(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function say(container, text) {
  if (container.textContent !== text) container.textContent = text;
}

// Replaces a container's content only where it differs: an unchanged part keeps its selection.
export function show(container, children) {
  const fresh = container.cloneNode(false);
  fresh.append(...children);
  if (!fresh.isEqualNode(container)) container.replaceChildren(...fresh.childNodes);
}

// A decimal text with the venue's own digits, its thousands apart; never by way of a binary number.
export function digits(text) {
  if (text === null || text === undefined || text === "") return "–";
  const [, sign, whole, rest] = /^([-+]?)(\d+)(.*)$/.exec(String(text)) ?? [null, "", String(text), ""];
  return `${sign === "-" ? "−" : sign}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${rest}`;
}

// Money: two places are what people read; the exact text is in the cell's title.
export function money(text) {
  if (text === null || text === undefined) return "–";
  const value = Number(text);
  const shown = Math.abs(value).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return value < 0 && shown !== "0.00" ? `−${shown}` : shown;
}

export function result(text) {
  const shown = money(text);
  return shown === "–" || shown === "0.00" || shown.startsWith("−") ? shown : `+${shown}`;
}

export const percent = (text) => (text === null || text === undefined ? "–" : `${(Number(text) * 100).toFixed(1)} %`);
export const leaning = (text) => (Number(text) > 0 ? "gain" : Number(text) < 0 ? "loss" : "");

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.round(whole / 60)} min`;
  if (whole < 129600) return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
  return `${Math.round(whole / 86400)} d`;
}

// The time of day in UTC, with its date where that is not today.
export function clock(text, now = Date.now()) {
  if (!text) return "–";
  const utc = new Date(text).toISOString();
  return utc.startsWith(new Date(now).toISOString().slice(0, 10)) ? utc.slice(11, 19) : `${utc.slice(0, 10)} ${utc.slice(11, 19)}`;
}

export const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
export const words = (name) => String(name).replaceAll("_", " ");
