"use strict";
// Sortable tables: every column header gets a button. Without this script a table is a plain table.
// A column in which every defined cell begins with a number is sorted by that number, so that
// "78.4 [76.0, 80.1]" counts as 78.4; others as text. What is undefined comes last either way.

const Sorting = (() => {
  const NUMBER = /^[<>\u2264\u2265~\u2248=\s]*([+\-\u2212]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?![\w.])/i;
  const MISSING = /^(?:undefined|none|nan|n\/a|not (?:available|known|defined)|[-\u2013\u2014])(?![\w.])|^$/i;

  const isMissing = (text) => MISSING.test(text);

  /** Give the leading number of a text, or NaN. */
  function leadingNumber(text) {
    const found = NUMBER.exec(text);
    return found ? Number(found[1].replace("\u2212", "-")) : NaN;
  }

  /** Sort texts; returns their positions. Equals stay in the order in which they came. */
  function order(texts, descending) {
    const defined = texts.map((_, i) => i).filter((i) => !isMissing(texts[i]));
    const missing = texts.map((_, i) => i).filter((i) => isMissing(texts[i]));
    const numbers = texts.map(leadingNumber);
    const numeric = defined.every((i) => !Number.isNaN(numbers[i]));
    const compare = numeric
      ? (a, b) => numbers[a] - numbers[b]
      : (a, b) => texts[a].localeCompare(texts[b], "en", { numeric: true });
    defined.sort((a, b) => (descending ? compare(b, a) : compare(a, b)) || a - b);
    return defined.concat(missing);
  }

  function makeSortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.title = "sort by this column";
      header.replaceChildren(button);
      button.addEventListener("click", () => {
        const turn = { ascending: "descending", descending: null }[header.getAttribute("aria-sort")];
        const next = turn === undefined ? "ascending" : turn;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        if (next) header.setAttribute("aria-sort", next);
        const texts = original.map((row) => row.cells[column].textContent.trim());
        const sorted = next ? order(texts, next === "descending") : texts.map((_, i) => i);
        body.append(...sorted.map((i) => original[i]));
        announce(next ? `sorted by ${button.textContent}, ${next}` : "in the original order");
      });
    });
  }

  function announce(text) {
    document.getElementById("announcer").textContent = text;
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  return { order, leadingNumber, isMissing };
})();
