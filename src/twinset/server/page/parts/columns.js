// The columns of an index, however they are told: by a mapping of kinds or as a list.

/** @returns {{name: string, kind: string, values?: string[]}[]} */
export function columnsOf(index) {
  const told = index?.columns ?? [];
  return Array.isArray(told)
    ? told.map((one) => (typeof one === "string" ? { name: one, kind: "text" } : one))
    : Object.entries(told).map(([name, kind]) => (typeof kind === "string" ? { name, kind } : { name, ...kind }));
}
