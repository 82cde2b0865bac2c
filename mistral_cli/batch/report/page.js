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

// The search terms go into the address, so that people can link to a search.
let timer;
function updateAddress() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const words = search.value.trim();
    const fragment = words ? `#${new URLSearchParams({ search: words })}` : location.pathname + location.search;
    history.replaceState(null, "", fragment);
  }, 400);
}

function applyAddress() {
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
  const difference = a.number - b.number;
  return Number.isNaN(difference) ? collator.compare(a.text, b.text) : difference;
}

function sortKey(cell) {
  const text = cell.textContent;
  return { text, number: text ? Number(text.replaceAll(",", "")) : NaN };
}

function sort(heading, direction) {
  const keys = new Map(inOrder.map((row) => [row, sortKey(row.cells[heading.cellIndex])]));
  const rows = [...inOrder];
  if (direction !== "none") rows.sort((a, b) => compare(keys.get(a), keys.get(b)));
  if (direction === "descending") rows.reverse();
  const table = body.parentNode;
  body.remove(); // moving ten thousand rows is fast only while they are not on the page
  for (const row of rows) body.append(row);
  table.append(body);
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

search.addEventListener("input", () => { filter(); updateAddress(); });
addEventListener("hashchange", applyAddress);
document.querySelector(".search").hidden = false;
filter();
applyAddress();
