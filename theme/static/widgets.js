// Brings the book's widgets to life: loads Vega once, after the page has been drawn, when a widget is near.
// A widget is figure.widget with its specification in script[type="application/json"]; until Vega takes over,
// its still picture is shown. Controls with data-signal set a Vega signal, those with data-choice select a frame.
(() => {
  "use strict";
  const vegaAddress = new URL("vega/vega.min.js", document.currentScript.src).href;
  let loading;

  function loadVega() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = vegaAddress;
      script.onload = () => resolve(window.vega);
      script.onerror = () => reject(new Error(`could not load ${vegaAddress}`));
      document.head.append(script);
    });
    return loading;
  }

  function withUnit(text, unit) {
    return unit && unit !== "1" ? `${text} ${unit}` : text;
  }

  // The value of a continuous control, and what the reader sees of it.
  function reading(input) {
    const log = "log" in input.dataset;
    const value = log ? 10 ** Number(input.value) : Number(input.value);
    return { value, text: withUnit(String(Number(value.toPrecision(log ? 3 : 4))), input.dataset.unit) };
  }

  function show(control, text) {
    control.closest(".widget-control").querySelector("output").textContent = text;
    if (control.type === "range") control.setAttribute("aria-valuetext", text);
  }

  function rowsOf(table, frame) {
    const columns = Object.entries(table.moving).map(([name, frames]) => [name, frames[frame]]);
    columns.push(...Object.entries(table.fixed));
    return columns[0][1].map((_, i) => Object.fromEntries(columns.map(([name, column]) => [name, column[i]])));
  }

  function connect(figure, view, table) {
    const inputs = [...figure.querySelectorAll(".widget-controls input, .widget-controls select")];
    let waiting = false;
    const redraw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        if (table) {
          const position = (input) => (input.tagName === "SELECT" ? input.selectedIndex : Number(input.value));
          const frame = inputs.reduce((sum, input, i) => sum + position(input) * table.strides[i], 0);
          view.data("frame", rowsOf(table, frame));
        } else {
          for (const input of inputs) if (input.dataset.moved) view.signal(input.dataset.signal, reading(input).value);
        }
        view.runAsync();
      });
    };
    for (const input of inputs) {
      input.addEventListener("input", () => {
        input.dataset.moved = "1";
        if (input.tagName === "SELECT") show(input, input.value);
        else show(input, table ? JSON.parse(input.dataset.choice)[Number(input.value)] : reading(input).text);
        redraw();
      });
    }
  }

  async function start(figure) {
    const { spec, table } = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const vega = await loadVega();
    const view = new vega.View(vega.parse(spec), { renderer: "svg", hover: false });
    view.initialize(figure.querySelector(".widget-live"));
    figure.querySelector(".widget-still").remove();
    figure.classList.add("widget-alive"); // before the first run, so that the container has its width
    await view.runAsync();
    connect(figure, view, table);
    figure.dataset.ready = "1";
  }

  function watch() {
    const observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        start(target).catch((error) => console.error(error));
      }
    }, { rootMargin: "200px" });
    document.querySelectorAll("figure.widget").forEach((figure) => observer.observe(figure));
  }

  function afterPaint() {
    const go = () => (window.requestIdleCallback ?? setTimeout)(watch);
    if (!PerformanceObserver.supportedEntryTypes?.includes("paint")) return go();
    new PerformanceObserver((list, observer) => {
      if (list.getEntriesByName("first-contentful-paint").length === 0) return;
      observer.disconnect();
      go();
    }).observe({ type: "paint", buffered: true });
  }

  if (document.readyState === "complete") afterPaint();
  else window.addEventListener("load", afterPaint, { once: true });
})();
