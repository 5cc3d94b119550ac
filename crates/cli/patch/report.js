"use strict";
// A click on a heading sorts the rows by that column, another click the other way round; empty cells stay last.
const value = (row, column) => {
  const cell = row.cells[column];
  if (!cell) return "";
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true });
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.firstChild.addEventListener("click", () => {
      const isRising = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isRising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
      rows.sort(([a], [b]) =>
        a === "" || b === "" ? (a === "") - (b === "") : (isRising ? 1 : -1) * compare(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
// A row is shown if it has every word that is typed, as a whole cell or as a part of one.
const filter = (input) => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const has = (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
  rows.forEach((row) => (row.hidden = !has(row)));
  const shown = rows.filter((row) => !row.hidden).length;
  input.closest("p").querySelector("output").textContent = words.length ? `${shown} of ${rows.length}` : "";
};
const inputs = [...document.querySelectorAll("input[data-table]")];
inputs.forEach((input) => input.addEventListener("input", () => filter(input)));
for (const link of document.querySelectorAll("a.pictures")) {
  link.addEventListener("click", () => {
    inputs[0].value = link.dataset.image;
    filter(inputs[0]);
  });
}
document.body.dataset.ready = "true";
// For those who look without hands: #sort=TABLE,COLUMN[,COLUMN...] clicks on headings, #only=WORDS types into the filter.
const [, table, columns] = location.hash.match(/^#sort=(\w+),([\d,]+)$/) ?? [];
if (table) {
  const cells = document.getElementById(table).tHead.rows[0].cells;
  columns.split(",").forEach((column) => cells[Number(column)].firstChild.click());
}
const [, words] = location.hash.match(/^#only=(.+)$/) ?? [];
if (words) {
  inputs[0].value = decodeURIComponent(words);
  filter(inputs[0]);
}
