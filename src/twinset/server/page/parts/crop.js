// A part of an image, chosen before it is asked about: by a drag over it, or by arrow keys.
import { html, useRef, useState } from "../vendor/preact.js";
import { t } from "../language.js";
import { Dialog } from "./dialog.js";
import { ofFile } from "./pictures.js";

const LEAST = 0.02; // of a side: less is a slip of the hand
const share = (value, most = 1) => Math.min(most, Math.max(0, value));

/** @param {{picture: import("./pictures.js").Picture, onGive: Function, onClose: () => void}} given */
export function Crop({ picture, onGive, onClose }) {
  const image = useRef();
  const from = useRef();
  const [box, setBox] = useState({ x: 0.1, y: 0.1, w: 0.8, h: 0.8 }); // in shares of the image
  const at = (event) => {
    const { left, top, width, height } = image.current.getBoundingClientRect();
    return [share((event.clientX - left) / width), share((event.clientY - top) / height)];
  };
  const down = (event) => {
    event.preventDefault(); // the browser would drag the image itself
    event.currentTarget.setPointerCapture(event.pointerId);
    event.currentTarget.focus();
    from.current = at(event);
  };
  const move = (event) => {
    if (!from.current) return;
    const [[x, y], [to, bottom]] = [from.current, at(event)];
    setBox({ x: Math.min(x, to), y: Math.min(y, bottom), w: Math.abs(to - x), h: Math.abs(bottom - y) });
  };
  const key = (event) => {
    const [right, low] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (right === undefined) return;
    event.preventDefault();
    const [across, along] = [LEAST * right, LEAST * low];
    setBox(({ x, y, w, h }) =>
      event.shiftKey
        ? { x, y, w: Math.max(LEAST, share(w + across, 1 - x)), h: Math.max(LEAST, share(h + along, 1 - y)) }
        : { x: share(x + across, 1 - w), y: share(y + along, 1 - h), w, h },
    );
  };
  const use = () => {
    const { naturalWidth: wide, naturalHeight: tall } = image.current;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.max(1, Math.round(box.w * wide)), Math.max(1, Math.round(box.h * tall))];
    canvas.getContext("2d").drawImage(image.current, -Math.round(box.x * wide), -Math.round(box.y * tall));
    canvas.toBlob((blob) => {
      const name = picture.name.split("/").at(-1).replace(/\.\w+$/, "");
      onGive([ofFile(new File([blob], t("crop.name", { name }), { type: "image/png" }))]);
      onClose();
    }, "image/png");
  };
  const [left, top, width, height] = [box.x, box.y, box.w, box.h].map((one) => `${100 * one}%`);
  return html`<${Dialog} title=${t("crop.title")} wide onClose=${onClose}>
    <p class="quiet small" id="crop-how">${t("crop.how")}</p>
    <div class="crop" tabindex="0" role="group" aria-label=${t("crop.part")} aria-describedby="crop-how"
        onPointerDown=${down} onPointerMove=${move} onPointerUp=${() => (from.current = undefined)} onPointerCancel=${() => (from.current = undefined)} onKeyDown=${key}>
      <img src=${picture.url} alt=${picture.name} ref=${image} draggable=${false} />
      <span class="crop-box" style=${{ left, top, width, height }}></span>
    </div>
    <div class="row"><button class="button main" type="button" disabled=${box.w < LEAST || box.h < LEAST} onClick=${use}>${t("crop.use")}</button>
      <button class="button plain" type="button" onClick=${onClose}>${t("cancel")}</button></div>
  <//>`;
}
