// Token rewards: one stop for the tab key in each text, arrows inside it.
(() => {
  "use strict";

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
})();
