"use strict";

// Light or dark: as the system says, until the button says otherwise.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  dark.addEventListener("change", show);
  show();
})();

// The names of the columns become buttons: first the best first, then the worst.
(() => {
  const table = document.getElementById("figures");
  const body = table.tBodies[0];
  const said = document.getElementById("sorted");
  const heads = [...table.querySelectorAll("th[data-sort]")];
  const compare = (one, two) => {
    const [x, y] = [Number(one), Number(two)];
    return Number.isNaN(x) || Number.isNaN(y) ? one.localeCompare(two) : x - y;
  };
  const sort = (head, column) => {
    const before = head.getAttribute("aria-sort");
    const descending = before ? before === "ascending" : head.dataset.sort === "higher";
    const sign = descending ? -1 : 1;
    const key = (row) => row.cells[column].dataset.key;
    const rows = [...body.rows].sort((one, two) => sign * compare(key(one), key(two)));
    body.append(...rows);
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    said.textContent = `Sorted by ${head.textContent}, ${descending ? "descending" : "ascending"}`;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });
})();
