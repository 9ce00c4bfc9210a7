// The living room's comforts: forms without a new page, arrow keys on a remote,
// a key that is held, and a click on a square. Without it all forms still work.
"use strict";
(() => {
  const send = async (form, name, value) => {
    const body = new URLSearchParams(new FormData(form));
    if (name) body.set(name, value);
    await fetch(form.action, { method: "POST", body, redirect: "manual" });
  };

  document.addEventListener("submit", (e) => {
    if (!e.target.matches("form[data-quiet]")) return;
    e.preventDefault();
    send(e.target, e.submitter?.name, e.submitter?.value);
  });

  const ARROWS = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" };
  document.addEventListener("keydown", (e) => {
    const remote = e.target.closest?.("form.remote");
    if (!remote || !ARROWS[e.key]) return;
    e.preventDefault();
    send(remote, "key", ARROWS[e.key]);
  });

  // OK held down for a second is a held OK.
  let timer = 0, held = false;
  document.addEventListener("pointerdown", (e) => {
    const ok = e.target.closest?.("form.remote .ok:enabled");
    if (!ok) return;
    held = false;
    timer = setTimeout(() => { held = true; send(ok.form, "key", "hold"); }, 1000);
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => clearTimeout(timer));
  document.addEventListener("click", (e) => {
    if (held && e.target.closest?.("form.remote .ok")) { held = false; e.preventDefault(); return; }
    const square = e.target.closest?.("svg.flash rect");
    if (!square) return;
    const form = square.closest("section").querySelector("form.sector");
    form.elements.sector.value = square.dataset.sector;
    form.requestSubmit();
  }, true);
})();
