// Responses are put in order by dragging, by buttons, and by the arrow keys.
"use strict";
(() => {
  const list = () => document.querySelector(".ranked");

  function save(moved) {
    const places = [...list().children];
    const order = document.querySelector("[name=order]");
    const now = places.map((item) => item.dataset.place).join(",");
    if (order.value === now) return;
    order.value = now;
    const place = places.indexOf(moved) + 1;
    document.querySelector("#announced").textContent =
      `${moved.dataset.letter} is now number ${place} of ${places.length}`;
    htmx.trigger(order, "moved");
  }

  function move(item, by) {
    const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    if (by < 0) other.before(item);
    else other.after(item);
    save(item);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-move]");
    if (!button) return;
    move(button.closest("li"), Number(button.dataset.move));
    button.focus();
  });

  document.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const item = event.target.closest(".ranked > li");
    if (!by || !item || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (event.altKey) {
      move(item, by);
      item.focus();
    } else {
      (by < 0 ? item.previousElementSibling : item.nextElementSibling)?.focus();
    }
  });

  let dragged = null;
  document.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest(".grip");
    if (!grip || event.button !== 0) return;
    event.preventDefault();
    dragged = grip.closest("li");
    dragged.classList.add("dragged");
  });
  document.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    const middle = (item) => {
      const box = item.getBoundingClientRect();
      return box.top + box.height / 2;
    };
    const others = [...list().children].filter((item) => item !== dragged);
    const below = others.find((item) => event.clientY < middle(item));
    if (below) {
      if (below !== dragged.nextElementSibling) below.before(dragged);
    } else if (list().lastElementChild !== dragged) list().append(dragged);
  });
  for (const end of ["pointerup", "pointercancel"])
    document.addEventListener(end, () => {
      if (!dragged) return;
      const item = dragged;
      dragged = null;
      item.classList.remove("dragged");
      save(item);
    });
})();
