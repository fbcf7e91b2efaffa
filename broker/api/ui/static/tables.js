// Tables whose rows live as long as what they show: a cell changes its text, a button keeps its focus.
import { byId, make, say } from "./words.js";

function cellOf(column) {
  const cell = make("td", column.className ?? null);
  cell.dataset.name = column.title;
  return cell;
}

// Draws into the table `id`. A column has a title, and `text(item)` or `fill(cell, item)`; `named(item)` is a row's key.
export function draw(id, columns, items, named, nothing) {
  const table = byId(id);
  if (!table.tBodies.length) {
    const titles = columns.map((column) => make("th", column.className ?? null, column.title));
    titles.forEach((title) => { title.scope = "col"; });
    table.append(make("thead", null, make("tr", null, ...titles)), make("tbody"));
  }
  const body = table.tBodies[0];
  table.parentElement.dataset.empty = items.length ? "" : nothing;
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, place) => {
    const key = named(item);
    let row = known.get(key);
    known.delete(key);
    if (!row) {
      row = make("tr", null, ...columns.map(cellOf));
      row.dataset.key = key;
    }
    columns.forEach((column, index) => {
      if (column.fill) column.fill(row.cells[index], item);
      else say(row.cells[index], column.text(item));
    });
    // Moved only if it must: moving a row takes the focus from its button.
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
  });
  known.forEach((row) => row.remove());
}

// A cell with a class of its own beside the column's, and the exact text for those who point at it.
export function put(cell, text, className, exact) {
  say(cell, text);
  const wanted = `${cell.dataset.base ??= cell.className} ${className ?? ""}`.trim();
  if (cell.className !== wanted) cell.className = wanted;
  if (exact !== undefined && cell.title !== exact) cell.title = exact;
}

// A button in a cell; made once, so that it keeps its focus. Hidden where `allowed` is false.
export function button(cell, text, label, allowed, act) {
  const made = cell.firstElementChild ?? cell.appendChild(make("button", null, text));
  made.type = "button";
  made.hidden = !allowed;
  if (made.ariaLabel !== label) made.ariaLabel = label;
  made.onclick = () => act(made);
}
