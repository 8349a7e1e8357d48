// What is wrong with a page on a phone. A finger may miss a target of less than 24 px, unless it stands in
// a sentence, or a circle of that size about its middle touches no other (WCAG 2.5.8).
() => {
  const shown = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && [...e.getClientRects()].some((r) => r.width > 1 && r.height > 1 && r.right > 0 && r.left < innerWidth);
  const called = (e) => `${e.tagName.toLowerCase()} ${e.textContent.trim().slice(0, 30)}`;
  const wrong = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const { data, parentElement: e } = words.currentNode, size = getComputedStyle(e).fontSize;
    if (data.trim() && parseFloat(size) < 12 && shown(e)) wrong.push(`text of ${size}: ${called(e)}`);
  }
  const middle = ({ left, right, top, bottom }) => [(left + right) / 2, (top + bottom) / 2];
  const on_top = (e) => {
    const seen = document.elementFromPoint(...middle(e.getBoundingClientRect()));
    return !seen || e.contains(seen);
  };
  const targets = [...document.querySelectorAll("a[href], button, input, select, summary, label[for]")]
    .filter((e) => shown(e) && on_top(e));
  const boxes = targets.map((e) => e.getBoundingClientRect());
  targets.forEach((e, at) => {
    const around = e.closest("p, li, td, th, dd, dt, h1, h2, h3, h4, figcaption");
    const in_text = getComputedStyle(e).display === "inline" && around
      && around.textContent.trim().length > e.textContent.trim().length;
    if (in_text || (boxes[at].width >= 24 && boxes[at].height >= 24)) return;
    const [x, y] = middle(boxes[at]);
    targets.forEach((other, place) => {
      const b = boxes[place];
      const [dx, dy] = [x - Math.max(b.left, Math.min(x, b.right)), y - Math.max(b.top, Math.min(y, b.bottom))];
      const far = Math.hypot(dx, dy); // 0: it lies below or above, as what the drawers cover
      if (far > 0 && far < 12) wrong.push(`${called(e)}: ${Math.round(far)} px from ${called(other)}`);
    });
  });
  for (const e of document.images) {
    const sized = e.getAttribute("width") && e.getAttribute("height");
    if (!sized && e.computedStyleMap().get("height").toString() === "auto") wrong.push(`no size: ${e.src}`);
  }
  return wrong;
}
