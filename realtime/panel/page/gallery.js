// Photos and drivers as galleries, files dropped or chosen, and presets.

import { byId, icon, make, say } from "./dom.js";
import { drawLandmarks } from "./output.js";

const PHOTOS = "image/*";
const DRIVERS = "video/*,.csv";

export class Gallery {
  #link;
  #pictures = new Map();
  #faces = [];
  #aspects = [];
  #places = [];
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
    this.#aspects = drivers.map(({ aspect }) => aspect);
    const tiles = drivers.map(({ name, kind }, i) => {
      const canvas = make("canvas", { role: "img", ariaLabel: `Driver ${i + 1}: ${name}, as landmarks` });
      const tile = make("div", { class: "tile" }, canvas, make("span", { class: "number" }, String(i + 1)));
      return make("figure", { class: "driver", title: `${name} (${kind})` }, tile, make("figcaption", {}, name));
    });
    this.#places = drivers.map(() => ({}));
    this.#faces = tiles.map((tile) => tile.querySelector("canvas"));
    byId("drivers").replaceChildren(...tiles, this.#adder("drivers", "Video or table", DRIVERS));
  }

  #look({ landmarks }) {
    this.#faces.forEach((canvas, i) => {
      if (canvas.offsetParent !== null) drawLandmarks(canvas, landmarks[i] ?? null, this.#aspects[i] || 4 / 3, this.#places[i]);
    });
  }

  #adder(kind, text, accept) {
    const input = make("input", { type: "file", accept, multiple: true, hidden: true });
    input.addEventListener("change", () => {
      for (const file of input.files) this.#give(kind, file);
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
      for (const file of event.dataTransfer.files) this.#give(file.type.startsWith("image/") ? "photos" : "drivers", file);
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
