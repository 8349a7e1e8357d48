// A picture that is asked about: a file of the person's, or an item of the index.
import { thumbnail } from "../api.js";
import { toast } from "./toasts.js";
import { t } from "../language.js";

/** @typedef {{file?: File, item?: string, url: string, name: string}} Picture */

/** @returns {Picture} */
export const ofFile = (file) => ({ file, url: URL.createObjectURL(file), name: file.name || t("drop.pasted") });

/** @returns {Picture} */
export const ofItem = (id) => ({ item: id, url: thumbnail(id, 640), name: id });

/** The pictures in what was dropped or pasted; says so where there are none. */
export function taken(transfer) {
  const item = transfer.getData?.("text/x-twinset-item");
  if (item) return [ofItem(item)];
  const files = [...(transfer.files ?? [])].filter((file) => file.type.startsWith("image/") || /\.(tiff?|bmp|webp)$/i.test(file.name));
  if (!files.length && transfer.files?.length) toast(t("drop.no-image"));
  return files.map(ofFile);
}

// Files cannot be in an address. What was given stays here while the tab lives, so that one can go to
// another view and back; a reload forgets it, and the page then asks again.
const kept = new Map();
export const keep = (place, pictures) => kept.set(place, pictures);
export const keptAt = (place) => kept.get(place);

/** Whether an image is so small that a browser's smoothing would show what is not there. */
export const crisp = (event) => event.target.classList.toggle("crisp", event.target.naturalWidth <= 96);

/** An item without a picture: its tile stays empty above its name, without the browser's broken image. */
export const gone = (event) => event.target.classList.add("gone");
