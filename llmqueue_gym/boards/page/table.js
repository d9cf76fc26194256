// Tables that are sorted by a click on a head; who is told the truth stays below the others.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : !/\b(n|plot)\b/.test(head.className);  // of numbers, the most first
    const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const apart = a.classList.contains("truth") - b.classList.contains("truth");
      if (apart) return apart;
      const x = key(a), y = key(b), n = x - y;
      return x === "" ? 1 : y === "" ? -1 : (Number.isNaN(n) ? x.localeCompare(y) : n) * (up ? 1 : -1);
    });
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  }));
}
