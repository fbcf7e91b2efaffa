// Small curves as SVG. Colours and widths are the style sheet's.
const NAMESPACE = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 64;

function node(name, attributes, ...children) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A curve's parts between its gaps, as lists of points.
function parts(values, x, y) {
  const found = [[]];
  values.forEach((value, index) => {
    if (value === null) found.push([]);
    else found.at(-1).push([x(index), y(value)]);
  });
  return found.filter((part) => part.length);
}

const line = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// `series`: [{values, className}], all of one length; null is a gap. `ceiling` is the least top of the scale.
export function curve(series, { label, ceiling = 0 }) {
  const known = series.flatMap((item) => item.values.filter((value) => value !== null));
  const top = Math.max(ceiling, ...known) * 1.08 || 1;
  const length = Math.max(...series.map((item) => item.values.length), 2);
  const x = (index) => (index / (length - 1)) * WIDTH;
  const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 4);
  const figure = node("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "curve", role: "img", "aria-label": label,
  });
  for (const share of [0.25, 0.5, 0.75]) {
    figure.append(node("path", { class: "grid", d: `M0 ${HEIGHT * share}H${WIDTH}` }));
  }
  for (const { values, className } of series) {
    const offset = length - values.length;
    for (const points of parts(values, (index) => x(index + offset), y)) {
      const first = points[0][0].toFixed(1);
      const last = points.at(-1)[0].toFixed(1);
      figure.append(node("path", { class: `area ${className}`, d: `${line(points)}L${last} ${HEIGHT}L${first} ${HEIGHT}Z` }));
      figure.append(node("path", { class: `stroke ${className}`, d: points.length > 1 ? line(points) : `${line(points)}h2` }));
    }
  }
  return figure;
}

// A bar from 0 to 1 with a second, darker mark.
export function bar(share, className, label) {
  const figure = node("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: `bar ${className}`, role: "img", "aria-label": label });
  figure.append(node("rect", { class: "bar-back", x: 0, y: 0, width: 100, height: 6 }));
  figure.append(node("rect", { class: "bar-fill", x: 0, y: 0, width: Math.max(0, Math.min(1, share)) * 100, height: 6 }));
  return figure;
}
