(function () {
  "use strict";
  const root = document.documentElement;
  const all = (selector, within) => Array.from((within || document).querySelectorAll(selector));

  // Light, dark, or what the system prefers.
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
    button.textContent = next[0].toUpperCase() + next.slice(1);
    button.setAttribute("aria-label", "Colours: " + next);
  });

  // One guest stands out, all others fade: a rule in a style sheet of its own costs the same for any number of CPUs.
  const spotlight = document.head.appendChild(document.createElement("style"));
  let shown = "";
  function show(guest) {
    if (guest === shown) return;
    shown = guest;
    spotlight.textContent = guest
      ? `.map [data-g]:not([data-g~="${guest}"]), .plan [data-g]:not([data-g~="${guest}"]) { opacity: .28; }` +
        `.c[data-g~="${guest}"] > rect { stroke: var(--text); stroke-width: 1.4; }` +
        `tr[data-g~="${guest}"] > * { background: var(--card); }`
      : "";
  }
  function guestOf(element) {
    const holder = element && element.closest ? element.closest("[data-g]") : null;
    const guest = holder ? holder.dataset.g.split(" ")[0] : "";
    return /^\d+$/.test(guest) ? guest : "";
  }
  document.addEventListener("pointerover", (event) => {
    show(guestOf(event.target));
    const cpu = event.target.closest && event.target.closest(".c[role=listitem]");
    if (cpu) speak(cpu);
  });

  // The sentence of a CPU, repeated where screen readers hear it.
  function speak(cpu) {
    const line = cpu.closest(".map").querySelector(".spoken");
    if (line) line.textContent = cpu.getAttribute("aria-label");
  }

  // One tab stop per map; arrow keys go on from there.
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8, Home: -Infinity, End: Infinity };
  for (const map of all(".map")) {
    const cpus = all(".c[role=listitem]", map);
    cpus.forEach((cpu, index) => cpu.setAttribute("tabindex", index ? "-1" : "0"));
    map.addEventListener("focusin", (event) => {
      const cpu = event.target.closest(".c");
      if (cpu) { speak(cpu); show(guestOf(cpu)); }
    });
    map.addEventListener("keydown", (event) => {
      const here = cpus.indexOf(event.target);
      if (here < 0 || !(event.key in steps)) return;
      const there = Math.min(cpus.length - 1, Math.max(0, here + steps[event.key]));
      event.preventDefault();
      cpus[here].setAttribute("tabindex", "-1");
      cpus[there].setAttribute("tabindex", "0");
      cpus[there].focus();
    });
  }

  // Columns sort by a button in their heading.
  const byText = new Intl.Collator("en", { numeric: true });
  const valueOf = (row, column) => { const cell = row.cells[column]; return cell.dataset.value || cell.textContent.trim(); };
  for (const table of all("table.sortable")) {
    const headings = all("thead th", table);
    headings.forEach((heading, column) => {
      if (heading.classList.contains("picture")) return;
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.append(...heading.childNodes);
      heading.append(sorter);
      sorter.addEventListener("click", () => {
        const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = all("tr", table.tBodies[0]);
        rows.sort((a, b) => sign * byText.compare(valueOf(a, column), valueOf(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Searching leaves the rows that contain every word.
  document.getElementById("find").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const table of all("table.guests")) {
      let left = 0;
      for (const row of all("tbody tr", table)) {
        const text = (row.textContent + " " + (row.dataset.find || "")).toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        left += row.hidden ? 0 : 1;
      }
      const counter = document.getElementById(table.id + "-count");
      if (counter) counter.textContent = left;
      const folded = table.closest("details");
      if (folded && words.length && left) folded.open = true;
    }
  });
  // A link to a folded host opens it.
  function unfold() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  }
  window.addEventListener("hashchange", unfold);
  unfold();
})();
