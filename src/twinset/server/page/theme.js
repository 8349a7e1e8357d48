// Light or dark: as the system wishes, until a person chooses.
const system = matchMedia("(prefers-color-scheme: dark)");
let shown;

function show() {
  shown = localStorage.getItem("theme") ?? (system.matches ? "dark" : "light");
  document.documentElement.dataset.theme = shown;
}

export const theme = () => shown;

export function paint(name) {
  localStorage.setItem("theme", name);
  show();
}

system.addEventListener("change", show);
show();
