// A photo from the camera of a computer, as at a counter; a phone has a camera of its own for that.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { t } from "../language.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./marks.js";
import { ofFile } from "./pictures.js";

/** Whether there may be one: browsers give it to secure addresses only. */
export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export function Camera({ onGive, onClose }) {
  const video = useRef();
  const [state, set] = useState("asking");
  useEffect(() => {
    let stream;
    let closed = false;
    // as many pixels as it has: the server makes them fewer in its own way
    const wish = { video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } } };
    navigator.mediaDevices.getUserMedia(wish).then(
      (found) => {
        stream = found;
        if (closed) return stop();
        video.current.srcObject = stream; // ready once it has a frame: before that there are no pixels to take
      },
      () => set("refused"),
    );
    const stop = () => stream?.getTracks().forEach((track) => track.stop());
    return () => {
      closed = true;
      stop();
    };
  }, []);
  const take = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.current.videoWidth, video.current.videoHeight];
    canvas.getContext("2d").drawImage(video.current, 0, 0);
    canvas.toBlob((blob) => {
      onGive([ofFile(new File([blob], t("camera.name"), { type: "image/png" }))]);
      onClose();
    }, "image/png");
  };
  return html`<${Dialog} title=${t("camera.title")} wide onClose=${onClose}>
    ${state === "refused" ? html`<p class="measure">${t("camera.refused")}</p>` : html`<video class="camera-view" ref=${video} autoplay muted playsinline onLoadedData=${() => set("ready")} aria-label=${t("camera.view")}></video>`}
    <div class="row"><button class="button main" type="button" disabled=${state !== "ready"} onClick=${take}><${Icon} name="camera" />${t("camera.take")}</button></div>
  <//>`;
}
