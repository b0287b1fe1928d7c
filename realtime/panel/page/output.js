// The output and, beside it, each driver as landmarks.

import { byId, cachedColour, fitted } from "./dom.js";

// MediaPipe's contours of the face's parts, by landmark number.
const CONTOURS = [
  [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10],
  [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33],
  [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263],
  [46, 53, 52, 65, 55], [70, 63, 105, 66, 107], [276, 283, 282, 295, 285], [300, 293, 334, 296, 336],
  [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61],
  [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78],
  [168, 6, 197, 195, 5, 4], [98, 97, 2, 326, 327],
  [469, 470, 471, 472, 469], [474, 475, 476, 477, 474],
];

export class Output {
  #canvas = byId("output");
  #link;
  #drawing = false;
  #next = null;
  serial = -1;

  constructor(link) {
    this.#link = link;
    link.addEventListener("picture", ({ detail }) => this.#take(detail));
  }

  // One picture is decoded at a time, and only the newest waits.
  async #take(picture) {
    this.#next = picture;
    if (this.#drawing) return;
    this.#drawing = true;
    while (this.#next) {
      const now = this.#next;
      this.#next = null;
      await seen();
      if (!now.jpeg) {  // it comes by WebRTC
        this.#link.acknowledge(now.serial);
        continue;
      }
      try {
        const bitmap = await createImageBitmap(now.jpeg);
        if (this.#canvas.width !== bitmap.width || this.#canvas.height !== bitmap.height) {
          this.#canvas.width = bitmap.width;
          this.#canvas.height = bitmap.height;
        }
        this.#canvas.getContext("2d").drawImage(bitmap, 0, 0);
        bitmap.close();
        byId("curtain").hidden = true;
        this.serial = now.serial;
        this.#canvas.dataset.serial = now.serial;
      } finally {
        this.#link.acknowledge(now.serial);
      }
    }
    this.#drawing = false;
  }
}

/** Until the page is seen. One that is not seen asks for no more pictures. */
async function seen() {
  while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/**
 * Draw a driver's landmarks, shares of the camera picture from 0 to 65535. The view follows the face slowly, so that it
 * fills the tile and its moves are still seen. `place` keeps the view from one picture to the next.
 */
export function drawLandmarks(canvas, points, aspect, mirrored, place) {
  const { context, width, height } = fitted(canvas);
  if (!points || !width) return;
  const x = (i) => ((mirrored ? 65535 - points[2 * i] : points[2 * i]) / 65535) * aspect;
  const y = (i) => points[2 * i + 1] / 65535;
  const centre = [(x(234) + x(454)) / 2, (y(10) + y(152)) / 2];
  const size = Math.hypot(x(10) - x(152), y(10) - y(152));
  const follow = place.size ? 0.04 : 1;
  place.size = (place.size ?? 0) + (size - (place.size ?? 0)) * follow;
  place.x = (place.x ?? 0) + (centre[0] - (place.x ?? 0)) * follow;
  place.y = (place.y ?? 0) + (centre[1] - (place.y ?? 0)) * follow;
  const scale = (0.72 * height) / place.size;
  const at = (i) => [width / 2 + (x(i) - place.x) * scale, height / 2 + (y(i) - place.y) * scale];
  context.fillStyle = cachedColour("quiet");
  context.globalAlpha = 0.45;
  for (let i = 0; i < 468; i += 2) context.fillRect(...at(i), 1, 1);
  context.globalAlpha = 1;
  context.strokeStyle = cachedColour("driver");
  context.lineWidth = 1.3;
  context.lineJoin = "round";
  for (const contour of CONTOURS) {
    if (Math.max(...contour) * 2 >= points.length) continue;
    context.beginPath();
    for (const i of contour) context.lineTo(...at(i));
    context.stroke();
  }
}
