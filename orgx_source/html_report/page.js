"use strict";
// Draws every chart, and leaves on <html> what came of it: data-charts is "drawn" or "failed", data-errors lists why.
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
    // Expressions are walked as trees: the page's policy forbids to make code of text.
    ast: true,
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true, theme: "page" },
  };

  const draw = async (name, spec) => {
    const place = document.getElementById(`chart-${name}`);
    try {
      await window.vegaEmbed(place, spec, options);
    } catch (error) {
      note(`${name}: ${error}`);
      place.textContent = "This picture could not be drawn.";
      throw error;
    }
  };

  const sayAge = () => {
    const place = document.getElementById("age");
    if (place === null) return;
    const days = Math.floor((Date.now() - Date.parse(document.querySelector("time").dateTime)) / 86400000);
    if (days >= 1) place.textContent = ` (${days === 1 ? "1 day" : `${days} days`} ago)`;
  };

  const start = async () => {
    sayAge();
    const charts = JSON.parse(document.getElementById("charts").textContent);
    const ends = await Promise.allSettled(Object.entries(charts).map(([name, spec]) => draw(name, spec)));
    root.dataset.charts = ends.every((end) => end.status === "fulfilled") ? "drawn" : "failed";
  };
  start();
})();
