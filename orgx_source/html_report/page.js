"use strict";
// Draws every chart and records the result on <html>: data-charts is "drawn" or "failed", data-errors lists the errors.
(() => {
  const root = document.documentElement;
  const errors = [];

  const note = (problem) => {
    errors.push(String(problem));
    root.dataset.errors = JSON.stringify(errors);
  };
  window.addEventListener("error", (event) => note(event.message));
  window.addEventListener("unhandledrejection", (event) => note(event.reason));
  document.addEventListener("securitypolicyviolation", (event) => note(`${event.violatedDirective}: ${event.blockedURI}`));
  for (const level of ["error", "warn"]) {
    const log = console[level];
    console[level] = (...words) => {
      note(words.join(" "));
      log.apply(console, words);
    };
  }

  const options = {
    actions: false,
    // Expressions are interpreted: the page's content security policy forbids eval.
    ast: true,
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true, theme: "page" },
  };

  const drawn = [];

  // Vega fixes the height before a legend that is too wide wraps, so that it covers the title: each width takes two runs.
  const draw = async (name, spec) => {
    const place = document.getElementById(`chart-${name}`);
    try {
      const { view } = await window.vegaEmbed(place, spec, options);
      await view.resize().runAsync();
      drawn.push([place, view]);
    } catch (error) {
      note(`${name}: ${error}`);
      place.textContent = "This chart could not be drawn.";
      throw error;
    }
  };

  const sayAge = () => {
    const place = document.getElementById("age");
    if (place === null) return;
    const days = Math.floor((Date.now() - Date.parse(document.querySelector("time").dateTime)) / 86400000);
    if (days >= 1) place.textContent = ` (${days === 1 ? "1 day" : `${days} days`} ago)`;
  };

  // Paper has a fixed width, unlike the window. Drawn at 780 pixels and scaled to the paper, two charts fit on a page.
  const PRINTED_PIXELS = 780;
  const resize = (width) => {
    for (const [place, view] of drawn) view.width(width ?? place.clientWidth).run().resize().run();
  };
  window.addEventListener("resize", () => window.requestAnimationFrame(() => resize()));
  window.addEventListener("beforeprint", () => resize(PRINTED_PIXELS));
  window.addEventListener("afterprint", () => resize());

  const FIRST_ROWS = 10;

  const element = (tag, properties, text) => {
    const made = Object.assign(document.createElement(tag), properties);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const sortKey = (row, column) => {
    const cell = row.cells[column];
    const text = (cell.dataset.sort ?? cell.textContent).trim();
    const number = Number(text.replace(/,/g, ""));
    return text !== "" && Number.isFinite(number) ? number : text;
  };

  const compare = (one, other) => {
    if (typeof one === "number" && typeof other === "number") return one - other;
    return String(one).localeCompare(String(other));
  };

  // Adds controls to a table: sort by a column, filter, and show all rows or only the first.
  const equip = (table) => {
    const body = table.tBodies[0];
    const title = document.getElementById(table.getAttribute("aria-labelledby")).textContent;
    let rows = [...body.rows];
    let showsAll = rows.length <= FIRST_ROWS;
    const filter = element("input", { type: "search", placeholder: "Filter", className: "filter" });
    filter.setAttribute("aria-label", `Filter: ${title}`);
    const more = element("button", { type: "button", className: "more" });

    const show = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word));
        row.hidden = !fits || (!showsAll && count >= FIRST_ROWS);
        count += fits;
      }
      more.hidden = count <= FIRST_ROWS;
      more.textContent = showsAll ? `Show the first ${FIRST_ROWS}` : `Show all ${count}`;
    };

    const sort = (column, header) => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sign = descending ? -1 : 1;
      rows = rows
        .map((row) => [sortKey(row, column), row])
        .sort(([one], [other]) => sign * compare(one, other))
        .map(([, row]) => row);
      body.append(...rows);
      show();
    };

    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = element("button", { type: "button" }, header.textContent);
      button.addEventListener("click", () => sort(column, header));
      header.replaceChildren(button);
    });
    if (rows.length <= FIRST_ROWS) return;
    filter.addEventListener("input", show);
    more.addEventListener("click", () => {
      showsAll = !showsAll;
      show();
    });
    table.before(filter);
    table.after(more);
    show();
  };

  // Without permission to use the clipboard, the id is selected, so that it can be copied by hand.
  const copy = async (place, button) => {
    try {
      await navigator.clipboard.writeText(place.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(place);
    }
  };

  const start = async () => {
    sayAge();
    for (const place of document.querySelectorAll("code.id")) {
      const button = element("button", { type: "button", className: "copy" }, "copy");
      button.setAttribute("aria-label", `Copy the id ${place.textContent}`);
      button.addEventListener("click", () => copy(place, button));
      place.after(" ", button);
    }
    document.querySelectorAll("main table").forEach(equip);
    const charts = JSON.parse(document.getElementById("charts").textContent);
    const ends = await Promise.allSettled(Object.entries(charts).map(([name, spec]) => draw(name, spec)));
    root.dataset.charts = ends.every((end) => end.status === "fulfilled") ? "drawn" : "failed";
  };
  start();
})();
