"use strict";
// A click on a heading sorts the rows by that column, another click the other way round.
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
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (isRising ? 1 : -1) * compare(value(a, column), value(b, column)));
      table.tBodies[0].append(...rows);
    });
  });
}
document.body.dataset.ready = "true";
// For those who look without hands: #sort=TABLE,COLUMN[,COLUMN...] clicks on headings.
const [, table, columns] = location.hash.match(/^#sort=(\w+),([\d,]+)$/) ?? [];
if (table) {
  const cells = document.getElementById(table).tHead.rows[0].cells;
  columns.split(",").forEach((column) => cells[Number(column)].firstChild.click());
}
