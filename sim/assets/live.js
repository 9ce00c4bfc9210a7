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

  async function refresh() {
    const typing = document.activeElement;
    if (typing && main().contains(typing) && typing.matches("input:not([type=hidden])")) {
      again = true;
      typing.addEventListener("blur", refresh, { once: true });
      return;
    }
    if (busy) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.assign(answer.url); return; }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main[data-live]");
      if (!fresh) return;
      const before = states(main());
      const open = [...main().querySelectorAll("details[open]")].map((d) => d.closest("li").id);
      const at = typing && typing.getAttribute && typing.getAttribute("href");
      main().replaceWith(fresh);
      for (const id of open) document.getElementById(id)?.querySelector("details")?.setAttribute("open", "");
      if (at) fresh.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus();
      const news = [...states(fresh)].filter(([id, text]) => before.get(id) !== text).map(([, text]) => text);
      if (news.length) document.getElementById("announce").textContent = news.join(". ");
    } finally {
      busy = false;
      if (again) refresh();
    }
  }

  new EventSource("/account/live").addEventListener("message", refresh);
  // "3 minutes ago" grows old as well.
  setInterval(refresh, 60_000);
})();
