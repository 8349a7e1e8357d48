// Tables as text: written for other programs, read from the server, saved as a file.

/** A table as text; a cell that would be taken for two is put in quotes. */
export function csv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/** Have the browser save a text as a file. */
export function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The rows of such a text. */
export function rowsOf(text) {
  const rows = [[""]];
  let quoted = false;
  for (let k = 0; k < text.length; k++) {
    const one = text[k];
    const row = rows.at(-1);
    if (one === '"' && quoted && text[k + 1] === '"') row[row.length - 1] += text[++k];
    else if (one === '"') quoted = !quoted;
    else if (one === "," && !quoted) row.push("");
    else if (one === "\n" && !quoted) rows.push([""]);
    else if (one !== "\r" || quoted) row[row.length - 1] += one;
  }
  return rows.filter((row) => row.length > 1 || row[0]);
}
