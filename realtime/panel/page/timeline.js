// A recorded track: played, scrubbed, edited by its curves, saved and rendered.

import { label, written } from "./attributes.js";
import { drawCurves } from "./curves.js";
import { byId, icon, make, say } from "./dom.js";
import { Track } from "./track.js";
import { View, valueAt } from "./view.js";

export class Timeline {
  #link;
  #track = null;
  #names = [];
  #lowest = new Map();
  #player = { track: "", playing: false, position_s: 0 };
  #position = 0;
  #scrubbing = false;
  #groups = {};
  #view = new View();
  #last = null;
  #drawing = false;
  #listed = "";

  constructor(link) {
    this.#link = link;
    link.addEventListener("hello", ({ detail }) => this.#know(detail));
    link.addEventListener("tracks", ({ detail }) => this.#list(detail));
    link.addEventListener("player", ({ detail }) => this.#follow(detail));
    byId("track").addEventListener("change", () => this.open(byId("track").value));
    byId("track-play").addEventListener("click", () => this.#toggle());
    byId("track-live").addEventListener("click", () => link.ask("leave_track"));
    byId("track-attribute").addEventListener("change", () => this.#draw());
    byId("track-beside").addEventListener("change", () => this.#draw());
    byId("track-undo").addEventListener("click", () => this.#step("undo"));
    byId("track-redo").addEventListener("click", () => this.#step("redo"));
    byId("track-in").addEventListener("click", () => this.#zoom(0.5));
    byId("track-out").addEventListener("click", () => this.#zoom(2));
    byId("track-loop").addEventListener("click", () => this.#loop());
    byId("track-save").addEventListener("click", () => this.#save());
    byId("track-render").addEventListener("click", () => this.#render());
    const scrub = byId("track-scrub");
    scrub.addEventListener("input", () => this.#seek(Number(scrub.value)));
    scrub.addEventListener("change", () => (this.#scrubbing = false));
    const curve = byId("curve");
    curve.addEventListener("pointerdown", (event) => this.#begin(event));
    curve.addEventListener("pointermove", (event) => this.#drawing && this.#drawTo(event));
    for (const end of ["pointerup", "pointercancel"]) curve.addEventListener(end, () => this.#end());
    curve.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    curve.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(curve);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  #know({ attributes, groups }) {
    this.#groups = groups;
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
    this.#track = new Track(name, await blob.arrayBuffer(), this.#names);
    const { end } = this.#track;
    this.#view.all(end);
    this.#position = 0;
    byId("track").value = name;
    byId("track-scrub").max = end;
    for (const id of ["track-undo", "track-redo"]) byId(id).disabled = true;
    for (const id of ["track-play", "track-scrub", "track-attribute", "track-beside", "track-reach", "track-loop", "track-in", "track-out", "track-save", "track-render"]) byId(id).disabled = false;
    byId("track-hint").textContent = "Draw on the curve to change it; the wheel zooms. Keys: up and down change, left and right move (with Shift by ten), Home and End, + − 0 zoom, L repeats what is seen, space plays, Ctrl Z takes back.";
    await this.#link.ask("play_track", { name, playing: false });
    this.#draw();
  }

  #follow(player) {
    this.#player = player;
    const mine = this.#track !== null && player.track === this.#track.name;
    byId("track-play").replaceChildren(icon(mine && player.playing ? "pause" : "play"));
    byId("track-play").ariaLabel = mine && player.playing ? "Pause" : "Play";
    byId("track-live").disabled = !player.track;
    byId("track-loop").setAttribute("aria-pressed", Boolean(mine && player.loop_s));
    if (mine && !this.#scrubbing) this.#position = player.position_s;
    if (mine && player.playing && !this.#drawing) this.#view.reveal(this.#position);
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

  /** Repeat what is seen, or all again. */
  async #loop() {
    const { name } = this.#track;
    if (this.#player.track !== name) await this.#link.ask("play_track", { name, playing: false });
    await this.#link.ask("loop", this.#player.loop_s ? {} : { from_s: this.#view.from, to_s: this.#view.to });
  }

  #zoom(factor) {
    this.#view.reveal(this.#position);
    this.#view.zoom(factor, this.#position);
    this.#draw();
  }

  #wheel(event) {
    if (!this.#track) return;
    event.preventDefault();
    const place = byId("curve").getBoundingClientRect();
    const along = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(along) > Math.abs(event.shiftKey ? 0 : event.deltaY)) this.#view.pan(along / place.width);
    else this.#view.zoom(Math.exp(event.deltaY / 300), this.#view.time((event.clientX - place.left) / place.width));
    this.#draw();
  }

  // The curve

  get #attribute() {
    return byId("track-attribute").value;
  }

  #at(event) {
    const place = byId("curve").getBoundingClientRect();
    const time = this.#view.time((event.clientX - place.left) / place.width);
    return { time, value: valueAt(byId("curve"), event.clientY, this.#lowest.get(this.#attribute)) };
  }

  #begin(event) {
    if (!this.#track) return;
    byId("curve").setPointerCapture(event.pointerId);
    this.#track.begin();
    [this.#drawing, this.#last] = [true, null];
    this.#drawTo(event);
  }

  #drawTo(event) {
    const now = this.#at(event);
    const from = this.#last ?? now;
    const track = this.#track;
    // Every row between two places of the pointer is drawn through, so that a quick stroke has no holes.
    const [a, b] = [track.row(from.time), track.row(now.time)];
    const step = a <= b ? 1 : -1;
    for (let row = a; ; row += step) {
      const share = a === b ? 1 : (row - a) / (b - a);
      this.#pull(row, from.value + (now.value - from.value) * share);
      if (row === b) break;
    }
    this.#last = now;
    this.#seek(now.time);
  }

  #pull(row, value) {
    this.#track.pull(this.#attribute, row, value, Number(byId("track-reach").value), this.#lowest.get(this.#attribute));
  }

  #end() {
    if (!this.#drawing) return;
    this.#drawing = false;
    this.#tell(this.#track.finish(this.#attribute));
  }

  /** Let the product have a change. */
  #tell(change) {
    byId("track-undo").disabled = !this.#track.canUndo;
    byId("track-redo").disabled = !this.#track.canRedo;
    if (change) this.#link.ask("edit_track", { name: this.#track.name, ...change });
    this.#draw();
  }

  /** Take a change back, or do it again: `undo` or `redo`. */
  #step(which) {
    const change = this.#track[which]();
    if (change) byId("track-attribute").value = change.attribute;
    this.#tell(change);
  }

  #key(event) {
    if (!this.#track) return;
    const track = this.#track;
    const low = this.#lowest.get(this.#attribute);
    const row = track.row(this.#position);
    const last = track.rows - 1;
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    const along = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "y" || (key === "z" && event.shiftKey)) this.#step("redo");
      else if (key === "z") this.#step("undo");
      else return;
    } else if (up) {
      track.begin();
      this.#pull(row, track.value(this.#attribute, row) + up * 0.02 * (1 - low));
      this.#tell(track.finish(this.#attribute));
    } else if (along) {
      const next = Math.min(Math.max(row + along * (event.shiftKey ? 10 : 1), 0), last);
      this.#seek(track.times[next]);
      this.#view.reveal(this.#position);
      this.#draw();
    } else if (key === " ") this.#toggle();
    else if (key === "l") this.#loop();
    else if (key === "+" || key === "=") this.#zoom(0.5);
    else if (key === "-") this.#zoom(2);
    else if (key === "0") {
      this.#view.all();
      this.#draw();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Attributes that are drawn beside the one that is edited. */
  #beside() {
    const chosen = byId("track-beside").value;
    if (!chosen) return [];
    const group = Object.values(this.#groups).find((names) => names.includes(this.#attribute)) ?? [];
    return this.#names.filter((name) => name !== this.#attribute && (chosen === "all" || group.includes(name)) && this.#track.moves(name));
  }

  #draw() {
    const canvas = byId("curve");
    const track = this.#track;
    if (canvas.clientWidth === 0 || !track) return;
    const attribute = this.#attribute;
    const loop = this.#player.track === track.name ? this.#player.loop_s : null;
    drawCurves(canvas, track, this.#view, { attribute, beside: this.#beside(), position: this.#position, loop }, this.#lowest);
    const value = track.value(attribute, track.row(this.#position));
    canvas.setAttribute("aria-valuemin", this.#lowest.get(attribute));
    canvas.setAttribute("aria-valuenow", value.toFixed(2));
    canvas.setAttribute("aria-valuetext", `${label(attribute)} ${written(attribute, value)} at ${this.#position.toFixed(2)} seconds`);
    byId("track-time").textContent = `${this.#position.toFixed(1)} / ${track.end.toFixed(1)} s`;
    byId("track-scrub").value = this.#position;
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
}
