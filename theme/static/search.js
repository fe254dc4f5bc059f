// A formula stands in the page three times: drawn, as MathML and as TeX. The text around a find needs it once.
(() => {
  "use strict";
  const read = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    page.querySelectorAll(".katex-html, annotation, button, [role=main] script").forEach((twice) => twice.remove());
    return read(page.documentElement.outerHTML, anchor);
  };
})();
