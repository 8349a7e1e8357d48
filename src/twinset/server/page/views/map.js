// The map: the whole collection as points, to move in, to lasso, and to see where the model errs.
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { call, form, useAnswer, useGet } from "../api.js";
import { count, percent, t } from "../language.js";
import { Chosen } from "../map/chosen.js";
import { Kinds } from "../map/kinds.js";
import { paintAll, palette } from "../map/palette.js";
import { Stage } from "../map/stage.js";
import { useSaid } from "../parts/announce.js";
import { useAgain } from "../parts/computing.js";
import { Drop } from "../parts/drop.js";
import { Item } from "../parts/item.js";
import { Busy, Trouble } from "../parts/states.js";
import { named } from "../parts/tile.js";
import { ask } from "../router.js";
import { theme } from "../theme.js";

export const path = "/map";
export const title = "map.title";
export const icon = "map";
export const needs = "items";

const LAYERS = ["mistaken", "missed"];
const nothing = [];

/** Where one looks, in the address: x, y and zoom. */
function viewOf(text) {
  const [x, y, zoom] = (text ?? "").split(",").map(Number);
  return zoom > 0 ? { x, y, zoom } : { x: 0, y: 0, zoom: 1 };
}

/** What the map is made of: points by the method that is asked for, colours by a column. */
function useMap(query) {
  const info = useGet("/map/info");
  const tsne = info.value?.methods.tsne;
  useAgain(info, tsne?.state === "computing");
  const method = query.get("method") === "tsne" && tsne?.state === "ready" ? "tsne" : "pca";
  const bytes = (signal, onWait) => call(`/map?method=${method}`, { as: "bytes", signal, onWait }).then((got) => new Float32Array(got));
  // Once the version is known: asked before it, all would come twice, and be drawn twice.
  const version = info.value?.version;
  const points = useAnswer(version && bytes, [method, version]);
  const ids = useAnswer(version && ((signal) => call("/map/ids", { signal })), [version]);
  const columns = info.value?.columns ?? nothing;
  const by = query.get("by") === "none" ? undefined : (columns.find(({ name }) => name === query.get("by")) ?? columns.find(({ name }) => name === "label") ?? columns[0])?.name;
  const column = useGet(by && `/map/column?${new URLSearchParams({ name: by })}`);
  return { info, tsne, method, points, ids, columns, by, column: by ? column : { value: null } };
}

export function View({ query, model }) {
  const { info, tsne, method, points, ids, columns, by, column } = useMap(query);
  const plot = useRef();
  const later = useRef();
  const [chosen, setChosen] = useState(); // {title, rows}
  const [open, setOpen] = useState();
  const [picture, setPicture] = useState();
  const layer = LAYERS.find((one) => one === query.get("layer"));
  const kind = query.get("kind") ?? undefined;
  const light = theme();
  const codes = column.value?.codes;
  const names = column.value?.names ?? nothing;

  const mistakes = useAnswer(layer && by && ((signal) => call(`/map/mistakes?${new URLSearchParams({ name: by })}`, { signal })), [layer && by, info.value?.version]);
  useAgain(mistakes, mistakes.value?.state === "computing");
  const found = layer && mistakes.value?.state === "ready" ? mistakes.value[layer] : undefined;

  const placed = useAnswer(picture && ((signal, onWait) => call("/map/place", { body: form({ image: picture.file }), signal, onWait })), [picture]);
  const mark = useMemo(() => markOf(picture, placed.value, method, () => plot.current?.draw()), [picture, placed.value, method]);
  useEffect(() => {
    if (mark && plot.current) plot.current.look({ x: mark.at[0], y: mark.at[1], zoom: Math.max(plot.current.view.zoom, 3) });
  }, [mark?.at.join()]);

  const colours = useMemo(() => palette(names.length, light), [names, light]);
  const n = points.value ? points.value.length / 2 : 0;
  const rgba = useMemo(() => {
    if (!n || (by && column.value === undefined)) return undefined;
    const code = names.indexOf(kind);
    const wrong = found && new Set(found.rows.map(([row]) => row));
    const chosenRows = !layer && chosen?.rows && new Set(chosen.rows);
    const strong = wrong ? (row) => wrong.has(row) : chosenRows ? (row) => chosenRows.has(row) : code >= 0 ? (row) => codes[row] === code : null;
    return paintAll(n, codes, colours, light, strong);
  }, [n, codes, colours, light, kind, found, chosen]);

  const give = ([one]) => {
    if (!one?.file) return;
    setChosen(undefined);
    ask({ layer: undefined, kind: undefined });
    setPicture(one);
  };
  const kindOf = useCallback((row) => names[codes?.[row]], [names, codes]);
  const list = (rows, text) => setChosen({ rows, title: text });
  const onKind = (name, code) => {
    ask({ kind: name, layer: undefined });
    setChosen(undefined);
    if (name !== undefined) plot.current.fit(rowsOf(codes, code));
  };
  const onView = ({ x, y, zoom }) => {
    clearTimeout(later.current);
    const at = [x.toFixed(4), y.toFixed(4), zoom.toPrecision(4)].map(Number).join(",");
    later.current = setTimeout(() => location.pathname.endsWith(path) && ask({ at: at === "0,0,1" ? undefined : at }), 350);
  };
  const hitsOf = (row) => ({ id: ids.value[row], kind: kindOf(row) });
  const hits = useMemo(() => {
    if (!ids.value) return undefined;
    if (found) return found.rows.map(([row, other], k) => ({ ...hitsOf(row), other: ids.value[other], otherKind: kindOf(other), distance: found.distances[k] }));
    if (chosen) return chosen.rows.map(hitsOf);
    if (placed.value) return placed.value.neighbours.map((one) => ({ ...one, kind: one.row === null ? undefined : kindOf(one.row) }));
    return undefined;
  }, [ids.value, found, chosen, placed.value, kindOf]);
  const heading = found ? t(`map.${layer}-n`, { n: found.rows.length }) : chosen ? chosen.title : t("map.near-new");
  useSaid(hits ? heading : "");
  const close = () => {
    setChosen(undefined);
    setPicture(undefined);
    ask({ layer: undefined, kind: undefined });
  };
  const trouble = [info, points, ids, column].find((one) => one.problem);

  return html`
    <header class="view-head">
      <h1 tabindex="-1">${t("map.ask")}</h1>
      <${Method} info=${info.value} tsne=${tsne} method=${method} wanted=${query.get("method")} />
    </header>
    ${trouble && html`<${Trouble} problem=${trouble.problem} again=${trouble.again} />`}
    <div class="map">
      <${Stage} xy=${points.value} rgba=${rgba} ids=${ids.value} kindOf=${kindOf} start=${viewOf(query.get("at"))} draw=${query.get("draw")}
        pairs=${found?.rows ?? nothing} mark=${mark} plotRef=${plot} onView=${onView} onGive=${give}
        onOpen=${(row) => ids.value && setOpen(ids.value[row])}
        onLasso=${(rows) => (ask({ layer: undefined, kind: undefined }), list(rows, t("map.chosen-n", { n: rows.length })))}>
        ${!rgba && !trouble && html`<div class="map-wait"><${Busy} /></div>`}
      <//>
      <aside class="stack map-side">
        ${hits && html`<${Chosen} title=${heading} hits=${hits} threshold=${model.threshold.value} onOpen=${(id) => setOpen(id)} onClose=${close} />`}
        ${columns.length > 0 && html`<div class="field"><label for="map-by">${t("map.by")}</label>
          <select class="input" id="map-by" value=${by ?? "none"} onChange=${(e) => (setChosen(undefined), ask({ by: e.target.value, kind: undefined, layer: undefined }))}>
            ${columns.map(({ name, values }) => html`<option value=${name}>${name} (${count(values)})</option>`)}<option value="none">${t("map.by-none")}</option></select></div>`}
        ${column.value && by && html`<${Kinds} column=${column.value} colours=${colours} kind=${kind} onKind=${onKind} onList=${(name, code) => (ask({ kind: name, layer: undefined }), list(rowsOf(codes, code), name))} />`}
        ${by && html`<div class="field"><span class="label" id="map-layer">${t("map.layer")}</span>
          <div class="segments wide slim" role="group" aria-labelledby="map-layer">
            ${LAYERS.map((one) => html`<button type="button" aria-pressed=${layer === one} onClick=${() => (setChosen(undefined), ask({ layer: layer === one ? undefined : one, kind: undefined }))}>${t(`map.${one}`)}</button>`)}</div>
          <p class="small quiet">${layer ? t(`map.${layer}-why`, { by }) : t("map.layer-why")}</p>
          ${layer && mistakes.value?.state === "computing" && html`<${Busy} text=${t("map.looking")} />`}
          ${mistakes.value?.trouble && html`<p class="small" role="alert">${mistakes.value.trouble}</p>`}
          ${mistakes.problem && html`<${Trouble} problem=${mistakes.problem} again=${mistakes.again} />`}</div>`}
        <${Drop} label=${t("map.new")} picture=${picture} onGive=${give} onClear=${() => setPicture(undefined)} />
        ${placed.problem && html`<${Trouble} problem=${placed.problem} again=${placed.again} />`}
      </aside>
    </div>
    ${open && html`<${Close} id=${open} onClose=${() => setOpen()} />`}`;
}

const rowsOf = (codes, code) => codes.flatMap((one, row) => (one === code ? [row] : nothing));

/** The new image as it is drawn: where it goes by the method in sight, and its neighbours. */
function markOf(picture, placed, method, draw) {
  if (!picture || !placed) return undefined;
  const image = new Image();
  image.onload = draw;
  image.src = picture.url;
  return { at: placed[method] ?? placed.pca, rows: placed.neighbours.map((one) => one.row).filter((row) => row !== null), image };
}

/** How the points were made, and what that means: a map is always a simplification. */
function Method({ info, tsne, method, wanted }) {
  if (!info) return null;
  const { methods, n, items } = info;
  const choose = (one) => ask({ method: one === "pca" ? undefined : one });
  const waiting = tsne.state === "computing";
  return html`<div class="row map-method">
    <div class="segments slim" role="group" aria-label=${t("map.method")}>
      <button type="button" aria-pressed=${method === "pca" && wanted !== "tsne"} onClick=${() => choose("pca")}>${t("map.pca")}</button>
      <button type="button" aria-pressed=${wanted === "tsne"} disabled=${tsne.state === "failed"} onClick=${() => choose("tsne")}>${waiting ? t("map.tsne-busy") : t("map.tsne")}</button>
    </div>
    <p class="quiet measure">${n < items ? t("map.sample", { n, items }) : t("map.all", { n })}${" "}
      ${method === "pca" ? t("map.pca-why", { share: percent(methods.pca.share) }) : methods.tsne.computed < n ? t("map.tsne-some", { n: methods.tsne.computed }) : t("map.tsne-why")}
      ${wanted === "tsne" && waiting && ` ${t("map.tsne-wait")}`}${tsne.trouble && ` ${n < tsne.least ? t("map.tsne-few", { n: tsne.least }) : tsne.trouble}`}</p>
  </div>`;
}

/** One item close up, with what is known of it. */
function Close({ id, onClose }) {
  const known = useGet(`/items/${id.split("/").map(encodeURIComponent).join("/")}`);
  return html`<${Item} hit=${known.value ?? { id }} onClose=${onClose} key=${named(id)} />`;
}
