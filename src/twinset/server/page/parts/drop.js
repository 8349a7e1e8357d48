// Where an image is given: dropped, pasted, picked, photographed, or dragged from a tile.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { t } from "../language.js";
import { Camera, hasCamera } from "./camera.js";
import { Crop } from "./crop.js";
import { Icon } from "./marks.js";
import { crisp, ofFile, taken } from "./pictures.js";
import { Seen } from "./seen.js";

// Named one by one: asked for images of any kind, a phone gives HEIC, which hardly anything else can read.
const FORMATS = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff";

// What is pasted goes to the zone that has the focus, else to the first that is empty, else to the last.
const zones = new Set();
addEventListener("paste", (event) => {
  if (event.target.closest?.("input, textarea, dialog[open]") || !zones.size) return;
  const pictures = taken(event.clipboardData);
  if (!pictures.length) return;
  event.preventDefault();
  const all = [...zones];
  const zone = all.find((one) => one.element().contains(document.activeElement)) ?? all.find((one) => one.empty()) ?? all.at(-1);
  zone.give(pictures);
});
// a drop beside a zone would leave the page and open the file
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());

/**
 * @param {{label: string, picture?: import("./pictures.js").Picture, input?: object, many?: boolean, overlay?: any, more?: any,
 *          onGive: (pictures: import("./pictures.js").Picture[]) => void, onClear?: () => void, children?: any}} given
 */
export function Drop({ label, picture, input, many, onGive, onClear, overlay, more, children }) {
  const [over, setOver] = useState(false);
  const [photo, setPhoto] = useState(false);
  const [crop, setCrop] = useState(false);
  const [hidden, hide] = useState(); // the address of what browsers do not show, such as a TIFF
  const element = useRef();
  const files = useRef();
  const camera = useRef();
  const now = useRef();
  now.current = { picture, onGive };
  useEffect(() => {
    const zone = { element: () => element.current, empty: () => !now.current.picture, give: (p) => now.current.onGive(p) };
    zones.add(zone);
    return () => zones.delete(zone);
  }, []);
  const unseen = picture && hidden === picture.url;
  const picked = (event) => {
    if (event.target.files.length) onGive([...event.target.files].map(ofFile));
    event.target.value = ""; // the same file may be picked again
  };
  const dropped = (event) => {
    event.preventDefault();
    setOver(false);
    const pictures = taken(event.dataTransfer);
    if (pictures.length) onGive(pictures);
  };
  return html`<div class=${`drop ${over ? "over" : ""} ${picture && !children ? "given" : ""}`} ref=${element} role="group" aria-label=${label}
      onDragOver=${(e) => (e.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${dropped}>
    <input type="file" accept=${FORMATS} multiple hidden ref=${files} onChange=${picked} aria-label=${t("drop.pick")} tabindex="-1" />
    <input type="file" accept="image/*" capture="environment" hidden ref=${camera} onChange=${picked} aria-label=${t("drop.photo")} tabindex="-1" />
    ${children}
    ${!children && picture && html`<div class="drop-image">
        ${unseen ? html`<p class="quiet measure">${t(picture.item ? "drop.none" : "drop.unseen")}</p>` : html`<img src=${picture.url} alt=${picture.name} onLoad=${crisp} onError=${() => hide(picture.url)} />`}
        ${overlay}
      </div>
      ${input?.shape && !unseen && html`<${Seen} url=${picture.url} input=${input} />`}
      <div class="drop-foot">
        <p class="small quiet" title=${picture.name}>${picture.name}</p>
        ${!unseen && html`<button class="button plain slim" type="button" onClick=${() => setCrop(true)}>${t("crop.open")}</button>`}
        <button class="button plain slim" type="button" onClick=${() => files.current.click()}>${t("drop.other")}</button>
        <button class="button plain slim" type="button" aria-label=${t("drop.clear", { name: label })} onClick=${onClear}><${Icon} name="close" /></button>
      </div>`}
    ${!children && !picture && html`<div class="drop-ask">
      <${Icon} name="image" />
      <h2>${label}</h2>
      <p class="small quiet only-fine">${t("drop.how")}</p>
      <div class="row drop-ways">
        <button class="button" type="button" onClick=${() => files.current.click()}>${t(many ? "drop.pick-many" : "drop.pick")}</button>
        <button class="button camera" type="button" onClick=${() => camera.current.click()}><${Icon} name="camera" />${t("drop.photo")}</button>
        ${hasCamera() && html`<button class="button only-fine" type="button" onClick=${() => setPhoto(true)}><${Icon} name="camera" />${t("drop.photo")}</button>`}
        ${more}
      </div>
    </div>`}
    ${crop && picture && html`<${Crop} picture=${picture} onGive=${onGive} onClose=${() => setCrop(false)} />`}
    ${photo && html`<${Camera} onGive=${onGive} onClose=${() => setPhoto(false)} />`}
  </div>`;
}
