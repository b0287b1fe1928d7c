// The link to the running product: one WebSocket for pictures and commands, HTTP for files.
//
// The token comes after `#` in the address. It is taken out of the address bar at once and kept for this tab alone, so
// that the page can be loaded again. It is sent in a header or as a WebSocket subprotocol, never as a cookie: a cookie
// of 127.0.0.1 would go to every other port as well.

import { say } from "./dom.js";

const KEY = "icface-token";
const ASKS = 202;

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

export class Link extends EventTarget {
  #token = takeToken();
  #socket = null;
  #waiting = new Map();
  #next = 1;
  #pictures = true;

  /** Connect, and connect again when the link is lost. */
  open() {
    if (!this.#token) {
      this.#tell("connection", { state: "lost", text: "No token: open the address that icface-live printed" });
      return;
    }
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/stream`, ["icface", this.#token]);
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      if (!this.#pictures) this.takePictures(false);
      this.#tell("connection", { state: "live", text: "Live" });
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#hear(JSON.parse(data)) : this.#look(data));
    socket.onclose = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the connection was lost"));
      this.#waiting.clear();
      this.#tell("connection", { state: "lost", text: opened ? "Not connected" : "icface-live does not answer" });
      setTimeout(() => this.open(), opened ? 700 : 2500);
    };
    this.#socket = socket;
  }

  /** Send a command; resolves with its answer. Errors are told to the user, and the promise gives undefined. */
  async ask(does, what = {}) {
    const id = this.#next++;
    try {
      return await new Promise((resolve, reject) => {
        if (this.#socket?.readyState !== WebSocket.OPEN) throw new Error("not connected");
        this.#waiting.set(id, { resolve, reject });
        this.#socket.send(JSON.stringify({ id, command: { does, ...what } }));
      });
    } catch (error) {
      say(error.message, true);
      return undefined;
    }
  }

  /** Say that the picture was drawn, and that the next may come. A page that is not seen asks for none. */
  acknowledge(serial) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ seen: serial }));
  }

  /** Say whether pictures shall come here, or numbers alone. */
  takePictures(wanted) {
    this.#pictures = wanted;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ pictures: wanted }));
  }

  /** Send a question as JSON; gives the answer, or undefined. */
  async post(path, question) {
    const answer = await this.#fetch(path, { method: "POST", body: JSON.stringify(question) });
    return answer?.json();
  }

  /** Give a file to the product: kind is `photos`, `drivers` or `tracks`. It may ask whether the person in it agreed. */
  async upload(kind, file, agreed = false) {
    const name = encodeURIComponent(file.name);
    const answer = await this.#fetch(`/api/${kind}?name=${name}${agreed ? "&consent=yes" : ""}`, { method: "POST", body: file });
    if (!answer) return;
    const text = await answer.text();
    if (answer.status !== ASKS) say(text);
    else if (confirm(text)) await this.upload(kind, file, true);
    else say(`${file.name} is not used without consent`, true);
  }

  /** A file of the product, as a blob; undefined where it is not there. */
  async file(path) {
    const answer = await this.#fetch(path);
    return answer?.blob();
  }

  async #fetch(path, options = {}) {
    try {
      const answer = await fetch(path, { ...options, headers: { Authorization: `Bearer ${this.#token}` } });
      if (answer.ok) return answer;
      say((await answer.text()).trim(), true);
    } catch {
      say("icface-live does not answer", true);
    }
    return undefined;
  }

  #hear(message) {
    if (message.is !== "answer") {
      this.#tell(message.is, message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.reject(new Error(message.error));
    else waiting?.resolve(message.result);
  }

  // A picture's message: the length of a JSON head, the head, then what it counts up: numbers, landmarks, JPEG.
  #look(data) {
    const headBytes = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, headBytes)));
    let at = 4 + headBytes;
    const take = (Kind, count) => {
      const part = new Kind(data.slice(at, at + count * Kind.BYTES_PER_ELEMENT));
      at += count * Kind.BYTES_PER_ELEMENT;
      return part;
    };
    head.output = head.observed ? take(Float32Array, head.size) : null;
    head.drivers = head.drivers.map((there) => (there ? take(Float32Array, head.size) : null));
    head.landmarks = head.landmarks.map((points) => (points ? take(Uint16Array, 2 * points) : null));
    head.jpeg = at < data.byteLength ? new Blob([data.slice(at)], { type: "image/jpeg" }) : null;
    this.#tell("picture", head);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
