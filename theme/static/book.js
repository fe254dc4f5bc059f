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

  // What is wider than its box scrolls inside itself, and the keyboard can reach it. Looked at as it comes near:
  // a page with hundreds of formulas is laid out piece by piece.
  const scrollers = "article :is(pre, figure.plot, div.math, .table-box, .derivation td, :is(p, li, dd):has(> .math))";
  const near = new IntersectionObserver((entries) => {
    const wide = entries.filter(({ isIntersecting, target }) => isIntersecting && target.scrollWidth > target.clientWidth + 1);
    for (const { target } of wide) {
      target.classList.add("scrolls");
      if (!target.matches("li, dd")) target.tabIndex = 0;
    }
  }, { rootMargin: "400px" });
  const watch = () => {
    near.disconnect();
    for (const box of document.querySelectorAll(scrollers)) near.observe(box);
  };
  addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(watch), { once: true });
  addEventListener("resize", watch);

  const contents = document.querySelector(".page-toc details");
  if (contents && matchMedia("(min-width: 80rem)").matches) contents.open = true;

  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    document.querySelector("header input[type=search]").focus();
  });
})();
