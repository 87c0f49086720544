// What has a title shows it at the pointer's touch, on focus and on tap, in one box over the page.
(() => {
  "use strict";

  const box = document.createElement("div");
  box.id = "tip";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  document.body.append(box);
  let shown = null;

  const hide = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    box.hidden = true;
  };

  const place = () => {
    const at = shown.getBoundingClientRect();
    const own = box.getBoundingClientRect();
    const room = document.documentElement.clientWidth - own.width - 8;
    const above = at.bottom + own.height + 8 > innerHeight && at.top > own.height + 8;
    box.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
    box.style.top = `${above ? at.top - own.height - 6 : at.bottom + 6}px`;
  };

  const show = (node) => {
    if (node === shown) return;
    hide();
    shown = node;
    box.textContent = node.dataset.tip;
    box.hidden = false;
    node.setAttribute("aria-describedby", box.id);
    place();
  };

  for (const node of document.querySelectorAll("[title]")) {
    if (!node.title) continue;
    node.dataset.tip = node.title;
    node.removeAttribute("title");
    if (!node.matches("a, button, input, td")) node.tabIndex = 0;
  }
  const of = (event) => event.target.closest?.("[data-tip]");
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => (of(event) ? show(of(event)) : hide()));
  }
  document.addEventListener("focusout", hide);
  // Focus may scroll the page to its word: the box goes with it.
  const scrolled = () => shown && (shown.matches(":focus, :hover") ? place() : hide());
  document.addEventListener("scroll", scrolled, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
