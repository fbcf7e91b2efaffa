// What the page knows of the account: snapshots, with the events since laid over them.
const FINAL = new Set(["denied", "filled", "partially_filled", "cancelled", "rejected"]);
const FILLS = 100;

const later = (one, other) => Date.parse(one.updated_at) >= Date.parse(other.updated_at);

export class Book {
  constructor() {
    this.orders = new Map();
    this.fills = new Map();
    this.prices = new Map();
    this.positions = [];
    this.account = null;
    this.state = null;
    this.conditions = [];
    this.heard = new Map(); // orders of events since the connection began, for a snapshot that is older than they are
  }

  connected() {
    this.heard.clear();
  }

  // An order as it is now; true if it brought a fill that was not known.
  takeOrder(order) {
    const before = this.heard.get(order.id);
    if (before && !later(order, before)) return false;
    this.heard.set(order.id, order);
    if (FINAL.has(order.status)) this.orders.delete(order.id);
    else this.orders.set(order.id, order);
    return order.fills.map((fill) => this.takeFill({ instrument: order.instrument, side: order.side, ...known(fill), order_id: order.id })).some(Boolean);
  }

  takeFill(fill) {
    const name = `${fill.transaction_id} ${fill.order_id}`;
    const isNew = !this.fills.has(name);
    this.fills.set(name, fill);
    return isNew;
  }

  takePrice(price) {
    this.prices.set(price.instrument, price);
  }

  // Open orders as read after the connection began: what was heard since is newer.
  putOrders(orders) {
    this.orders = new Map(orders.map((order) => [order.id, order]));
    for (const order of this.heard.values()) {
      const read = this.orders.get(order.id);
      if (read && !later(order, read)) continue;
      if (FINAL.has(order.status)) this.orders.delete(order.id);
      else this.orders.set(order.id, order);
    }
  }

  putPrices(prices) {
    prices.forEach((price) => this.takePrice(price));
  }

  putFills(fills) {
    fills.forEach((fill) => this.takeFill(fill));
  }

  latestFills() {
    const sorted = [...this.fills.entries()].sort(([, a], [, b]) => Date.parse(b.time) - Date.parse(a.time) || Number(b.transaction_id) - Number(a.transaction_id));
    sorted.slice(FILLS).forEach(([name]) => this.fills.delete(name));
    return sorted.slice(0, FILLS).map(([, fill]) => fill);
  }
}

// The members of a fill that say something: an older broker leaves instrument and side to the order.
const known = (fill) => Object.fromEntries(Object.entries(fill).filter(([, value]) => value !== null && value !== ""));
