"use strict";
(() => {
  const form = document.querySelector("form.find");
  if (!form) return;
  const rows = [...document.querySelectorAll(".recordings li")];
  form.addEventListener("input", () => {
    const words = form.elements.namedItem("recording").value.toLowerCase();
    for (const row of rows) row.hidden = !row.querySelector(".path").textContent.toLowerCase().includes(words);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
})();
(() => {
  const form = document.querySelector("#clips form.filter");
  if (!form) return;
  const field = (name) => form.elements.namedItem(name).value;
  const clips = [...document.querySelectorAll("article.clip")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
    state: element.dataset.state,
    labels: new Set([...element.querySelectorAll("[data-label]")].map((item) => item.dataset.label)),
    answers: [...element.querySelectorAll("[data-expert]")],
  }));
  const apply = () => {
    const words = field("text").toLowerCase().split(/\s+/).filter(Boolean);
    const [label, expert, state] = ["label", "expert", "state"].map(field);
    let shown = 0;
    for (const clip of clips) {
      const wrote = clip.answers.some((answer) => answer.dataset.expert === expert);
      const fits =
        words.every((word) => clip.text.includes(word)) &&
        (!label || clip.labels.has(label)) &&
        (!expert || wrote) &&
        (!state || clip.state === state);
      clip.element.hidden = !fits;
      for (const answer of clip.answers) answer.hidden = Boolean(expert) && answer.dataset.expert !== expert;
      shown += fits ? 1 : 0;
    }
    form.querySelector("output").textContent =
      shown === clips.length ? "" : `${shown} of the ${clips.length} clips shown here`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  form.hidden = false;
})();
