// Keeps a page true while it is open: when something on the account changes,
// the page is asked for again and its content put in place. Without this
// script, reloading the page does the same.
"use strict";
(() => {
  const main = () => document.querySelector("main[data-live]");
  if (!main() || !window.EventSource) return;
  let busy = false, again = false;

  const states = (root) => new Map([...root.querySelectorAll(".state[data-name]")]
    .map((e) => [e.closest("li").id, `${e.dataset.name}: ${e.textContent.trim()}`]));

  // Someone is writing, is at an opened form, or holds a button down: what they
  // have under their hands stays where it is, and the news waits for them.
  let held = false;
  const inUse = () => held || (main().contains(document.activeElement)
    && document.activeElement.matches("input:not([type=hidden]), details[open] *"));

  async function refresh() {
    if (busy || inUse()) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.assign(answer.url); return; }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main[data-live]");
      if (!fresh) return;
      if (inUse()) { again = true; return; }
      for (const form of main().querySelectorAll("details[open]")) {
        fresh.querySelector(`#${CSS.escape(form.closest("li").id)} details`)?.setAttribute("open", "");
      }
      if (fresh.innerHTML === main().innerHTML) return;
      const before = states(main());
      const at = main().contains(document.activeElement) && document.activeElement.getAttribute("href");
      main().replaceWith(fresh);
      if (at) fresh.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus();
      const news = [...states(fresh)].filter(([id, text]) => before.get(id) !== text).map(([, text]) => text);
      if (news.length) document.getElementById("announce").textContent = news.join(". ");
    } finally {
      busy = false;
      if (again) later();
    }
  }

  // After the event that freed the page has had its own effect.
  const later = () => setTimeout(() => { if (again) refresh(); });
  document.addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { held = false; later(); });
  document.addEventListener("focusout", later);

  const news = new EventSource("/account/live");
  news.addEventListener("message", refresh);
  // What changed before the line was up, or while it was down, nobody told us.
  news.addEventListener("open", refresh);
  // "3 minutes ago" grows old as well.
  setInterval(refresh, 60_000);
})();
