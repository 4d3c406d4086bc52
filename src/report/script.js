"use strict";
{
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const narrow = matchMedia("(max-width: 40rem)").matches;

  // On a phone only the first screens are unfolded; on paper everything is.
  const unfold = (open) => all("details").forEach((details) => { details.open = open; });
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target?.closest("details") ?? target?.querySelector("details");
    if (details) {
      details.open = true;
      target.scrollIntoView();
    }
  };
  if (narrow) unfold(false);
  addEventListener("beforeprint", () => unfold(true));
  addEventListener("hashchange", reveal);
  reveal();

  // The numbers of a mark: under the pointer, at a touch, and by the arrow keys.
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  const marks = (chart) => all("[data-tip]", chart).filter((mark) => mark.querySelector("[data-tip]") === null);
  for (const title of all("svg.chart title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  let shown = null;
  const show = (mark) => {
    shown?.classList.remove("shown");
    shown = mark;
    tip.hidden = mark === null;
    if (mark === null) return;
    mark.classList.add("shown");
    tip.textContent = mark.dataset.tip;
    const box = mark.getBoundingClientRect();
    const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 4), innerWidth - tip.offsetWidth - 4);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 0 ? above : box.bottom + 8) + scrollY}px`;
  };
  for (const event of ["pointerover", "pointerdown"]) {
    document.addEventListener(event, ({ target }) => show(target.closest?.("svg.chart [data-tip]") ?? null));
  }
  for (const chart of all("svg.chart")) {
    if (marks(chart).length === 0) continue;
    chart.tabIndex = 0;
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") show(null);
      if (step === undefined) return;
      event.preventDefault();
      const those = marks(chart);
      const at = those.indexOf(shown);
      show(those[at === -1 ? (step === 1 ? 0 : those.length - 1) : (at + step + those.length) % those.length]);
    });
    chart.addEventListener("blur", () => show(null));
  }

  // The keys of a legend: to point at one dims the other arms, to press it hides the arm or shows it.
  const keys = all(".key[data-arm]");
  const others = all("svg.chart[data-arm], svg.chart [data-arm], tr[data-arm]");
  const dim = (arm) => others.forEach((mark) => mark.classList.toggle("dim", arm !== null && mark.dataset.arm !== arm));
  const toggle = (arm) => {
    const off = keys.some((key) => key.dataset.arm === arm && key.getAttribute("aria-pressed") === "true");
    for (const key of keys) if (key.dataset.arm === arm) key.setAttribute("aria-pressed", String(!off));
    for (const mark of others) if (mark.dataset.arm === arm) mark.classList.toggle("off", off);
  };
  for (const key of keys) {
    const arm = key.dataset.arm;
    key.tabIndex = 0;
    key.setAttribute("role", "button");
    key.setAttribute("aria-pressed", "true");
    key.addEventListener("pointerenter", () => dim(arm));
    key.addEventListener("pointerleave", () => dim(null));
    key.addEventListener("focus", () => dim(arm));
    key.addEventListener("blur", () => dim(null));
    key.addEventListener("click", () => toggle(arm));
    key.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle(arm);
    });
  }
}
