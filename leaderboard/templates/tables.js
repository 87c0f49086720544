// Tables sort by a click on a column's header.
(() => {
  "use strict";

  const status = document.createElement("p");
  status.className = "unseen";
  status.setAttribute("role", "status");
  document.body.append(status);

  const key = (row, column, numeric) => {
    const cell = row.cells[column];
    return numeric ? parseFloat(cell.dataset.key ?? "NaN") : cell.textContent;
  };

  // What has no number stays last in both directions; equals keep the order they came in.
  const compare = (a, b, sign) => {
    if (typeof a === "string") return sign * a.localeCompare(b, "en", { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  };

  const sort = (table, header) => {
    const numeric = header.classList.contains("number");
    const before = header.getAttribute("aria-sort");
    const next = before === "none" ? (numeric ? "descending" : "ascending")
      : before === "ascending" ? "descending" : "ascending";
    for (const other of table.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const value = (row) => key(row, header.cellIndex, numeric);
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), sign)));
    status.textContent = `${table.caption.textContent}: by ${header.textContent}, ${next}`;
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.tHead.rows[table.tHead.rows.length - 1].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      if (header.title) [button.title, header.title] = [header.title, ""];
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
      header.setAttribute("aria-sort", "none");
    }
  }
})();
