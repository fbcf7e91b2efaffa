// The page beside the order API: reads, follows, and draws. See page.py for why the key travels in a header.
import { cancel, close, kill, note } from "./actions.js";
import { Refusal, follow, hasKey, keepKey, read, useAccount } from "./api.js";
import { Book } from "./book.js";
import { button, draw as table, put } from "./tables.js";
import { byId, clock, digits, leaning, make, money, percent, result, say, show, span, words } from "./words.js";

const LOOK_MS = 5000; // state and conditions, from the broker's memory
const ASK_MS = 10000; // account and positions: each asks the venue
const [DRAW_MS, HIDDEN_MS] = [150, 1000];
const SETTLE_MS = 400; // after a fill, for what comes with it
const AGAIN_MS = [500, 1000, 2000, 5000];

let book = new Book();
let holder = null; // id, scopes and accounts of the key
let account = null;
let live = { state: "lost", since: null };
let following = null;
let drawing = false;

const may = (scope) => holder?.scopes.includes(scope) ?? false;
const environment = () => ({ practice: "PRACTICE", live: "LIVE", other: "OTHER VENUE" })[book.account?.environment] ?? "";
const named = () => environment() || "venue's";

// ---- tables

const COLUMNS = {
  positions: [
    { title: "Instrument", text: (item) => item.instrument, className: "name" },
    { title: "Side", fill: (cell, item) => put(cell, Number(item.units) > 0 ? "long" : "short", Number(item.units) > 0 ? "buy" : "sell") },
    { title: "Units", text: (item) => digits(item.units), className: "number" },
    { title: "Average price", text: (item) => digits(item.average_price), className: "number" },
    { title: "Price now", text: (item) => digits(exitPrice(item)), className: "number" },
    { title: "Unrealised", fill: (cell, item) => put(cell, result(item.unrealized_profit), leaning(item.unrealized_profit), item.unrealized_profit), className: "number" },
    { title: "Realised", fill: (cell, item) => put(cell, result(item.realized_profit), leaning(item.realized_profit), item.realized_profit), className: "number" },
    { title: "Action", className: "act", fill: (cell, item) => button(cell, "Close", `Close ${item.instrument}`, may("trade"), (made) => close(made, item, named()).then(refresh)) },
  ],
  orders: [
    { title: "Since (UTC)", fill: (cell, item) => put(cell, clock(item.created_at), null, item.created_at), className: "time" },
    { title: "Instrument", text: (item) => item.instrument || "–", className: "name" },
    { title: "Side", fill: (cell, item) => put(cell, item.side, item.side) },
    { title: "Type", text: (item) => words(item.type) },
    { title: "Units", text: (item) => digits(item.units), className: "number" },
    { title: "Filled", text: (item) => digits(item.filled_units), className: "number" },
    { title: "Price", text: (item) => digits(item.price), className: "number" },
    { title: "Status", fill: (cell, item) => put(cell, words(item.status), ["unknown", "presumed_absent"].includes(item.status) ? "loss" : "") },
    { title: "Client", text: (item) => item.client, className: "text" },
    { title: "Client's id", text: (item) => item.client_order_id, className: "text mono" },
    { title: "Action", className: "act", fill: (cell, item) => button(cell, "Cancel", `Cancel ${words(item.type)} ${item.side} ${digits(item.units)} ${item.instrument}`,
      may("trade") && (item.client === holder.id || may("admin")), (made) => cancel(made, item).then(refresh)) },
  ],
  fills: [
    { title: "Time (UTC)", fill: (cell, item) => put(cell, clock(item.time), null, item.time), className: "time" },
    { title: "Instrument", text: (item) => item.instrument || "–", className: "name" },
    { title: "Side", fill: (cell, item) => put(cell, item.side, item.side) },
    { title: "Units", text: (item) => digits(item.units), className: "number" },
    { title: "Price", text: (item) => digits(item.price), className: "number" },
    { title: "Realised", fill: (cell, item) => put(cell, result(item.profit), leaning(item.profit), item.profit), className: "number" },
  ],
  prices: [
    { title: "Instrument", text: (item) => item.instrument, className: "name" },
    { title: "Bid", text: (item) => digits(item.bid), className: "number" },
    { title: "Ask", text: (item) => digits(item.ask), className: "number" },
    { title: "Time (UTC)", fill: (cell, item) => put(cell, item.tradeable ? clock(item.time) : "closed", item.tradeable ? null : "loss", item.time), className: "time" },
  ],
  conditions: [
    { title: "Condition", text: (item) => item.name, className: "name" },
    { title: "State", fill: (cell, item) => put(cell, item.ok ? "holds" : item.reason, item.ok ? "gain" : item.advisory ? "warn" : "loss") },
    { title: "Why", text: (item) => item.message || "–", className: "text" },
    { title: "For", fill: (cell, item) => put(cell, span((Date.now() - Date.parse(item.since)) / 1000), null, item.since), className: "time" },
  ],
};

function exitPrice(position) {
  const price = book.prices.get(position.instrument);
  return price && (Number(position.units) > 0 ? price.bid : price.ask);
}

function drawTables() {
  const orders = [...book.orders.values()].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at));
  const fills = book.latestFills();
  const held = book.positions.filter((item) => Number(item.units) !== 0);
  // The instruments that money hangs on come first.
  const used = new Set([...held, ...orders].map((item) => item.instrument));
  const prices = [...book.prices.values()].sort((a, b) => used.has(b.instrument) - used.has(a.instrument) || a.instrument.localeCompare(b.instrument));
  table("positions", COLUMNS.positions, held, (item) => item.instrument, "No open position.");
  table("orders", COLUMNS.orders, orders, (item) => item.id, "No open order.");
  table("fills", COLUMNS.fills, fills, (item) => `${item.transaction_id} ${item.order_id}`, "No fill yet.");
  table("prices", COLUMNS.prices, prices, (item) => item.instrument, "No price yet.");
  table("conditions", COLUMNS.conditions, book.conditions, (item) => item.name, "Not told yet.");
  say(byId("positions-count"), held.length ? String(held.length) : "");
  say(byId("orders-count"), orders.length ? String(orders.length) : "");
  say(byId("fills-count"), fills.length ? `the latest ${fills.length}` : "");
  say(byId("prices-count"), prices.length ? String(prices.length) : "");
}

// ---- account and verdict

function figure(title, text, className, exact) {
  const value = make("dd", className, text);
  if (exact) value.title = exact;
  return make("div", null, make("dt", null, title), value);
}

function drawAccount() {
  const seen = book.account;
  if (!seen) return;
  const open = seen.unrealized_profit ?? String(book.positions.reduce((total, item) => total + Number(item.unrealized_profit), 0));
  const rows = [
    [`Net asset value, ${seen.currency}`, money(seen.nav), "", seen.nav],
    ["Unrealised", result(open), leaning(open), open],
    ["Realised, in all", result(seen.realized_profit), leaning(seen.realized_profit), seen.realized_profit],
    ["Balance", money(seen.balance), "", seen.balance],
    ["Margin used", money(seen.margin_used), "", seen.margin_used],
    ["Margin available", money(seen.margin_available), "", seen.margin_available],
    ["Closeout at 100 %", percent(seen.margin_closeout_ratio), Number(seen.margin_closeout_ratio) > 0.5 ? "loss" : "", seen.margin_closeout_ratio],
  ];
  show(byId("figures"), rows.filter(([, , , exact]) => exact !== undefined).map((row) => figure(...row)));
  const badge = byId("environment");
  badge.hidden = !environment();
  badge.dataset.environment = book.account.environment ?? "";
  say(badge, environment());
}

const STATES = {
  active: ["healthy", "Trading"],
  reducing: ["degraded", "Reducing: only what makes positions smaller"],
  halted: ["down", "Halted: cancels only"],
};

// The worst that holds: state of the mark, title, causes.
function verdict() {
  const failing = book.conditions.filter((item) => !item.ok);
  const causes = failing.map((item) => ({ advice: item.advisory, name: `${item.name}: ${item.reason}`, text: item.message }));
  const elsewhere = failing.find((item) => item.name === "Ownership" && item.reason === "NotOwner");
  if (live.state !== "live") return ["unknown", live.state === "connecting" ? "Connecting" : "Not live: the stream is lost, trying again", causes];
  if (book.state && book.state !== "active") return [...(STATES[book.state] ?? ["degraded", words(book.state)]), causes];
  if (elsewhere) return ["degraded", "This broker is a standby: another one trades the account, and answers here", causes];
  if (failing.some((item) => !item.advisory)) return ["down", "Not ready to trade", causes];
  return [...(STATES[book.state] ?? ["unknown", "Waiting for the state"]), causes];
}

function drawVerdict() {
  const [state, title, causes] = verdict();
  byId("verdict").dataset.state = state;
  say(byId("verdict-title"), title);
  say(byId("announcement"), [title, ...causes.map((item) => item.name)].join(". "));
  say(byId("verdict-since"), live.state === "live" || !live.since ? "" : `what is below is of ${clock(live.since)} UTC`);
  show(byId("verdict-why"), causes.map((item) => make("li", item.advice ? "advice" : null, make("strong", null, item.name), make("span", "text", item.text))));
  byId("main").dataset.link = live.state;
  document.title = `${{ healthy: "✓", degraded: "!", down: "✕" }[state] ?? "?"} ${environment()} Broker`.replace("  ", " ");
}

function drawLink() {
  const link = byId("link");
  link.dataset.state = live.state;
  say(link.lastElementChild, { live: "live", connecting: "connecting", lost: "not live" }[live.state]);
}

function draw() {
  drawing = false;
  drawLink();
  drawAccount();
  drawVerdict();
  drawTables();
}

function changed() {
  if (drawing) return;
  drawing = true;
  // A hundred instruments tick: nobody reads more than a few pictures a second. A tab behind others has its title.
  setTimeout(draw, document.hidden ? HIDDEN_MS : DRAW_MS);
}

// ---- reading

async function ask(path, query, take) {
  try {
    take(await read(path, query));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) signOut("The key is not known any more. Keys are rotated: give the current one.");
  }
  changed();
}

const askState = () => Promise.all([
  ask("admin/state", {}, (answer) => { book.state = answer.state; }),
  ask("admin/conditions", {}, (answer) => { book.conditions = answer.conditions; }),
]);
const askVenue = () => Promise.all([
  ask("account", {}, (answer) => { book.account = answer; }),
  ask("positions", {}, (answer) => { book.positions = answer.positions; }),
]);
const askBook = () => Promise.all([
  ask("orders", {}, (answer) => book.putOrders(answer.orders)),
  ask("prices", {}, (answer) => book.putPrices(answer.prices)),
  ask("history/fills", { limit: 50 }, (answer) => book.putFills(answer.fills)),
]);

let settling = null;
function refresh() {
  clearTimeout(settling);
  settling = setTimeout(() => { askVenue(); askState(); }, SETTLE_MS);
}

const TAKEN = {
  order: (order) => { if (book.takeOrder(order)) refresh(); },
  price: (price) => book.takePrice(price),
  account: (summary) => { book.account = summary; },
  state: (change) => { book.state = change.state; refresh(); },
  missed: () => askBook(),
  gap: () => askBook(),
};

function take(kind, data) {
  TAKEN[kind]?.(data);
  changed();
}

function became(state) {
  live = { state, since: state === "live" ? null : live.since ?? new Date().toISOString() };
  changed();
}

async function followFor(signal) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      await follow(signal, () => {
        failures = 0;
        book.connected();
        became("live");
        askBook();
        askVenue();
        askState();
      }, take);
    } catch (error) {
      if (error.status === 401) return signOut(error.message);
    }
    if (signal.aborted) return undefined;
    became("lost");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)] * (0.75 + Math.random() / 2)));
  }
  return undefined;
}

function tick() {
  say(byId("clock"), `${new Date().toISOString().slice(11, 19)} UTC`);
}

// ---- the key

function start() {
  following?.abort();
  following = new AbortController();
  book = new Book();
  live = { state: "connecting", since: null };
  useAccount(holder.accounts.length > 1 ? account : null);
  changed();
  followFor(following.signal);
}

function offer() {
  byId("sign-in").hidden = true;
  byId("main").hidden = false;
  for (const id of ["link", "sign-out"]) byId(id).hidden = false;
  byId("kill").hidden = !may("admin");
  byId("account-field").hidden = holder.accounts.length < 2;
  byId("account").replaceChildren(...holder.accounts.map((id) => new Option(id, id)));
  say(byId("identity"), `${holder.accounts.length === 1 ? `account ${account}, ` : ""}key ${holder.id}${may("trade") ? "" : ", read-only"}, version ${holder.version}`);
}

async function signIn() {
  say(byId("key-fault"), "");
  try {
    useAccount(null);
    holder = await read("key");
  } catch (error) {
    if (error.status) keepKey(null);
    else setTimeout(() => { if (hasKey() && !holder) signIn(); }, LOOK_MS); // the broker is away: the key may be right
    return signedOut(error.message);
  }
  if (!may("read")) {
    keepKey(null);
    return signedOut(`The key ${holder.id} lacks the scope read.`);
  }
  [account] = holder.accounts;
  offer();
  start();
  return undefined;
}

function signedOut(text) {
  byId("main").hidden = true;
  for (const id of ["link", "sign-out", "kill", "account-field", "environment"]) byId(id).hidden = true;
  say(byId("identity"), "");
  byId("sign-in").hidden = false;
  document.title = "Broker";
  say(byId("key-fault"), text);
  byId("key").focus();
}

function signOut(text) {
  following?.abort();
  keepKey(null);
  holder = null;
  book = new Book();
  byId("notes").replaceChildren();
  for (const id of Object.keys(COLUMNS)) byId(id).replaceChildren();
  byId("figures").replaceChildren();
  if (byId("confirm").open) byId("confirm").close("");
  signedOut(text);
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(byId("key").value.trim());
  byId("key").value = "";
  signIn();
});
byId("sign-out").addEventListener("click", () => signOut(""));
byId("account").addEventListener("change", () => {
  account = byId("account").value;
  start();
});
byId("kill").addEventListener("click", () => {
  const positions = book.positions.filter((item) => Number(item.units) !== 0).length;
  kill(byId("kill"), { account, environment: named(), orders: book.orders.size, positions }).then(() => { askBook(); refresh(); });
});
window.addEventListener("error", (event) => note("bad", `The page has a fault: ${event.message}`));

setInterval(tick, 1000);
setInterval(() => { if (holder && !document.hidden) askState(); }, LOOK_MS);
setInterval(() => { if (holder && !document.hidden) askVenue(); }, ASK_MS);
tick();
if (hasKey()) signIn();
else signedOut("");
