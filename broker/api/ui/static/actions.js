// What a key that may trade can do here: cancel, close, and the kill switch; each under one idempotency key.
import { write } from "./api.js";
import { byId, clock, digits, make, plural, say, words } from "./words.js";

const NOTES = 8;

// A line for people and screen readers: what was done, or why not.
export function note(kind, text) {
  const when = make("time", "quiet", clock(new Date().toISOString()));
  const list = byId("notes");
  list.prepend(make("li", kind, make("span", "mark"), make("span", null, text), when));
  while (list.children.length > NOTES) list.lastElementChild.remove();
}

// Asks once. Resolves to the reason that was given, or null if the person goes back.
function confirmed({ title, text, yes, asksReason = false }) {
  const dialog = byId("confirm");
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), text);
  say(byId("confirm-yes"), yes);
  byId("reason-field").hidden = !asksReason;
  byId("reason").value = "";
  dialog.returnValue = "";
  return new Promise((resolve) => {
    byId("confirm-no").onclick = () => dialog.close("");
    byId("confirm-yes").onclick = () => dialog.close("yes");
    dialog.onclose = () => resolve(dialog.returnValue === "yes" ? byId("reason").value.trim() : null);
    dialog.showModal();
    // The way back has the focus: Enter alone never trades.
    byId("confirm-no").focus();
  });
}

async function run(button, told, send) {
  button.disabled = true;
  try {
    const answer = await send();
    note(...told(answer));
  } catch (error) {
    // With no answer the result is open: the list below tells it, and so it is said.
    const open = error.status ? "" : " It may have been done all the same: look below, or try again.";
    note("bad", `${error.message}${open}`);
  } finally {
    button.disabled = false;
  }
}

export function cancel(button, order) {
  return run(button, (answer) => ["good", `${name(answer)} is ${words(answer.status)}.`],
    () => write("DELETE", `orders/${encodeURIComponent(order.id)}`));
}

export async function close(button, position, environment) {
  const text = `A market order closes all of it, ${digits(position.units)} ${position.instrument}, on the ${environment} account.`;
  if (await confirmed({ title: `Close ${position.instrument}?`, text, yes: `Close ${position.instrument}` }) === null) return;
  await run(button, (answer) => [answer.status === "filled" ? "good" : "warn",
    `Close of ${position.instrument}: ${words(answer.status)}${answer.average_price ? ` at ${digits(answer.average_price)}` : ""}${answer.reason ? `, ${answer.reason}` : ""}.`],
    () => write("POST", `positions/${encodeURIComponent(position.instrument)}/close`, {}));
}

export async function kill(button, { account, environment, orders, positions }) {
  const text = `Halts trading of the ${environment} account ${account}, cancels ${plural(orders, "open order")} and closes ${plural(positions, "position")} at the market. `
    + "Trading stays halted until somebody resumes it.";
  const reason = await confirmed({ title: "Use the kill switch?", text, yes: "Halt, cancel all, close all", asksReason: true });
  if (reason === null) return;
  await run(button, killed, () => write("POST", "admin/kill", { confirm: account, reason: reason || "kill switch on the page" }));
}

function killed(answer) {
  const left = answer.results.filter((item) => !["done", "ended"].includes(item.outcome));
  if (!left.length) return ["good", `Kill switch: trading is ${answer.state}, and nothing is open.`];
  const rows = left.map((item) => `${item.subject} ${item.outcome}${item.reason ? ` (${item.reason})` : ""}`).join(", ");
  return ["bad", `Kill switch: trading is ${answer.state}, but something is left: ${rows}. Use it again.`];
}

const name = (order) => `${words(order.type)} ${order.side} ${digits(order.units)} ${order.instrument}`;
