// The console: draws what /api/events says. Nothing here changes anything on the other side.
import { bar, curve } from "/chart.js";
import { take } from "/tail.js";
import { ago, byId, bytes, clock, count, make, millis, pill, reasons, say, short, show, span, speed, sum } from "/words.js";

// ---- verdict

const TITLES = { healthy: "All is well", degraded: "Degraded", down: "Not ready" };

// What the doctor says: the remedy, and the command to type.
function drawTodo(findings) {
  byId("todo-box").hidden = !findings.length;
  show(byId("todo"), ...findings.map((item) => make("li", null, make("b", null, item.fault.replaceAll("_", " ")),
    make("span", null, item.next), make("code", null, item.command))));
}

function drawVerdict(status, now) {
  const health = status.health;
  byId("verdict").dataset.state = health.state;
  say(byId("verdict-title"), TITLES[health.state]);
  say(byId("verdict-since"), `since ${clock(health.since, now)} UTC, for ${ago(health.since, now)}`);
  const found = health.why;
  say(byId("announcement"), [TITLES[health.state], ...found.map((item) => `${item.name}: ${item.reason}`)].join(". "));
  const why = found.map((item) => make("li", item.advisory ? "advice" : null,
    make("strong", null, `${item.name}: ${item.reason}`),
    make("span", "text", item.message),
    make("span", "quiet", `since ${clock(item.since, now)}, ${ago(item.since, now)}`)));
  show(byId("verdict-why"), ...why);
  drawTodo(status.findings);
  const probes = Object.entries(health.probes).map(([name, probe]) =>
    make("li", null, pill(probe.ok ? "good" : "bad", `/${name} ${probe.ok ? "passes" : "fails"}`)));
  show(byId("probes"), ...probes);
  document.title = `${{ healthy: "✓", degraded: "!", down: "✕" }[health.state]} Sidecar`;
}

// ---- flow

function stop(title, kind, state, ...lines) {
  return make("div", "stop", make("h3", null, title), pill(kind, state),
    ...lines.map((text) => make("p", "quiet", text)));
}

function arrow(side, backlogName, broken) {
  const lost = make("dd", side.lost ? "bad" : null, count(side.lost));
  const backlog = make("dd", side.backlog > 10000 ? "warn" : null, short(side.backlog));
  const kind = broken ? "broken" : side.rate > 0 ? "moving" : "idle";
  return make("div", `arrow ${kind}`,
    make("p", "speed", speed(side.rate), make("small", null, " /s")),
    make("div", "shaft"),
    make("dl", null,
      make("div", null, make("dt", null, backlogName), backlog),
      make("div", null, make("dt", null, "lost"), lost)),
    side.lost ? make("p", "reasons", reasons(side.lost_by)) : null);
}

function producerStop(producer, published) {
  if (!producer) return stop("no producer", "off", "never connected", "it opens the telemetry socket");
  const failing = producer.conditions.filter((item) => !item.ok && !item.advisory);
  const silent = producer.heartbeat_age_s === null || producer.heartbeat_age_s > 10;
  let state = ["good", "ready"];
  if (producer.goodbye) state = ["off", `ended: ${producer.goodbye}`];
  else if (!producer.connected) state = ["bad", "not connected"];
  else if (silent) state = ["bad", "silent"];
  else if (failing.length) state = ["bad", failing[0].reason];
  const made = stop(producer.id, ...state,
    `heartbeat ${producer.heartbeat_age_s === null ? "never" : `${producer.heartbeat_age_s.toFixed(1)} s ago`}`,
    producer.ledger ? `spool ${bytes(producer.ledger.spool_bytes)}` : "no ledger yet");
  const used = producer.applied_generation;
  const behind = published && used !== published;
  made.append(make("p", behind ? "warn" : "quiet",
    behind ? `uses secrets of generation ${used || "none"}, not ${published}` : `secrets: generation ${used || "–"} in use`));
  return made;
}

function sidecarStop(status, now) {
  const journal = status.journal;
  const full = journal.bytes_limit ? journal.bytes_used / journal.bytes_limit : 0;
  const made = stop("sidecar", journal.error ? "bad" : "good", journal.error ? "journal refuses" : "takes events",
    `journal ${bytes(journal.bytes_used ?? 0)} of ${bytes(journal.bytes_limit ?? 0)}`,
    `checkpoint ${journal.checkpoint_ns ? `${span(now / 1000 - journal.checkpoint_ns / 1e9)} ago` : "none yet"}`);
  made.insertBefore(bar(full, full > 0.8 ? "warn" : "", `journal ${Math.round(full * 100)} % full`), made.lastChild);
  return made;
}

function collectorStop(status, now) {
  const signals = [status.export.logs, status.export.metrics].filter((item) => item.enabled);
  const failing = signals.find((item) => item.failing_since);
  if (!signals.length) return stop("collector", "off", "nothing is exported", "otlp.endpoint is empty");
  const host = status.export.endpoint.replace(/^https?:\/\//, "");
  const state = failing ? ["bad", `away for ${ago(failing.failing_since, now)}`] : ["good", "takes what is sent"];
  const last = signals.map((item) => item.last_success).filter(Boolean).sort().at(-1);
  return stop("collector", ...state, host,
    last ? `last success ${ago(last, now)} ago` : "no success yet",
    failing ? failing.last_error : null);
}

function drawFlow(status, now) {
  const [first, ...others] = status.producers;
  const producer = producerStop(first, status.secrets.configured ? status.secrets.generation : 0);
  if (others.length) producer.append(make("p", "quiet", `and ${others.map((item) => item.id).join(", ")}`));
  const away = [status.export.logs, status.export.metrics].some((item) => item.failing_since);
  show(byId("flow"), producer, arrow(status.flow.in, "held", first && !first.connected && !first.goodbye),
    sidecarStop(status, now), arrow(status.flow.out, "queued", away), collectorStop(status, now));
}

// ---- figures

const GOOD = new Set(["filled", "accepted", "ok", "passed"]);
const BAD = new Set(["rejected", "denied", "failed", "error", "unknown", "presumed_absent"]);

function statesPanel(panel) {
  const entries = Object.entries(panel.totals);
  const most = Math.max(1, ...entries.map(([, value]) => value));
  const rows = entries.slice(0, 9).flatMap(([name, value]) => [
    make("span", null, name || "all"),
    bar(value / most, GOOD.has(name) ? "good" : BAD.has(name) ? "bad" : "", `${name}: ${count(value)}`),
    make("b", "number", count(value))]);
  return rows.length ? make("div", "states", ...rows) : make("p", "quiet", "none yet");
}

const latest = (values) => values.filter((value) => value !== null).at(-1) ?? null;

function latencyPanel(panel) {
  const now = { p50: latest(panel.p50), p99: latest(panel.p99) };
  const label = `${panel.title}: median ${millis(now.p50)}, 99th percentile ${millis(now.p99)}`;
  const line = (className, name, value) => make("span", null, make("i", className), `${name} `, make("b", null, millis(value)));
  return [curve([{ values: panel.p99, className: "second" }, { values: panel.p50, className: "first" }], { label }),
    make("p", "key", line("first", "p50", now.p50), line("second", "p99", now.p99), make("span", "total", `${short(panel.count)} in all`))];
}

function ratePanel(panel) {
  const now = latest(panel.curve) ?? 0;
  return [curve([{ values: panel.curve, className: panel.title.match(/error/i) ? "alarm" : "first" }], { label: `${panel.title}: ${speed(now)} a second`, ceiling: 1 }),
    make("p", "key", make("span", null, "now ", make("b", null, `${speed(now)} /s`)), make("span", "total", `${short(panel.total)} in all`))];
}

function flowPanel(title, values, label) {
  return make("article", "panel", make("h3", null, title), curve([{ values, className: "first" }], { label, ceiling: 1 }),
    make("p", "key", make("span", null, "now ", make("b", null, `${speed(latest(values) ?? 0)} /s`)),
      make("span", "total", `most ${speed(Math.max(0, ...values))} /s`)));
}

const DRAW = { states: statesPanel, value: statesPanel, latency: latencyPanel, rate: ratePanel };

function drawPanels(status) {
  const made = status.panels.map((panel) => {
    const content = DRAW[panel.show](panel);
    return make("article", "panel", make("h3", null, panel.title), ...(Array.isArray(content) ? content : [content]));
  });
  const taken = status.flow.in.curve;
  made.splice(1, 0, flowPanel("Events taken", taken, `Events taken: ${speed(latest(taken) ?? 0)} a second`));
  const sent = status.flow.out.curve;
  made.push(flowPanel("Log records exported", sent, `Log records exported: ${speed(latest(sent) ?? 0)} a second`));
  show(byId("panels"), ...made);
  say(byId("figures-span"), `last ${span(status.flow.in.curve.length * status.interval_s)}`);
}

// ---- secrets

const STATES = { fresh: "good", failing: "bad", waiting: "warn", carried: "warn", ended: "bad" };

function secretRow(secret, refused, now) {
  const read = secret.read_at ? (now - Date.parse(secret.read_at)) / 1000 : null;
  const left = secret.expires_in_s;
  const total = read !== null && left !== null ? read + left : null;
  const share = total ? Math.max(0, left / total) : secret.state === "waiting" ? 0 : 1;
  const kind = left !== null && left < 60 ? "bad" : STATES[secret.state] ?? "";
  const end = left === null ? "does not expire" : left > 0 ? `expires in ${span(left)}` : `expired ${span(-left)} ago`;
  return make("article", "secret",
    make("div", null,
      make("h3", null, secret.name, refused ? pill("bad", "refused") : pill(STATES[secret.state] ?? "off", secret.state)),
      make("p", "quiet", `${secret.source}${secret.version ? `, version ${secret.version}` : ""}`),
      make("p", "quiet mono", secret.files.join(", "))),
    make("div", "life",
      bar(share, kind, `${secret.name}: ${end}`),
      make("div", "ends",
        make("span", null, secret.read_at ? `read ${span(read)} ago` : "never read",
          left === null && secret.last_success ? `, checked ${ago(secret.last_success, now)} ago` : ""),
        make("span", null, end))),
    make("p", "next quiet", secret.next_step && secret.next_in_s !== null ? `${secret.next_step} in ${span(secret.next_in_s)}` : ""),
    secret.mishap && secret.state !== "fresh" ? make("p", "fault", `${secret.mishap.name}: ${secret.mishap.message}`) : null);
}

const DEEDS = {
  login: "logged in", read: "read", publish: "published", acknowledge: "proved", reject: "refused", renew: "renewed",
  revoke: "lease revoked", rotate: "rotation asked for", "token.renew": "token renewed", "token.revoke": "token revoked",
};

function deedRow(deed, now) {
  const well = deed.outcome === "ok";
  const about = [deed.secret, deed.generation ? `generation ${deed.generation}` : "", well ? "" : deed.outcome.replaceAll("_", " "),
    ...["producer", "reason"].map((key) => deed.attributes[key])].filter(Boolean);
  const when = make("time", "quiet", clock(deed.time, now));
  when.dateTime = deed.time;
  return make("li", well ? null : "bad", when, make("span", "deed", DEEDS[deed.deed] ?? deed.deed), make("span", null, about.join(", ")), make("span", "quiet", `${ago(deed.time, now)} ago`));
}

function drawDeeds(secrets, now) {
  const deeds = secrets.deeds ?? [];
  byId("deeds-box").hidden = !deeds.length;
  show(byId("deeds"), ...deeds.map((deed) => deedRow(deed, now)));
}

function drawSecrets(secrets, producers, now) {
  if (!secrets.configured) return show(byId("secrets"), make("p", "quiet", "No secret is configured."));
  const by = producers.filter((item) => item.applied_generation === secrets.generation && secrets.generation).map((item) => item.id);
  const token = secrets.token;
  const refused = secrets.rejection && secrets.rejection.generation === secrets.generation;
  const head = make("div", "secret-head",
    make("span", null, "Generation ", make("b", null, secrets.generation || "none"), secrets.published_at ? `, published ${ago(secrets.published_at, now)} ago` : ""),
    refused ? pill("bad", `refused by ${secrets.rejection.producer}`)
      : by.length ? pill("good", `acknowledged by ${by.join(", ")}`)
        : pill("warn", `last acknowledged: ${secrets.acknowledged || "none"}`),
    make("span", null, `Vault token (${token.method}) `, make("b", null, token.state), token.expires_in_s === null ? "" : `, expires in ${span(token.expires_in_s)}`),
    make("span", null, `${secrets.leases} ${secrets.leases === 1 ? "lease" : "leases"} held`));
  const faults = [refused ? `${secrets.rejection.secret || "the set"}: ${secrets.rejection.reason}: ${secrets.rejection.message}` : null,
    token.state !== "valid" && token.mishap ? `${token.mishap.name}: ${token.mishap.message}` : null,
    secrets.mishap ? `${secrets.mishap.name}: ${secrets.mishap.message}` : null].filter(Boolean);
  show(byId("secrets"), head, ...faults.map((text) => make("p", "fault", text)),
    ...secrets.secrets.map((item) => secretRow(item, refused && [item.name, ""].includes(secrets.rejection.secret), now)));
  return undefined;
}

// ---- tables

const cell = (text, className) => make("td", className, text);
const head = (...names) => make("thead", null, make("tr", null, ...names.map(([name, className]) => {
  const made = make("th", className, name);
  made.scope = "col";
  return made;
})));

function conditionRow(item, now) {
  const kind = item.ok ? "good" : item.advisory ? "warn" : "bad";
  const state = make("td", null, pill(kind, item.ok ? "holds" : item.reason));
  const since = cell(item.since ? ago(item.since, now) : "–", "since");
  if (item.since) since.title = `${clock(item.since, now)} UTC`;
  return make("tr", null, cell(item.name), state, cell(item.message || "–", "text"), since);
}

function conditionTable(name, items, now) {
  const table = make("table", null, make("caption", null, name), head(["Condition"], ["State"], ["Why"], ["For"]),
    make("tbody", null, ...items.map((item) => conditionRow(item, now))));
  return make("div", "scroll", table);
}

function drawConditions(status, now) {
  const owners = [["sidecar", status.health.conditions], ...status.producers.map((item) => [item.id, item.conditions])];
  show(byId("conditions"), ...owners.filter(([, items]) => items.length).map(([name, items]) => conditionTable(name, items, now)));
}

function ledgerRow(name, total, parts, balanced) {
  const state = make("td", null, pill(balanced ? "good" : "off", balanced ? "balances" : "in flight"));
  return make("tr", null, cell(name), cell(total, "number"), cell(parts, "text"), state);
}

function drawLedger(status) {
  const ledger = status.ledger;
  const rows = status.producers.filter((item) => item.ledger).map((item) => ledgerRow(
    `${item.id}: emitted`, count(item.ledger.emitted),
    `acknowledged ${count(item.ledger.acknowledged)}, held ${count(item.ledger.held)}, dropped ${count(item.ledger.dropped.reduce((total, drop) => total + drop.count, 0))}`,
    item.ledger.balanced));
  rows.push(ledgerRow("sidecar: received", count(ledger.received),
    `counted ${count(ledger.counted)}, rejected ${count(sum(ledger.rejected))}, duplicate ${count(ledger.duplicate)}`, ledger.balanced));
  const logs = ledger.logs;
  rows.push(ledgerRow("log records: accepted", count(logs.accepted),
    `exported ${count(logs.exported)}, queued ${count(logs.queued)}, rejected ${count(sum(logs.rejected))}, dropped ${count(sum(logs.dropped))}`, logs.balanced));
  show(byId("ledger"), make("table", null, head(["What came"], ["In all", "number"], ["What became of it"], ["State"]), make("tbody", null, ...rows)));
}

// ---- the stream

function draw(status) {
  const now = Date.parse(status.time);
  say(byId("identity"), `version ${status.version}, pid ${status.pid}, up ${ago(status.started, now)}`);
  drawVerdict(status, now);
  drawFlow(status, now);
  drawPanels(status);
  drawSecrets(status.secrets, status.producers, now);
  drawDeeds(status.secrets, now);
  drawConditions(status, now);
  drawLedger(status);
}

function link(state, words) {
  byId("link").dataset.state = state;
  say(byId("link").lastElementChild, words);
}

function lost() {
  link("lost", "no answer, trying again");
  byId("verdict").dataset.state = "unknown";
  say(byId("verdict-title"), "The sidecar does not answer");
  say(byId("announcement"), "The sidecar does not answer");
  say(byId("verdict-since"), "what is below is the last that it said");
  document.title = "? Sidecar";
}

function follow() {
  const source = new EventSource("/api/events");
  source.addEventListener("open", () => link("live", "live"));
  source.addEventListener("status", (event) => draw(JSON.parse(event.data)));
  source.addEventListener("events", (event) => take(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    lost();
    // A browser does not come back after a 503: too many pages are open, or the process is gone for longer.
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  });
}

follow();
