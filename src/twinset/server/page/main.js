// The shell: a bar with the views, the view that the address names, and a line about the model.
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./vendor/preact.js";
import { limits, useGet } from "./api.js";
import { LANGUAGES, count, language, speak, t } from "./language.js";
import { Announcer } from "./parts/announce.js";
import { Busy, Empty, Trouble } from "./parts/states.js";
import { Icon, Twins } from "./parts/marks.js";
import { Toasts } from "./parts/toasts.js";
import { useAddress } from "./router.js";
import { paint, theme } from "./theme.js";
import { VIEWS } from "./views.js";

const onPhone = 4; // so many views are in the bar of a phone; the others are behind "More"

function Bar({ views, path, onLook }) {
  const [open, setOpen] = useState(false);
  useEffect(() => setOpen(false), [path]);
  const few = views.length <= onPhone + 1;
  return html`<header class="bar">
    <div class="bar-in">
      <a class="brand" href="./compare" aria-label="twinset"><${Twins} ratio=${0.55} lens />twinset</a>
      <nav class=${`nav ${open ? "open" : ""} ${few ? "few" : ""}`} aria-label=${t("nav.views")}>
        <ul>
          ${views.map(
            (view, place) => html`<li class=${place >= onPhone ? "late" : ""} key=${view.path}>
              <a href=${`.${view.path}`} aria-current=${view.path === path ? "page" : undefined}><${Icon} name=${view.icon} />${t(view.title)}</a>
            </li>`,
          )}
          <li class="nav-more-item">
            <button class=${`nav-more ${views.findIndex((view) => view.path === path) >= onPhone ? "here" : ""}`} type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>
              <${Icon} name="more" />${t("nav.more")}
            </button>
          </li>
        </ul>
      </nav>
      <div class="tools">
        <div class="segments slim" role="group" aria-label=${t("nav.language")}>
          ${LANGUAGES.map(
            (one) => html`<button type="button" lang=${one} aria-pressed=${one === language()} onClick=${() => onLook(() => speak(one))}>
              <span aria-hidden="true">${one.toUpperCase()}</span><span class="unseen">${{ en: "English", fr: "Français" }[one]}</span>
            </button>`,
          )}
        </div>
        <button class="button plain" type="button" aria-label=${t(theme() === "dark" ? "nav.light" : "nav.dark")}
          onClick=${() => onLook(() => paint(theme() === "dark" ? "light" : "dark"))}>
          <${Icon} name=${theme() === "dark" ? "sun" : "moon"} />
        </button>
      </div>
    </div>
  </header>`;
}

function Foot({ model, index }) {
  const trained = model?.trained_on;
  return html`<footer class="foot"><div class="foot-in">
    ${trained && html`<span>${t("foot.model", { name: model.name ?? trained.name, images: trained.images })}</span>`}
    ${index && html`<span>${t("foot.items", { n: index.items })}</span>`}
    <span>${t("foot.local")}</span>
  </div></footer>`;
}

function Page() {
  const [, redraw] = useState(0);
  const { path, query } = useAddress();
  const model = useGet("/model");
  const index = useGet(model.value?.has_index ? "/index" : null);
  Object.assign(limits, model.value?.limits);
  const main = useRef();
  const before = useRef(path);
  // Without an index its views have nothing to show; who comes by a link is told what is missing.
  const none = model.value && !model.value.has_index;
  const views = VIEWS.filter((view) => !(none && view.needs));
  const found = VIEWS.find((one) => one.path === path);
  const lost = !found && path.length > 1; // a mistyped path
  const view = found ?? VIEWS[0];

  useEffect(() => {
    document.title = `${t(lost ? "lost.title" : view.title)} · twinset`;
    if (before.current === path) return;
    before.current = path;
    scrollTo(0, 0);
    // the heading is read aloud, and Tab goes on from there
    (main.current.querySelector("h1") ?? main.current).focus();
    document.querySelector(".nav [aria-current]")?.scrollIntoView?.({ block: "nearest" });
  });

  // comparing goes on without the index, so its problem is one of the views that need it
  const away = [model, view.needs && index].find((one) => one?.problem);
  // a view of items begins before it is known how many there are
  const ready = model.value && (view.needs !== "index" || none || index.value);
  const missing = view.needs && none ? "index" : view.needs === "items" && index.value?.items === 0 ? "items" : undefined;
  return html`
    <a class="skip" href="#main">${t("nav.skip")}</a>
    <${Bar} views=${views} path=${lost ? path : view.path} onLook=${(change) => (change(), redraw((n) => n + 1))} />
    <main id="main" class="view" ref=${main} tabindex="-1" key=${view.path}>
      ${lost
        ? html`<h1 tabindex="-1">${t("lost.title")}</h1><${Empty} title=${t("lost.what", { path })}>${t("lost.do")}<//>`
        : away
        ? html`<${Trouble} problem=${away.problem} again=${() => (model.again(), index.again())} />`
        : !ready
          ? html`<${Busy} />`
          : missing
            ? html`<h1 tabindex="-1">${t(view.title)}</h1><${Empty} title=${t(`empty.${missing}`)}>${t(`empty.${missing}.do`)}<//>`
            : html`<${Safe}><${view.View} query=${query} model=${model.value} index=${index.value} refresh=${index.again} /><//>`}
    </main>
    <${Foot} model=${model.value} index=${index.value} />
    <${Announcer} />
    <${Toasts} />`;
}

/** A view that fails does not take the bar with it. */
function Safe({ children }) {
  const [error, forget] = useErrorBoundary((problem) => console.error(problem));
  return error ? html`<${Trouble} problem=${error} again=${forget} />` : children;
}

render(html`<${Page} />`, document.getElementById("page"));
