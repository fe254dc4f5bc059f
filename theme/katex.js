// Reads one JSON request a line, {tex, display}, and answers one JSON line, {html} or {error}.
const path = require("node:path");
const katex = require(path.join(process.argv[2], "katex"));

require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { tex, display } = JSON.parse(line);
  let answer;
  try {
    const options = { displayMode: display, throwOnError: true, strict: "error", output: "htmlAndMathml" };
    answer = { html: katex.renderToString(tex, options) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
