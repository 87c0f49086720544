// Keys, what was saved, and the time that an item takes. Forms are sent by htmx.
"use strict";
(() => {
  const find = (selector) => document.querySelector(selector);
  const typing = (element) => element.matches("textarea, select, input:not([type=checkbox])");

  // Seconds since the item was shown or last saved, while the page was to be seen.
  let spent = 0;
  let since = document.hidden ? null : performance.now();
  const elapsed = () => spent + (since === null ? 0 : performance.now() - since);
  const restart = () => {
    spent = 0;
    since = document.hidden ? null : performance.now();
  };
  document.addEventListener("visibilitychange", () => {
    spent = elapsed();
    since = document.hidden ? null : performance.now();
    if (document.hidden) leave();
  });
  window.addEventListener("pagehide", () => leave());

  // The last letters of a text that are not sent yet: the page may never be seen again.
  let unsent = false;
  function leave() {
    const text = find("#text[name]");
    if (!unsent || !text) return;
    unsent = false;
    const body = new URLSearchParams(new FormData(text.form));
    body.set("seconds", (elapsed() / 1000).toFixed(3));
    restart();
    const address = text.getAttribute("hx-post");
    fetch(address, { method: "POST", body, keepalive: true, credentials: "same-origin" }).then(
      (answer) => (answer.ok ? saved(said(answer)) : problem("Not saved.")),
      () => problem("Not saved: the studio does not answer."),
    );
  }

  const said = (answer) => answer.headers.get("Studio-Said") ?? undefined;
  function saved(text = "Saved") {
    find("#problem").textContent = "";
    if (!text) return; // a decision as it stands is not saved
    find("#saved").textContent = text;
    find("#saved").dataset.at = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
  function problem(text) {
    find("#saved").textContent = "";
    delete find("#saved").dataset.at;
    find("#problem").textContent = text;
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches("#text[name]")) unsent = true;
  });
  document.addEventListener("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    ctx.studioMs = elapsed();
    ctx.request.body.set("seconds", (ctx.studioMs / 1000).toFixed(3));
    if (ctx.sourceElement.id === "text" || ctx.sourceElement.id === "answer") unsent = false;
  });
  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.response.status < 400) {
      spent = elapsed() - ctx.studioMs;
      since = document.hidden ? null : performance.now();
      saved(said(ctx.response));
    } else {
      problem(`Not saved: ${ctx.text || ctx.response.status}`);
    }
  });
  // The server may be restarting: what was not taken is sent once more, until it is.
  document.addEventListener("htmx:error", (event) => {
    const source = event.detail.ctx?.sourceElement;
    if (!source) return;
    const draft = source.matches("[name]");
    problem(`Not saved: the studio does not answer. ${draft ? "Trying again." : "Please try again."}`);
    if (draft) setTimeout(() => source.isConnected && htmx.trigger(source, "again"), 2000);
  });
  document.addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.target?.id !== "main") return;
    restart();
    window.scrollTo(0, 0);
    find("[data-focus]")?.focus({ preventScroll: true });
  });

  document.addEventListener("click", (event) => {
    const reset = event.target.closest("[data-reset]");
    if (!reset) return;
    const text = find("#text");
    text.value = text.dataset.original;
    text.dispatchEvent(new Event("input", { bubbles: true }));
  });

  const act = (element) => (element.matches("button") ? element.click() : element.focus());
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.isComposing || event.repeat) return;
    if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      find("[data-submit]")?.click();
    } else if (event.altKey && event.code === "KeyU") {
      event.preventDefault();
      target.blur(); // a text that was changed is saved first
      find("[data-key=u]")?.click();
    } else if (key === "Escape" && typing(target)) {
      target.blur();
      find("[data-focus]")?.focus();
    } else if (key === "Enter" && target.matches("input")) {
      event.preventDefault(); // which would send the form
    } else if (!typing(target) && !event.ctrlKey && !event.altKey && !event.metaKey) {
      const element = /^[a-z0-9]$/.test(key) && find(`[data-key="${key}"]`);
      if (!element) return;
      event.preventDefault();
      act(element);
    }
  });
})();
