"use strict";

const body = document.querySelector(".rows tbody");
const inOrder = [...body.rows];
const search = document.getElementById("search");
const shown = document.getElementById("shown");
const texts = new Map();

function textOf(row) {
  if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
  return texts.get(row);
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of inOrder) {
    row.hidden = !words.every((word) => textOf(row).includes(word));
    if (!row.hidden) count += 1;
  }
  const all = inOrder.length.toLocaleString("en") + (inOrder.length === 1 ? " row" : " rows");
  shown.textContent = words.length ? `${count.toLocaleString("en")} of ${all}` : all;
}

// The search stands in the address, so that it can be linked.
let waiting;
function remember() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const words = search.value.trim();
    const fragment = words ? `#${new URLSearchParams({ search: words })}` : location.pathname + location.search;
    history.replaceState(null, "", fragment);
  }, 400);
}

function follow() {
  const fragment = location.hash.slice(1);
  const words = new URLSearchParams(fragment).get("search");
  if (words !== null) {
    search.value = words;
    filter();
  } else if (fragment.startsWith("row-")) {
    const row = document.getElementById(fragment);
    if (!row) return;
    search.value = "";
    filter();
    const details = row.querySelector("details");
    if (details) details.open = true;
    row.scrollIntoView();
  }
}

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  const [x, y] = [a, b].map((text) => Number(text.replaceAll(",", "") || NaN));
  if (Number.isNaN(x) || Number.isNaN(y)) return collator.compare(a, b);
  return x - y;
}

function sort(heading, direction) {
  const cell = new Map(inOrder.map((row) => [row, row.cells[heading.cellIndex].textContent]));
  const rows = direction === "none" ? inOrder : [...inOrder].sort((a, b) => compare(cell.get(a), cell.get(b)));
  if (direction === "descending") rows.reverse();
  const all = document.createDocumentFragment();
  for (const row of rows) all.append(row);
  body.append(all);
}

const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const headings = [...document.querySelectorAll(".rows thead th")];
for (const heading of headings) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const direction = NEXT[heading.getAttribute("aria-sort") ?? "none"];
    for (const other of headings) other.removeAttribute("aria-sort");
    if (direction !== "none") heading.setAttribute("aria-sort", direction);
    sort(heading, direction);
  });
}

search.addEventListener("input", () => { filter(); remember(); });
addEventListener("hashchange", follow);
document.querySelector(".search").hidden = false;
filter();
follow();
