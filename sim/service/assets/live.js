// Keeps a page true while it is open: when something on the account changes,
// the page is asked for again and what differs is put in place. Without this
// script, reloading the page does the same.
"use strict";
(() => {
  const main = () => document.querySelector("main[data-live]");
  if (!main() || !window.EventSource) return;

  // Makes `from` like `to`, touching only what differs: what is focused, opened
  // or being typed into stays as it is.
  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || (from.id || "") !== (to.id || "")) {
      from.replaceWith(to);
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    let at = from.firstChild;
    for (const child of [...to.childNodes]) {
      const same = child.id && [...from.children].find((c) => c.id === child.id);
      if (same && same !== at) from.insertBefore(same, at);
      const old = same || at;
      // What has a name of its own is only ever matched by that name.
      if (!old || (!same && (old.id || child.id))) {
        from.insertBefore(child, at);
        continue;
      }
      at = old.nextSibling;
      morph(old, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  const states = (root) => new Map([...root.querySelectorAll(".state[data-name]")]
    .map((e) => [e.closest("li").id, `${e.dataset.name}: ${e.textContent.trim()}`]));

  // A button that is held down stays where it is until it is let go.
  let busy = false, again = false, held = false;

  async function refresh() {
    if (busy || held) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.pathname + location.search,
        { headers: { Accept: "text/html", "X-By-Itself": "1" } });
      if (answer.redirected) { location.assign(answer.url); return; }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main[data-live]");
      if (!fresh) return;
      if (held) { again = true; return; }
      const before = states(main());
      morph(main(), document.adoptNode(fresh));
      const news = [...states(main())].filter(([id, text]) => before.get(id) !== text).map(([, text]) => text);
      if (news.length) document.getElementById("announce").textContent = news.join(". ");
    } catch {
      // The service is away: the line below comes up again and asks anew.
    } finally {
      busy = false;
      if (again) later();
    }
  }

  // After the event that freed the page has had its own effect.
  const later = () => setTimeout(() => { if (again) refresh(); });
  document.addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { held = false; later(); });

  // A browser keeps six connections to a host, and each stream takes one for as long
  // as it is open: with one for each tab the seventh tab waited for ever. So one tab
  // listens, the one that holds the lock, and tells the others.
  const address = main().dataset.live || "/account/live";
  const tabs = window.BroadcastChannel ? new BroadcastChannel(`live ${address}`) : null;
  let listener = null;
  // Events arrive: nothing on their way holds them back.
  let heard = false;

  function listen() {
    const changed = () => { tabs?.postMessage("changed"); refresh(); };
    listener = new EventSource(address);
    // What changed before the line was up, or while it was down, nobody told us.
    listener.addEventListener("open", changed);
    listener.addEventListener("message", changed);
    listener.addEventListener("begun", () => { heard = true; tabs?.postMessage("heard"); });
  }

  if (tabs && navigator.locks) {
    tabs.addEventListener("message", ({ data }) => {
      if (data === "changed") refresh();
      if (data === "heard") heard = true;
      // A tab that was opened later.
      if (data === "who listens?" && listener && heard) tabs.postMessage("heard");
    });
    tabs.postMessage("who listens?");
    // Held until this tab is closed; then the next one has it.
    navigator.locks.request(`live ${address}`, () => { listen(); return new Promise(() => {}); });
  } else {
    // Only while it is looked at.
    const turn = () => {
      if (!document.hidden) { if (!listener) listen(); return; }
      listener?.close();
      listener = null;
    };
    document.addEventListener("visibilitychange", turn);
    turn();
  }
  // "3 minutes ago" grows old as well; and where no event arrives, asking is all there is.
  let seconds = 0;
  setInterval(() => { seconds += 10; if (!heard || seconds % 60 === 0) refresh(); }, 10_000);
})();
