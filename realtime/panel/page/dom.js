// Small helpers for the document.

export const byId = (id) => document.getElementById(id);

/** Make an element: `make("button", {class: "icon", onclick: f}, "text", child)`. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  if (properties.class) element.className = properties.class;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of the icons of index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

// The canvases' places in CSS pixels. Asked for at each picture, they would make the browser lay out the page each time.
const places = new WeakMap();
const resizing = new ResizeObserver((changes) => {
  for (const { target, contentRect } of changes) {
    if (target.isConnected) places.set(target, contentRect);
    else resizing.unobserve(target);
  }
});

/** A canvas's context, with the canvas as large as its place on the screen. Drawing is in CSS pixels. */
export function fitted(canvas) {
  if (!places.has(canvas)) {
    places.set(canvas, { width: canvas.clientWidth, height: canvas.clientHeight });
    resizing.observe(canvas);
  }
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = places.get(canvas);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** A colour of style.css as it is now, light or dark: canvases know no variables. */
export function colour(name) {
  const probe = byId("colour-probe") ?? document.body.appendChild(make("i", { id: "colour-probe", hidden: true }));
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

const colours = new Map();
/** The same, looked up once for each scheme. */
export function cachedColour(name) {
  if (!colours.has(name)) colours.set(name, colour(name));
  return colours.get(name);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colours.clear());

/** Tell the user something for a few seconds. */
export function say(text, isError = false) {
  const message = make("p", { class: isError ? "message error" : "message" }, text);
  byId("messages").append(message);
  setTimeout(() => message.remove(), isError ? 9000 : 4000);
}

/** Save a blob as a file of the user's. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
