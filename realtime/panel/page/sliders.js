// One row an attribute: a slider that moves with the output, the driver's value, the source, gain and lock.

import { GROUPS, OPEN_AT_FIRST, code, label, written } from "./attributes.js";
import { shaping } from "./channel.js";
import { byId, icon, make } from "./dom.js";

const FIXED = "fixed";

export class Sliders {
  #link;
  #rows = new Map();
  #groups = [];
  #names = [];
  #drivers = [1];

  constructor(link) {
    this.#link = link;
    link.addEventListener("hello", ({ detail }) => this.#build(detail));
    link.addEventListener("state", ({ detail }) => this.#follow(detail));
    link.addEventListener("picture", ({ detail }) => this.#move(detail));
    byId("filter").addEventListener("input", () => this.#filter());
    byId("do-reset").addEventListener("click", () => link.ask("reset"));
  }

  #build({ attributes, groups }) {
    const place = byId("groups");
    place.replaceChildren();
    this.#rows.clear();
    this.#groups = [];
    this.#names = attributes.map(({ name }) => name);
    const about = new Map(attributes.map((one) => [one.name, one]));
    for (const [key, title] of GROUPS) {
      const names = groups[key] ?? [];
      if (!names.length) continue;
      const rows = names.map((name) => this.#row(about.get(name)));
      const group = { names, all: this.#groupControls(key, title, names) };
      group.details = make("details", { class: "group", open: OPEN_AT_FIRST.has(key) }, group.all.summary, group.all.more.fields, ...rows);
      group.details.dataset.group = key;
      this.#groups.push(group);
      place.append(group.details);
    }
  }

  #groupControls(key, title, names) {
    const set = (changes) => this.#link.ask("change", { names, changes });
    const source = make("select", { ariaLabel: `Source of ${title}` });
    source.addEventListener("change", () => source.value && set({ source: source.value }));
    const gain = numberInput(`Gain of ${title}`, (value) => set({ gain: value }));
    const lock = lockButton(`Lock ${title}`, (locked) => set({ locked }));
    const more = shaping(title, names, set);
    more.button.addEventListener("click", () => (summary.parentElement.open = true));
    for (const control of [source, gain, lock, more.button]) control.addEventListener("click", (event) => event.stopPropagation());
    const name = make("span", { class: "name" }, title, make("span", { class: "count" }, `${names.length}`));
    const summary = make("summary", {}, name, source, gain, lock, more.button);
    return { summary, source, gain, lock, more };
  }

  #row({ name, low, rest, meaning }) {
    const set = (changes) => this.#link.ask("change", { names: [name], changes });
    const id = `slider-${name}`;
    const fill = make("span", { class: "fill" });
    const tick = make("span", { class: "tick", hidden: true });
    const mark = make("span", { class: "rest" });
    mark.style.left = `${(100 * (rest - low)) / (1 - low)}%`;
    const slider = make("input", { type: "range", id, min: low, max: 1, step: 0.01, value: rest });
    slider.dataset.name = name;
    const value = make("output", { class: "value" }, "–");
    value.htmlFor = id;
    const source = make("select", { ariaLabel: `Source of ${label(name)}` });
    const gain = numberInput(`Gain of ${label(name)}`, (number) => set({ gain: number }));
    const lock = lockButton(`Lock ${label(name)}`, (locked) => set({ locked }));
    const text = make("label", { htmlFor: id, title: `${name}: ${meaning}` }, label(name));
    if (code(name)) text.append(make("span", { class: "code" }, code(name)));
    const slide = make("div", { class: "slide" }, make("div", { class: "rail" }, fill, mark, tick), slider);
    const more = shaping(label(name), [name], set);
    const row = make("div", { class: "row" }, text, slide, value, source, gain, lock, more.button, more.fields);
    const parts = { name, row, more, slider, fill, tick, value, source, gain, lock, low, rest, own: false, held: false, pending: null, shown: {} };

    // While the pointer holds the slider, only the newest value is sent, and the next when that was answered.
    const send = async () => {
      if (parts.pending !== null) {
        parts.pending = slider.value;
        return;
      }
      parts.pending = slider.value;
      for (let sent = null; sent !== parts.pending; ) {
        sent = parts.pending;
        await set({ source: String(sent) });
      }
      parts.pending = null;
    };
    slider.addEventListener("pointerdown", () => (parts.held = true));
    for (const end of ["pointerup", "pointercancel", "blur"]) slider.addEventListener(end, () => (parts.held = false));
    slider.addEventListener("input", send);
    slider.addEventListener("dblclick", () => set({ source: this.#usual() }));
    slider.addEventListener("keydown", (event) => {
      if (event.key !== "Backspace" && event.key !== "Delete") return;
      set({ source: this.#usual() });
      event.preventDefault();
    });
    slider.title = "Drag to fix a value; double-click or Backspace gives it back to the driver";
    source.addEventListener("change", () => set({ source: source.value === FIXED ? slider.value : source.value }));
    this.#rows.set(name, parts);
    return row;
  }

  #usual() {
    return this.#drivers.length ? `driver ${this.#drivers[0]}` : "photo";
  }

  #sources(drivers, tracks) {
    const names = drivers.map((number) => [`driver ${number}`, `Driver ${number}`]);
    names.push(["photo", "Photo"], ["neutral", "Neutral"], ["idle", "Idle"], ["camera", "To camera"]);
    for (const track of tracks) names.push([`track ${track}`, `Track ${track}`]);
    return names;
  }

  #follow({ channels, drivers, tracks }) {
    this.#drivers = drivers;
    const possible = this.#sources(drivers, tracks);
    for (const [name, channel] of Object.entries(channels)) {
      const parts = this.#rows.get(name);
      if (!parts) continue;
      const fixed = channel.source !== "" && !Number.isNaN(Number(channel.source));
      parts.own = fixed;
      parts.driver = channel.source.startsWith("driver ") ? Number(channel.source.slice(7)) : 0;
      parts.row.dataset.own = fixed;
      fillOptions(parts.source, [...possible, [FIXED, "Fixed"]], fixed ? FIXED : channel.source);
      if (fixed && !parts.held) parts.slider.value = channel.source;
      if (document.activeElement !== parts.gain) parts.gain.value = channel.gain;
      press(parts.lock, channel.locked);
      parts.more.follow([channel]);
    }
    for (const { names, all } of this.#groups) {
      const own = names.map((name) => channels[name]).filter(Boolean);
      const same = (key) => own.every((channel) => channel[key] === own[0][key]);
      const source = same("source") && Number.isNaN(Number(own[0].source)) ? own[0].source : "";
      fillOptions(all.source, [["", "Mixed"], ...possible], source);
      if (document.activeElement !== all.gain) all.gain.value = same("gain") ? own[0].gain : "";
      press(all.lock, own.every(({ locked }) => locked));
      all.more.follow(own);
    }
  }

  #move({ output, drivers }) {
    if (!output) return;
    const first = drivers.find((values) => values);
    for (const { names, details } of this.#groups) {
      if (!details.open || details.hidden) continue;
      for (const name of names) {
        const parts = this.#rows.get(name);
        const i = this.#names.indexOf(name);
        if (!parts.row.hidden) moveRow(parts, output[i], (drivers[parts.driver - 1] ?? first)?.[i]);
      }
    }
  }

  #filter() {
    const wanted = byId("filter").value.trim().toLowerCase();
    for (const { names, details } of this.#groups) {
      let any = false;
      for (const name of names) {
        const there = !wanted || `${name} ${label(name)}`.toLowerCase().includes(wanted);
        this.#rows.get(name).row.hidden = !there;
        any ||= there;
      }
      details.hidden = !any;
      if (wanted && any) details.open = true;
    }
  }
}

/** Show an attribute's value and its driver's. What looks the same is left alone: each change is layout and paint. */
function moveRow(parts, value, driven) {
  const { name, slider, fill, tick, low, shown } = parts;
  const share = (at) => (at - low) / (1 - low);
  const text = written(name, value);
  if (shown.text !== text) parts.value.textContent = shown.text = text;
  const [at, rest] = [share(value), share(parts.rest)];
  const bar = `translateX(${(100 * Math.min(at, rest)).toFixed(1)}%) scaleX(${Math.abs(at - rest).toFixed(3)})`;
  if (shown.bar !== bar) fill.style.transform = shown.bar = bar;
  const place = driven === undefined ? "" : `translateX(${(100 * share(driven)).toFixed(1)}%)`;
  if (shown.place !== place) {
    tick.hidden = !place;
    tick.style.transform = shown.place = place;
  }
  // A slider that has the focus is read aloud at each change, so it moves only with what the user fixed.
  if (!parts.own && !parts.held && document.activeElement !== slider && Math.abs(slider.value - value) > 0.006) slider.value = value;
  const aloud = parts.own ? written(name, Number(slider.value)) : "";
  if (aloud && shown.aloud !== aloud) slider.setAttribute("aria-valuetext", aloud);
  shown.aloud = aloud;
}

function numberInput(name, changed) {
  const input = make("input", { type: "number", min: -4, max: 4, step: 0.1, ariaLabel: name, title: name });
  input.addEventListener("change", () => input.value !== "" && changed(Number(input.value)));
  return input;
}

function lockButton(name, changed) {
  const button = make("button", { type: "button", ariaLabel: name, title: `${name}: it stays as it is shown now` }, icon("unlock"));
  button.addEventListener("click", (event) => {
    event.preventDefault();
    changed(button.getAttribute("aria-pressed") !== "true");
  });
  return button;
}

function press(button, pressed) {
  if (button.getAttribute("aria-pressed") === String(pressed)) return;
  button.setAttribute("aria-pressed", pressed);
  button.replaceChildren(icon(pressed ? "lock" : "unlock"));
}

function fillOptions(select, options, chosen) {
  const all = options.some(([value]) => value === chosen) ? options : [...options, [chosen, chosen]];
  const written = JSON.stringify(all);
  if (select.dataset.options !== written) {
    select.dataset.options = written;
    select.replaceChildren(...all.map(([value, text]) => make("option", { value }, text)));
  }
  select.value = chosen;
}
