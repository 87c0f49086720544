// Sorting, the keyboard in token texts, and the filters of the samples. The page reads without it.
(() => {
  "use strict";

  const status = document.createElement("p");
  status.className = "unseen";
  status.setAttribute("role", "status");
  document.body.append(status);

  // --- tables -------------------------------------------------------------------------------

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
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
      header.setAttribute("aria-sort", "none");
    }
  }

  // --- token rewards: one stop for the tab key in each text, arrows inside it -----------------

  const texts = [...document.querySelectorAll("p.tokens")];
  for (const text of texts) {
    text.setAttribute("role", "listbox");
    text.setAttribute("aria-orientation", "horizontal");
    text.setAttribute("aria-label", `Token rewards of ${text.dataset.of}`);
    for (const token of text.children) {
      token.setAttribute("role", "option");
      token.setAttribute("aria-selected", "false");
      token.setAttribute("aria-label", `${token.textContent.trim() || "white space"}, reward ${token.dataset.r}`);
      token.tabIndex = -1;
    }
    text.firstElementChild.tabIndex = 0;
  }

  // A token that begins with a space may start at the end of the line above: its last box counts.
  const place = (token) => {
    const box = [...token.getClientRects()].at(-1) ?? token.getBoundingClientRect();
    return { middle: (box.left + box.right) / 2, top: Math.round(box.top) };
  };

  // The token on the next line up (-1) or down (+1) that stands nearest.
  const across = (tokens, at, step) => {
    const own = place(tokens[at]);
    const beyond = tokens.map(place).map((p, i) => ({ ...p, i })).filter((p) => (p.top - own.top) * step > 2);
    const line = beyond.length && (step > 0 ? Math.min : Math.max)(...beyond.map((p) => p.top));
    const near = beyond.filter((p) => Math.abs(p.top - line) <= 2);
    near.sort((a, b) => Math.abs(a.middle - own.middle) - Math.abs(b.middle - own.middle));
    return near.length ? near[0].i : at;
  };

  const moves = {
    ArrowLeft: (tokens, at) => at - 1,
    ArrowRight: (tokens, at) => at + 1,
    ArrowUp: (tokens, at) => across(tokens, at, -1),
    ArrowDown: (tokens, at) => across(tokens, at, 1),
    Home: () => 0,
    End: (tokens) => tokens.length - 1,
  };

  document.addEventListener("keydown", (event) => {
    const text = event.target.closest("p.tokens");
    const move = moves[event.key];
    if (!text || !move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const tokens = [...text.children];
    tokens[move(tokens, tokens.indexOf(event.target))]?.focus();
  });

  document.addEventListener("focusin", (event) => {
    const text = event.target.closest("p.tokens");
    if (!text) return;
    for (const token of text.children) {
      const here = token === event.target;
      token.tabIndex = here ? 0 : -1;
      token.setAttribute("aria-selected", String(here));
    }
  });

  // --- the filters of the samples -------------------------------------------------------------

  const form = document.querySelector("form.filters");
  if (form) {
    const prompts = [...document.querySelectorAll("article.prompt")];
    const contents = prompts.map((prompt) => prompt.textContent.toLowerCase());
    const filter = () => {
      const method = form.elements.method.value;
      const words = form.elements.words.value.trim().toLowerCase();
      let shown = 0;
      prompts.forEach((prompt, i) => {
        prompt.hidden = !contents[i].includes(words);
        shown += !prompt.hidden;
        for (const text of prompt.querySelectorAll("[data-label]")) {
          text.hidden = method !== "" && text.dataset.label !== method;
        }
      });
      form.elements.count.value = `${shown} of ${prompts.length} prompts`;
    };
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();
  }
})();
