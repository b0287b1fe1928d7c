// A call by WebRTC: this browser's camera drives, and the output comes back as video. Only a panel that was started with
// --panel-webrtc takes one.

import { byId, icon, say } from "./dom.js";

const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
const GATHERING_MS = 3000;

export class Call {
  #link;
  #connection = null;
  #camera = null;
  #number = Infinity;

  constructor(link) {
    this.#link = link;
    const button = byId("do-call");
    link.addEventListener("hello", ({ detail }) => (button.hidden = !detail.webrtc));
    link.addEventListener("connection", ({ detail }) => detail.state === "lost" && this.#end());
    link.addEventListener("call", ({ detail }) => detail.ended >= this.#number && this.#lose());
    addEventListener("pagehide", () => this.#end());
    button.addEventListener("click", () => (this.#connection ? this.#end() : this.#begin()));
    byId("video").addEventListener("playing", () => this.#show(true));
  }

  async #begin() {
    const button = byId("do-call");
    button.disabled = true;
    try {
      this.#camera = await navigator.mediaDevices.getUserMedia({ video: CAMERA, audio: false });
      await this.#call();
    } catch (error) {
      this.#end();
      say(error.name === "NotAllowedError" ? "The browser was not allowed to use its camera" : `No call: ${error.message}`, true);
    } finally {
      button.disabled = false;
    }
    this.#press();
  }

  async #call() {
    const connection = (this.#connection = new RTCPeerConnection());
    for (const track of this.#camera.getTracks()) {
      track.contentHint = "motion";
      track.addEventListener("ended", () => this.#lose());
      connection.addTransceiver(track, { direction: "sendrecv" });
    }
    connection.addEventListener("track", ({ track }) => {
      const video = byId("video");
      video.srcObject = new MediaStream([track]);
      // A browser starts a video that is not seen only when it is asked to.
      video.play().catch(() => {});
    });
    connection.addEventListener("connectionstatechange", () => {
      if (connection === this.#connection && connection.connectionState === "failed") this.#lose();
    });
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const answer = await this.#link.post("/api/call", { sdp: connection.localDescription.sdp });
    if (!answer) throw new Error("icface-live did not take it");
    this.#number = answer.number;
    await connection.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  }

  #lose() {
    say("The call has ended: the camera or the connection was lost, or another browser calls now", true);
    this.#end();
  }

  #end() {
    this.#connection?.close();
    for (const track of this.#camera?.getTracks() ?? []) track.stop();
    this.#connection = this.#camera = null;
    this.#number = Infinity;
    byId("video").srcObject = null;
    this.#show(false);
    this.#press();
  }

  #show(video) {
    byId("video").hidden = !video;
    byId("output").hidden = video;
    if (video) byId("curtain").hidden = true;
    this.#link.takePictures(!video);
  }

  #press() {
    const button = byId("do-call");
    button.setAttribute("aria-pressed", Boolean(this.#connection));
    button.replaceChildren(icon(this.#connection ? "stop" : "camera"), this.#connection ? "Stop this browser's camera" : "This browser's camera");
  }
}

/** Until all addresses of this browser are known, or the time is over. */
function gathered(connection) {
  return new Promise((resolve) => {
    const done = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", done);
    setTimeout(resolve, GATHERING_MS);
    done();
  });
}
