"use strict";
(() => {
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // Figures carry data and axes; colours of text and lines come from the page, so that light and dark both fit.
  const themed = (layout, isNarrow) => {
    const ink = css("--ink-soft"), line = css("--line"), zero = css("--line-strong");
    const themedLayout = { ...layout, font: { ...layout.font, color: ink, family: css("--sans") } };
    themedLayout.hoverlabel = { bgcolor: css("--panel"), bordercolor: zero, font: { color: css("--ink"), family: css("--sans"), size: 12 } };
    themedLayout.modebar = { bgcolor: "rgba(0,0,0,0)", color: zero, activecolor: ink };
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
      themedLayout[key] = { gridcolor: line, zerolinecolor: zero, linecolor: zero, tickcolor: zero, ...layout[key] };
      const title = layout[key].title;
      if (isNarrow && title) themedLayout[key].title = { ...title, font: { size: 11 }, text: title.text.replace(" (", "<br>(") };
    }
    return themedLayout;
  };
  const draw = (figure) => {
    const { data, layout } = JSON.parse(figure.querySelector(":scope > script").textContent);
    const canvas = figure.querySelector(".canvas");
    figure.dataset.drawn = "yes";
    const settings = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };
    return Plotly.react(canvas, data, themed(layout, canvas.clientWidth < 420), settings);
  };
  const plots = [...document.querySelectorAll("figure.plot")].filter((figure) => figure.querySelector(".canvas"));
  const undrawn = () => plots.filter((figure) => !figure.dataset.drawn);
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting && !target.dataset.drawn) { seen.unobserve(target); draw(target); }
  }, { rootMargin: "800px" });
  plots.forEach((figure) => seen.observe(figure));
  // Those near the window first; the rest in the pauses, so that nothing pops in later. Folded ones wait until unfolded.
  const drawRest = () => {
    const next = undrawn().find((figure) => figure.offsetParent);
    if (next) { draw(next); setTimeout(drawRest, 20); }
  };
  setTimeout(drawRest, 300);
  addEventListener("beforeprint", () => undrawn().forEach(draw));
  dark.addEventListener("change", () => plots.filter((figure) => figure.dataset.drawn).forEach(draw));

  // Sorting: numbers as numbers, text as text, what was not measured last.
  const compare = (a, b) => {
    const x = a === "" ? NaN : Number(a), y = b === "" ? NaN : Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  document.querySelectorAll("th > button").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const falling = head.getAttribute("aria-sort") === "descending" || (head.getAttribute("aria-sort") === "none" && !head.classList.contains("num"));
    head.parentElement.querySelectorAll("th").forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", falling ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.sort;
    const rows = [...body.rows].sort((a, b) => (key(a) === "") - (key(b) === "") || (falling ? 1 : -1) * compare(key(a), key(b)));
    body.append(...rows);
  }));

  // Contents: folded on narrow screens, and the part in view is marked.
  const contents = document.querySelector("nav.contents");
  if (contents) {
    const narrow = matchMedia("(max-width: 900px)");
    const fold = () => { contents.querySelector("details").open = !narrow.matches; };
    narrow.addEventListener("change", fold);
    fold();
    const links = [...contents.querySelectorAll("a")];
    const parts = links.map((link) => document.getElementById(link.hash.slice(1)));
    const mark = () => {
      const at = parts.reduce((best, part, index) => (part && part.getBoundingClientRect().top < 140 ? index : best), 0);
      links.forEach((link, index) => link.toggleAttribute("aria-current", index === at));
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  }
  const openTarget = () => document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", "");
  addEventListener("hashchange", openTarget);
  openTarget();
})();
