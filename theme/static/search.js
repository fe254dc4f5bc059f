// A formula stands in the page three times: drawn, as MathML and as TeX. The text around a find needs it once,
// and needs no code.
(() => {
  "use strict";
  const read = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    page.querySelectorAll(".katex-html, annotation, button, .cell_input, [role=main] script").forEach((twice) => twice.remove());
    return read(page.documentElement.outerHTML, anchor);
  };
})();
