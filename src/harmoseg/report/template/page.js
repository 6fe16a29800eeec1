"use strict";
// What the whole page needs: links open what is folded, and a click on a dot of a figure opens its
// case. Without this script a link to a folded part still leads there.

const PageParts = (() => {
  /** Open the folded parts around an element. */
  function reveal(element) {
    for (let part = element; part; part = part.parentElement?.closest("details")) {
      if (part.tagName === "DETAILS") part.open = true;
    }
  }

  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    reveal(target);
    target.scrollIntoView();
  }

  // Print everything: what is folded on a screen cannot be opened on paper.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => (part.open = true));
  });
  window.addEventListener("afterprint", () => opened.forEach((part) => (part.open = false)));
  window.addEventListener("hashchange", follow);
  // The link of what was shown last leads to it again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.hash === location.hash) window.dispatchEvent(new Event("hashchange"));
  });
  follow();

  // ---- dots ----

  const REACH = 9; // pixels of the screen between the pointer and a dot
  const hint = document.createElement("div");
  hint.className = "hint";
  hint.hidden = true;
  document.body.append(hint);

  for (const image of document.querySelectorAll("img[data-dots]")) {
    const data = JSON.parse(image.dataset.dots);
    const nearest = (event) => {
      const box = image.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      let found = null, least = REACH * REACH;
      for (const dot of data.dots) {
        const away = (dot[0] * box.width - x) ** 2 + (dot[1] * box.height - y) ** 2;
        if (away < least) [found, least] = [dot, away];
      }
      return found;
    };
    image.addEventListener("mousemove", (event) => {
      const dot = nearest(event);
      hint.hidden = !dot;
      image.classList.toggle("over", Boolean(dot && data.linked));
      if (!dot) return;
      hint.textContent = data.cases[dot[2]];
      hint.style.left = `${event.pageX + 12}px`;
      hint.style.top = `${event.pageY + 12}px`;
    });
    image.addEventListener("mouseleave", () => (hint.hidden = true));
    image.addEventListener("click", (event) => {
      const dot = nearest(event);
      if (!dot || !data.linked) return;
      const parts = [data.place, data.cases[dot[2]], data.methods[dot[3]]];
      location.hash = `case=${parts.map(encodeURIComponent).join("/")}`;
    });
  }
  return { reveal };
})();
