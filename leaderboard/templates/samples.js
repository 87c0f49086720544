// Two methods beside each other, where they disagree, and a search. Without it all texts are there.
(() => {
  "use strict";

  const form = document.querySelector("form.filters");
  if (!form) return;
  const { left, right, decoding, disagree, words, count } = form.elements;
  const prompts = [...document.querySelectorAll("article.prompt")];
  const contents = prompts.map((prompt) => prompt.textContent.toLowerCase());

  // What stands where: the left method's sampled text first, then the right one's, then greedy.
  const place = (text) => {
    if (left.value === "") return "any";
    const column = [left.value, right.value].indexOf(text.dataset.label);
    return column < 0 ? "" : `${text.dataset.decoding}-${["left", "right"][column]}`;
  };

  const wanted = (text) => decoding.value === "" || text.dataset.decoding === decoding.value;

  // 1: the left method wins where the right one loses, -1: the reverse, 0: neither.
  const verdict = (texts) => {
    const outcome = (method, how) => texts.find((text) => text.dataset.label === method
      && text.dataset.decoding === how)?.dataset.outcome;
    for (const how of new Set(texts.filter(wanted).map((text) => text.dataset.decoding))) {
      const both = `${outcome(left.value, how)} ${outcome(right.value, how)}`;
      if (both === "won lost") return 1;
      if (both === "lost won") return -1;
    }
    return 0;
  };

  const filter = () => {
    const search = words.value.trim().toLowerCase();
    const isPair = left.value !== "";
    right.disabled = disagree.disabled = !isPair;
    let shown = 0;
    const found = { 1: 0, "-1": 0, 0: 0 };
    prompts.forEach((prompt, i) => {
      const texts = [...prompt.querySelectorAll("[data-label]")];
      const side = isPair ? verdict(texts) : 0;
      found[side] += 1;
      prompt.hidden = !contents[i].includes(search) || (isPair && disagree.checked && side === 0);
      shown += !prompt.hidden;
      for (const text of texts) {
        text.dataset.place = place(text);
        text.hidden = text.dataset.place === "" || !wanted(text);
      }
    });
    const pair = isPair ? `; ${left.value} wins where ${right.value} loses: ${found[1]}, the reverse: ${found[-1]}` : "";
    count.value = `${shown} of ${prompts.length} prompts${pair}`;
  };

  // A link may name the two methods: ?left=NAME&right=NAME&disagree=1
  const asked = new URLSearchParams(location.search);
  for (const select of [left, right]) {
    const known = [...select.options].some((option) => option.value === asked.get(select.name));
    if (known) select.value = asked.get(select.name);
  }
  disagree.checked = asked.get("disagree") === "1";
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
