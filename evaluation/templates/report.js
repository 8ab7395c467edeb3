"use strict";

// Tables: a click or the Enter key on the head of a column sorts by it, a second one the other way round.
function keyOf(row, at, numeric) {
  const cell = row.cells[at];
  if (!numeric) return cell.firstChild ? cell.firstChild.textContent.toLowerCase() : "";
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function sortBy(table, at) {
  const heads = [...table.tHead.rows[0].cells];
  const head = heads[at];
  const numeric = head.classList.contains("n");
  const before = head.getAttribute("aria-sort");
  // Numbers begin with the largest, names with A.
  const order = before === "none" ? (numeric ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
  heads.forEach((one) => one.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, at, numeric), row]);
  rows.sort(([one], [other]) => {
    if (one === null || other === null) return (one === null) - (other === null); // what is not known stays last
    return sign * (numeric ? one - other : one.localeCompare(other));
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

document.querySelectorAll("table.sorts").forEach((table) => {
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    head.querySelector("button").addEventListener("click", () => sortBy(table, at));
  });
});

// Calls: a line plays from where it begins, and the line that is heard is marked.
document.querySelectorAll("details.call").forEach((call) => {
  const audio = call.querySelector("audio");
  if (!audio) return;
  const lines = [...call.querySelectorAll(".line.heard")];
  lines.forEach((line) => {
    line.querySelector(".play").addEventListener("click", () => {
      document.querySelectorAll("audio").forEach((other) => other !== audio && other.pause());
      audio.currentTime = Number(line.dataset.seek);
      audio.play();
    });
  });
  audio.addEventListener("timeupdate", () => {
    const begun = lines.filter((line) => Number(line.dataset.seek) <= audio.currentTime + 0.05);
    lines.forEach((line) => line.classList.toggle("now", !audio.paused && line === begun[begun.length - 1]));
  });
  audio.addEventListener("pause", () => lines.forEach((line) => line.classList.remove("now")));
});

// On paper nothing can be opened.
addEventListener("beforeprint", () => document.querySelectorAll("details.call").forEach((call) => (call.open = true)));
