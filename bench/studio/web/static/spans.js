// A selection of the text becomes a marked span. A study counts code points, a browser UTF-16 units.
"use strict";
(() => {
  const find = (selector) => document.querySelector(selector);
  const points = (text) => [...text].length;
  let selected = null; // {start, end} in code points; stays while the type is chosen
  let caret = 0; // behind what was marked last

  function offset(node, at) {
    const before = document.createRange();
    before.selectNodeContents(find("#text"));
    before.setEnd(node, at);
    return points(before.toString());
  }

  // Blank space at either end of a selection is no part of what is wrong.
  function read() {
    const selection = document.getSelection();
    const text = find("#text");
    if (!text || !selection.rangeCount) return;
    const range = selection.getRangeAt(0);
    if (!text.contains(range.startContainer) || !text.contains(range.endContainer)) return;
    const words = range.toString();
    const start = offset(range.startContainer, range.startOffset);
    const left = points(words) - points(words.trimStart());
    selected = words.trim() ? { start: start + left, end: start + left + points(words.trim()) } : null;
    find("#selected").textContent = selected ? `“${words.trim()}”` : "Nothing is selected.";
    find("#mark").disabled = !selected;
  }

  function send(spans) {
    const field = find("#spans");
    field.value = JSON.stringify(spans);
    htmx.trigger(field, "marked");
  }

  function mark() {
    const type = find("#type").value.trim();
    if (!selected || !type) return;
    caret = selected.end;
    const span = { ...selected, type, severity: find("#severity").value };
    send([...JSON.parse(find("#spans").value), span]);
  }

  // Where the text is put anew, the caret would be lost to whoever works by keyboard.
  function restoreCaret(at) {
    const walker = document.createTreeWalker(find("#text"), NodeFilter.SHOW_TEXT);
    let left = at;
    while (walker.nextNode()) {
      const letters = [...walker.currentNode.data];
      if (left <= letters.length) {
        const units = letters.slice(0, left).join("").length;
        document.getSelection().collapse(walker.currentNode, units);
        return;
      }
      left -= letters.length;
    }
  }

  document.addEventListener("selectionchange", read);
  document.addEventListener("click", (event) => {
    const remove = event.target.closest("[data-remove]");
    if (event.target.closest("#mark")) mark();
    if (!remove) return;
    const spans = JSON.parse(find("#spans").value);
    spans.splice(Number(remove.dataset.remove), 1);
    send(spans);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    if (!event.target.matches("#text, #type, #severity")) return;
    event.preventDefault();
    mark();
  });
  // The text can be gone through like one that is edited, and is not.
  for (const change of ["beforeinput", "paste", "cut", "drop", "dragstart"])
    document.addEventListener(change, (event) => {
      if (event.target.closest?.("#text")) event.preventDefault();
    });
  document.addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.target?.id === "main") [selected, caret] = [null, 0];
    if (event.detail.ctx.target?.id !== "live") return;
    find("#text").focus({ preventScroll: true });
    restoreCaret(caret);
    const marked = JSON.parse(find("#spans").value).length;
    find("#announced").textContent = `${marked} marked`;
  });
  document.addEventListener("htmx:response:error", () => {
    const field = find("#spans");
    if (field) field.value = field.defaultValue; // what the study has
  });
})();
