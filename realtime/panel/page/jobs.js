// Renderings and readings as they come along, each with its video to download.

import { byId, download, icon, make } from "./dom.js";

export class Jobs {
  #link;

  constructor(link) {
    this.#link = link;
    link.addEventListener("jobs", ({ detail }) => this.#show(detail));
  }

  #show({ jobs }) {
    byId("jobs").replaceChildren(...jobs.map(({ name, state, error, folder, is_video }) => {
      const item = make("li", { title: folder }, name);
      item.dataset.job = name;
      item.dataset.state = state;
      if (state === "running") item.append(make("span", { class: "quiet" }, is_video ? "rendering" : "reading"));
      else if (state === "failed") item.append(make("span", { class: "quiet" }, error));
      else if (is_video) item.append(make("button", { onclick: () => this.#fetch(name) }, icon("save"), "Download"));
      return item;
    }));
  }

  async #fetch(name) {
    const blob = await this.#link.file(`/api/videos/${encodeURIComponent(name)}`);
    if (blob) download(blob, name);
  }
}
