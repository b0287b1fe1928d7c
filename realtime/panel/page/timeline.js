// A recorded track: played, scrubbed, edited by its curves, saved and rendered.

import { label, written } from "./attributes.js";
import { byId, cachedColour, download, fitted, icon, make, say } from "./dom.js";

const UNDO_STEPS = 100;

export class Timeline {
  #link;
  #track = null;
  #names = [];
  #lowest = new Map();
  #player = { track: "", playing: false, position_s: 0 };
  #position = 0;
  #scrubbing = false;
  #undo = [];
  #stroke = null;
  #listed = "";

  constructor(link) {
    this.#link = link;
    link.addEventListener("hello", ({ detail }) => this.#know(detail));
    link.addEventListener("tracks", ({ detail }) => this.#list(detail));
    link.addEventListener("player", ({ detail }) => this.#follow(detail));
    link.addEventListener("jobs", ({ detail }) => this.#jobs(detail));
    byId("track").addEventListener("change", () => this.open(byId("track").value));
    byId("track-play").addEventListener("click", () => this.#toggle());
    byId("track-live").addEventListener("click", () => link.ask("leave_track"));
    byId("track-attribute").addEventListener("change", () => this.#draw());
    byId("track-undo").addEventListener("click", () => this.#takeBack());
    byId("track-save").addEventListener("click", () => this.#save());
    byId("track-render").addEventListener("click", () => this.#render());
    const scrub = byId("track-scrub");
    scrub.addEventListener("input", () => this.#seek(Number(scrub.value)));
    scrub.addEventListener("change", () => (this.#scrubbing = false));
    const curve = byId("curve");
    curve.addEventListener("pointerdown", (event) => this.#begin(event));
    curve.addEventListener("pointermove", (event) => this.#stroke && this.#drawTo(event));
    for (const end of ["pointerup", "pointercancel"]) curve.addEventListener(end, () => this.#end());
    curve.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(curve);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  #know({ attributes }) {
    this.#names = attributes.map(({ name }) => name);
    for (const { name, low } of attributes) this.#lowest.set(name, low);
    const select = byId("track-attribute");
    select.replaceChildren(...this.#names.map((name) => make("option", { value: name }, name.startsWith("AU") ? `${label(name)} ${name}` : label(name))));
    select.value = "AU12";
  }

  #list({ tracks }) {
    const text = JSON.stringify(tracks);
    if (text === this.#listed) return;
    this.#listed = text;
    const chosen = this.#track?.name ?? "";
    byId("track").replaceChildren(make("option", { value: "" }, tracks.length ? "Choose" : "None yet"), ...tracks.map((name) => make("option", { value: name }, name)));
    byId("track").value = tracks.includes(chosen) ? chosen : "";
  }

  /** Show a track; it drives the face from now on, and waits at its beginning. */
  async open(name) {
    if (!name) return;
    const blob = await this.#link.file(`/api/tracks/${encodeURIComponent(name)}`);
    if (!blob) return;
    const data = await blob.arrayBuffer();
    const [rows, size] = new Uint32Array(data, 0, 2);
    const times = new Float32Array(data, 8, rows);
    const values = new Float32Array(data, 8 + 4 * rows, rows * size);
    const end = rows > 1 ? times[rows - 1] + (times[rows - 1] - times[0]) / (rows - 1) : times[0] + 0.04;
    this.#track = { name, rows, size, times, values, end };
    this.#undo = [];
    this.#position = 0;
    byId("track").value = name;
    byId("track-scrub").max = end;
    for (const id of ["track-play", "track-scrub", "track-attribute", "track-reach", "track-save", "track-render"]) byId(id).disabled = false;
    byId("track-hint").textContent = "Draw on the curve to change it. Arrow keys: up and down change, left and right move, space plays.";
    await this.#link.ask("play_track", { name, playing: false });
    this.#draw();
  }

  #follow(player) {
    this.#player = player;
    const mine = this.#track !== null && player.track === this.#track.name;
    byId("track-play").replaceChildren(icon(mine && player.playing ? "pause" : "play"));
    byId("track-play").ariaLabel = mine && player.playing ? "Pause" : "Play";
    byId("track-live").disabled = !player.track;
    if (mine && !this.#scrubbing) this.#position = player.position_s;
    this.#draw();
  }

  #toggle() {
    const { name } = this.#track;
    const mine = this.#player.track === name;
    this.#link.ask(mine ? "pause" : "play_track", mine ? { paused: this.#player.playing } : { name, playing: true });
  }

  #seek(position_s) {
    this.#scrubbing = true;
    this.#position = Math.min(Math.max(position_s, 0), this.#track.end);
    this.#draw();
    clearTimeout(this.release);
    this.release = setTimeout(() => (this.#scrubbing = false), 600);
    this.#link.ask("seek", { name: this.#track.name, position_s: this.#position });
  }

  // The curve

  get #attribute() {
    return byId("track-attribute").value;
  }

  #row(time) {
    const { times, rows } = this.#track;
    let best = 0;
    while (best < rows - 1 && Math.abs(times[best + 1] - times[0] - time) <= Math.abs(times[best] - times[0] - time)) best++;
    return best;
  }

  #value(row) {
    return this.#track.values[row * this.#track.size + this.#names.indexOf(this.#attribute)];
  }

  #at(event) {
    const place = byId("curve").getBoundingClientRect();
    const low = this.#lowest.get(this.#attribute);
    const share = Math.min(Math.max((event.clientY - place.top - 6) / (place.height - 12), 0), 1);
    const time = ((event.clientX - place.left) / place.width) * this.#track.end;
    return { time, value: low + (1 - low) * (1 - share) };
  }

  #begin(event) {
    if (!this.#track) return;
    byId("curve").setPointerCapture(event.pointerId);
    this.#stroke = { before: this.#track.values.slice(), last: null, first: Infinity, end: 0 };
    this.#drawTo(event);
  }

  #drawTo(event) {
    const now = this.#at(event);
    const from = this.#stroke.last ?? now;
    // Every row between two places of the pointer is drawn through, so that a quick stroke has no holes.
    const [a, b] = [this.#row(from.time), this.#row(now.time)];
    const step = a <= b ? 1 : -1;
    for (let row = a; ; row += step) {
      const share = a === b ? 1 : (row - a) / (b - a);
      this.#pull(row, from.value + (now.value - from.value) * share);
      if (row === b) break;
    }
    this.#stroke.last = now;
    this.#seek(now.time);
  }

  /** Move the curve to a value at a row, and its neighbours with it, the less the farther they are. */
  #pull(row, value) {
    const { times, values, size, rows } = this.#track;
    const column = this.#names.indexOf(this.#attribute);
    const low = this.#lowest.get(this.#attribute);
    const reach = Number(byId("track-reach").value);
    const by = value - values[row * size + column];
    for (let i = 0; i < rows; i++) {
      const away = Math.abs(times[i] - times[row]);
      if (i !== row && away >= 2 * reach) continue;
      const share = i === row ? 1 : Math.exp(-0.5 * (away / (reach / 1.5)) ** 2);
      values[i * size + column] = Math.min(1, Math.max(low, values[i * size + column] + share * by));
      this.#stroke.first = Math.min(this.#stroke.first, i);
      this.#stroke.end = Math.max(this.#stroke.end, i + 1);
    }
  }

  #end() {
    if (!this.#stroke) return;
    const { before, first, end } = this.#stroke;
    this.#stroke = null;
    if (end <= first) return;
    this.#undo.push({ attribute: this.#attribute, first, values: this.#column(before, first, end) });
    this.#undo = this.#undo.slice(-UNDO_STEPS);
    this.#tell(this.#attribute, first, this.#column(this.#track.values, first, end));
  }

  #column(values, first, end) {
    const { size } = this.#track;
    const column = this.#names.indexOf(this.#attribute);
    return Array.from({ length: end - first }, (_, i) => values[(first + i) * size + column]);
  }

  #tell(attribute, start, values) {
    byId("track-undo").disabled = !this.#undo.length;
    this.#link.ask("edit_track", { name: this.#track.name, attribute, start, values });
    this.#draw();
  }

  #takeBack() {
    const step = this.#undo.pop();
    if (!step) return;
    const column = this.#names.indexOf(step.attribute);
    step.values.forEach((value, i) => (this.#track.values[(step.first + i) * this.#track.size + column] = value));
    byId("track-attribute").value = step.attribute;
    this.#tell(step.attribute, step.first, step.values);
  }

  #key(event) {
    if (!this.#track) return;
    const low = this.#lowest.get(this.#attribute);
    const row = this.#row(this.#position);
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (up) {
      this.#stroke = { before: this.#track.values.slice(), last: null, first: Infinity, end: 0 };
      this.#pull(row, this.#value(row) + up * 0.02 * (1 - low));
      this.#end();
    } else if (along) {
      const next = Math.min(Math.max(row + along, 0), this.#track.rows - 1);
      this.#seek(this.#track.times[next] - this.#track.times[0]);
    } else if (event.key === " ") this.#toggle();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.#takeBack();
    else return;
    event.preventDefault();
  }

  #draw() {
    const canvas = byId("curve");
    if (canvas.clientWidth === 0) return;
    const { context, width, height } = fitted(canvas);
    if (!this.#track) return;
    const { rows, times, end } = this.#track;
    const low = this.#lowest.get(this.#attribute);
    const x = (time) => (time / end) * width;
    const y = (value) => 6 + (1 - (value - low) / (1 - low)) * (height - 12);
    context.strokeStyle = cachedColour("line");
    context.lineWidth = 1;
    context.beginPath();
    const step = [1, 2, 5, 10, 30, 60, 300].find((seconds) => (seconds / end) * width > 40) ?? 600;
    for (let time = step; time < end; time += step) {
      context.moveTo(x(time), 0);
      context.lineTo(x(time), height);
    }
    const rest = y(["pitch", "yaw", "roll"].includes(this.#attribute) ? 0.5 : 0);
    context.moveTo(0, rest);
    context.lineTo(width, rest);
    context.stroke();
    context.strokeStyle = cachedColour("accent");
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.beginPath();
    for (let row = 0; row < rows; row++) context.lineTo(x(times[row] - times[0]), y(this.#value(row)));
    context.stroke();
    const row = this.#row(this.#position);
    context.strokeStyle = context.fillStyle = cachedColour("driver");
    context.lineWidth = 1.4;
    context.beginPath();
    context.moveTo(x(this.#position), 0);
    context.lineTo(x(this.#position), height);
    context.stroke();
    context.beginPath();
    context.arc(x(times[row] - times[0]), y(this.#value(row)), 3.5, 0, 7);
    context.fill();
    canvas.setAttribute("aria-valuemin", low);
    canvas.setAttribute("aria-valuenow", this.#value(row).toFixed(2));
    canvas.setAttribute("aria-valuetext", `${label(this.#attribute)} ${written(this.#attribute, this.#value(row))} at ${this.#position.toFixed(2)} seconds`);
    byId("track-time").textContent = `${this.#position.toFixed(1)} / ${end.toFixed(1)} s`;
    if (!this.#scrubbing) byId("track-scrub").value = this.#position;
  }

  async #save() {
    const name = await this.#link.ask("save_track", { name: this.#track.name });
    if (name === undefined) return undefined;
    say(name === this.#track.name ? `Nothing was changed in ${name}` : `Saved as ${name}`);
    this.#track.name = name;
    return name;
  }

  async #render() {
    const { name } = this.#track;
    const renamed = await this.#link.ask("render", { name });
    if (renamed) this.#track.name = renamed;
  }

  #jobs({ jobs }) {
    byId("jobs").replaceChildren(...jobs.map(({ name, state, error, folder, is_video }) => {
      const item = make("li", { title: folder }, name);
      item.dataset.job = name;
      item.dataset.state = state;
      if (state === "running") item.append(make("span", { class: "quiet" }, is_video ? "rendering" : "reading"));
      else if (state === "failed") item.append(make("span", { class: "quiet" }, error));
      else if (is_video) item.append(make("button", { onclick: async () => {
        const blob = await this.#link.file(`/api/videos/${encodeURIComponent(name)}`);
        if (blob) download(blob, name);
      } }, icon("save"), "Download"));
      return item;
    }));
  }
}
