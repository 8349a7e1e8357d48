// An image as the model sees it: in its size and colours, which may be far from what people see.
import { html, useEffect, useRef } from "../vendor/preact.js";
import { t } from "../language.js";
import { frame } from "./overlay.js";

/** @param {{url: string, input: {shape: number[], resize: string, background?: number}}} given */
export function Seen({ url, input }) {
  const canvas = useRef();
  const [high, wide, channels = 1] = input.shape;
  useEffect(() => {
    const image = new Image();
    image.onload = () => {
      const paint = canvas.current?.getContext("2d");
      if (!paint) return;
      const { across, down } = frame(input, image.naturalWidth, image.naturalHeight);
      // in whole pixels where it is filled up, one at least: a thin image would vanish
      const [round, start] = input.resize === "pad" ? [(length) => Math.max(1, Math.round(length)), Math.floor] : [Number, Number];
      const [w, h] = [round(image.naturalWidth / across), round(image.naturalHeight / down)];
      const level = Math.round(input.background ?? 0);
      paint.fillStyle = `rgb(${level} ${level} ${level})`;
      paint.fillRect(0, 0, wide, high);
      // nearly the server's own resizing: browsers average too, if with other weights
      paint.imageSmoothingQuality = "high";
      paint.drawImage(image, start((wide - w) / 2), start((high - h) / 2), w, h);
      if (channels > 1) return;
      // not the filter "grayscale", which Safari lacks
      paint.globalCompositeOperation = "saturation";
      paint.fillStyle = "#000";
      paint.fillRect(0, 0, wide, high);
    };
    image.src = url;
    return () => (image.onload = null);
  }, [url]);
  const said = t("drop.seen", { width: wide, height: high, colour: t(channels === 1 ? "report.grey" : "report.colour") });
  return html`<figure class="seen small quiet" title=${said}><canvas class=${wide <= 96 ? "crisp" : ""} ref=${canvas} width=${wide} height=${high} role="img" aria-label=${said}></canvas><figcaption aria-hidden="true">${said}</figcaption></figure>`;
}
