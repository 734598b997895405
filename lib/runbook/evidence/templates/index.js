"use strict";
const form = document.getElementById("filter");
const choices = ["status", "target", "notebook", "incident"];
const days = [...document.querySelectorAll(".day")].map((day) => ({
  day,
  rows: [...day.querySelectorAll("tbody tr")].map((row) => ({ row, text: "" })),
}));
const all = days.reduce((sum, { rows }) => sum + rows.length, 0);

function filter() {
  const wanted = choices.map((name) => [name, document.getElementById(name).value]).filter(([, value]) => value);
  const words = document.getElementById("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { day, rows } of days) {
    let some = false;
    for (const entry of rows) {
      let fits = wanted.every(([name, value]) => entry.row.dataset[name] === value);
      if (fits && words.length) {
        entry.text ||= `${entry.row.id} ${entry.row.textContent}`.toLowerCase();
        fits = words.every((word) => entry.text.includes(word));
      }
      entry.row.hidden = !fits;
      some ||= fits;
      shown += fits;
    }
    day.hidden = !some;
  }
  document.getElementById("shown").textContent = `${shown} of ${all} runs`;
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
filter();
