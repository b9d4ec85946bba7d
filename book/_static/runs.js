// Tables inside .find-runs get a field that searches their rows, and headings that sort them.
"use strict";

function findable(box) {
  const table = box.querySelector("table");
  const rows = Array.from(table.tBodies[0].rows);
  const label = document.createElement("label");
  const field = document.createElement("input");
  const count = document.createElement("output");
  label.textContent = "Search: ";
  field.type = "search";
  field.placeholder = "such as: thinning diabetes130 weights";
  label.append(field);
  box.prepend(label, count);

  function search() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(function (word) { return text.includes(word); });
      left += row.hidden ? 0 : 1;
    }
    count.textContent = " " + left + " of " + rows.length + " runs";
  }

  function sort(heading, place) {
    const sign = heading.ariaSort === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) { other.removeAttribute("aria-sort"); }
    heading.ariaSort = sign === 1 ? "ascending" : "descending";
    rows.sort(function (one, other) {
      const texts = [one, other].map(function (row) { return row.cells[place].textContent; });
      return sign * texts[0].localeCompare(texts[1], "en", { numeric: true });
    });
    table.tBodies[0].append(...rows);
  }

  Array.from(table.tHead.rows[0].cells).forEach(function (heading, place) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", function () { sort(heading, place); });
    heading.replaceChildren(button);
  });
  field.addEventListener("input", search);
  search();
}

document.addEventListener("DOMContentLoaded", function () {
  document.querySelectorAll(".find-runs").forEach(findable);
});
