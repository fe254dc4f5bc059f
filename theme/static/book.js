// What a page does beyond HTML: switch light and dark, copy code, and let the keyboard reach what scrolls.
(() => {
  "use strict";
  const root = document.documentElement;

  const toggle = document.querySelector("button.theme");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const shown = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = shown === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch { /* a browser that stores nothing still switches */ }
  });

  for (const box of document.querySelectorAll("div.cell_input")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(box.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    box.append(button);
  }

  // Read all widths first, then write: one layout, however many formulas.
  function markScrollers() {
    const boxes = document.querySelectorAll("article :is(pre, div.math, .table-box, .derivation td, p, li, dd)");
    const wide = [...boxes].filter((box) => box.scrollWidth > box.clientWidth + 1 && box.clientWidth > 0);
    for (const box of wide) {
      box.classList.add("scrolls");
      if (box.matches("pre, div.math, .table-box, td, p")) box.tabIndex = 0;
    }
  }
  const contents = document.querySelector(".page-toc details");
  const settle = () => {
    if (contents && matchMedia("(min-width: 80rem)").matches) contents.open = true;
    markScrollers();
  };
  if (document.readyState === "complete") settle();
  else addEventListener("load", settle, { once: true });
  addEventListener("resize", markScrollers);

  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    document.querySelector("header input[type=search]").focus();
  });
})();
