// Photos and drivers as galleries, files dropped or chosen, and presets.

import { byId, icon, make, say } from "./dom.js";
import { drawLandmarks } from "./output.js";

const PHOTOS = "image/*";
const DRIVERS = "video/*,image/*,.csv";

export class Gallery {
  #link;
  #pictures = new Map();
  #faces = new Map();
  #places = new Map();
  #written = {};

  constructor(link) {
    this.#link = link;
    link.addEventListener("photos", ({ detail }) => this.#photos(detail));
    link.addEventListener("drivers", ({ detail }) => this.#drivers(detail));
    link.addEventListener("presets", ({ detail }) => this.#presets(detail));
    link.addEventListener("picture", ({ detail }) => this.#look(detail));
    byId("preset-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save(byId("preset-name"));
    });
    byId("do-camera").addEventListener("click", () => this.#cameras());
    this.#takeDrops();
  }

  #photos({ photos, shown }) {
    const tiles = photos.map(({ number, name, state, note }) => {
      const tile = make("button", {
        class: number === shown ? "tile shown" : "tile",
        ariaPressed: String(number === shown),
        disabled: state !== "ready",
        title: note || name,
        ariaLabel: `Photo ${number + 1}: ${name}${note ? `, ${note}` : ""}`,
        onclick: () => this.#link.ask("show", { number }),
      });
      tile.dataset.photo = number;
      if (state === "ready") this.#picture(tile, number);
      tile.append(make("span", { class: "number" }, String(number + 1)));
      if (state !== "ready") tile.append(make("span", { class: "note" }, state === "failed" ? note : "Preparing"));
      return tile;
    });
    byId("photos").replaceChildren(...tiles, this.#adder("photos", "Photo", PHOTOS));
  }

  async #picture(tile, number) {
    if (!this.#pictures.has(number)) {
      this.#pictures.set(number, this.#link.file(`/api/photos/${number}`).then((blob) => blob && URL.createObjectURL(blob)));
    }
    const url = await this.#pictures.get(number);
    if (url) tile.prepend(make("img", { src: url, alt: "" }));
    else this.#pictures.delete(number);
  }

  #drivers({ drivers }) {
    const focused = document.activeElement?.dataset.key;
    this.#faces.clear();
    const tiles = drivers.map((driver) => this.#driver(driver));
    byId("drivers").replaceChildren(...tiles, this.#adder("drivers", "Video or photo", DRIVERS));
    if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #driver({ number, name, kind, aspect, mirrored, ended }) {
    const canvas = make("canvas", { role: "img", ariaLabel: `Driver ${number}: ${name}, as landmarks` });
    const place = this.#places.get(number) ?? {};
    this.#places.set(number, place);
    this.#faces.set(number, { canvas, aspect, mirrored, place });
    const note = ended ? "ended" : kind === "photo" || kind === "table" ? kind : "";
    const tile = make("div", { class: "tile" }, canvas, make("span", { class: "number" }, String(number)));
    if (note) tile.append(make("span", { class: "note" }, note));
    const button = (key, picture, text, properties, action) => {
      const made = make("button", { type: "button", class: "icon", ariaLabel: `${text}: driver ${number}`, title: text, ...properties, onclick: action }, icon(picture));
      made.dataset.key = `${key}-${number}`;
      return made;
    };
    const tools = make("div", { class: "tools" },
      button("use", "face", "Let it move everything", { disabled: ended }, () => this.#link.ask("change", { names: ["all"], changes: { source: `driver ${number}` } })),
      button("mirror", "mirror", "Show it as in a mirror", { ariaPressed: String(mirrored) }, () => this.#link.ask("mirror", { on: !mirrored, driver: number })),
      button("remove", "bin", "Remove it; what it moves eases to the photo's own", {}, () => this.#link.ask("leave", { driver: number })));
    const figure = make("figure", { class: "driver", title: `${name} (${kind})` }, tile, make("figcaption", {}, name), tools);
    figure.dataset.driver = number;
    return figure;
  }

  #look({ landmarks }) {
    for (const [number, { canvas, aspect, mirrored, place }] of this.#faces) {
      drawLandmarks(canvas, landmarks[number - 1] ?? null, aspect || 4 / 3, mirrored, place);
    }
  }

  /** List this machine's cameras, each a button that lets it drive. */
  async #cameras() {
    const list = byId("camera-list");
    if (list.childElementCount) {
      list.replaceChildren();
      return;
    }
    const cameras = (await this.#link.ask("cameras")) ?? [];
    if (!cameras.length) say("No camera was found on the machine that runs icface-live");
    list.replaceChildren(...cameras.map(({ number, name, note }) =>
      make("button", { type: "button", title: note, onclick: async () => {
        list.replaceChildren();
        const driver = await this.#link.ask("join", { camera: number });
        if (driver !== undefined) say(`Camera ${number} is driver ${driver} now`);
      } }, `${number}: ${name}`)));
    list.firstElementChild?.focus();
  }

  #adder(kind, text, accept) {
    const input = make("input", { type: "file", accept, multiple: true, hidden: true });
    input.addEventListener("change", () => {
      for (const file of [...input.files]) this.#give(kind, file);
      input.value = ""; // so that the same file can be chosen again
    });
    return make("button", { class: "tile add", onclick: () => input.click() }, icon("plus"), text, input);
  }

  async #give(kind, file) {
    say(`Taking ${file.name}`);
    await this.#link.upload(kind, file);
  }

  #takeDrops() {
    const drop = byId("drop");
    const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    let depth = 0;
    addEventListener("dragenter", (event) => {
      if (hasFiles(event)) drop.hidden = ++depth <= 0;
    });
    addEventListener("dragleave", (event) => {
      if (hasFiles(event)) drop.hidden = --depth <= 0;
    });
    addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      depth = 0;
      drop.hidden = true;
      for (const file of event.dataTransfer.files) this.#give(kindOf(file, event.target), file);
    });
  }

  #presets({ presets }) {
    if (JSON.stringify(presets) === this.#written.presets) return;
    this.#written.presets = JSON.stringify(presets);
    byId("presets").replaceChildren(
      ...presets.map((name) => {
        const button = make("button", { type: "button", onclick: () => this.#link.ask("load_preset", { name }) }, name);
        button.dataset.preset = name;
        return button;
      }),
    );
  }

  async #save(input) {
    const name = input.value.trim();
    if ((await this.#link.ask("save_preset", { name })) === undefined) return;
    say(`Preset ${name} is saved`);
    input.value = "";
  }
}

/** What a file that is dropped becomes: where it is dropped says it, else its own kind. */
function kindOf(file, place) {
  if (place.closest?.("#drivers-card")) return "drivers";
  if (place.closest?.(".timeline")) return "tracks";
  if (file.type.startsWith("image/")) return "photos";
  return file.name.toLowerCase().endsWith(".csv") ? "tracks" : "drivers";
}
