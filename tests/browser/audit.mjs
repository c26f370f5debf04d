// Opens a page in Chromium and prints what was seen there as JSON:
//   node audit.mjs CHROMIUM FILE WIDTH [FILTER] [SCREENSHOT]
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, file, width, filter, screenshot] = process.argv.slice(2);
const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
  + " --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath, args: flags.split(" ") });
const seen = { requests: [], dialogs: [], errors: [] };
try {
  const context = await browser.newContext({ viewport: { width: Number(width), height: 900 }, bypassCSP: false });
  const page = await context.newPage();
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") seen.errors.push(message.text()); });
  await page.goto(pathToFileURL(file).href);
  seen.title = await page.title();
  seen.overflows = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  seen.elements = await page.evaluate(() => [...new Set([...document.querySelectorAll("*")].map((e) => e.localName))]);
  if (filter) {
    await page.keyboard.press("Tab"); // the filter is the first thing that the keyboard reaches
    await page.keyboard.type(filter);
    seen.focused = await page.evaluate(() => document.activeElement.id);
    seen.count = await page.textContent("#count");
    seen.rows = await page.$$eval("tbody tr", (rows) =>
      rows.filter((row) => !row.hidden).map((row) => row.querySelector("th").innerText.split("\n")[0]));
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  // The audit runs in an isolated world of the browser, where the page's own policy does not apply.
  const session = await context.newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  const source = createRequire(import.meta.url)("axe-core").source;
  await session.send("Runtime.evaluate", { expression: source, contextId: executionContextId });
  const { result } = await session.send("Runtime.evaluate", {
    expression: "axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(r.violations.map("
      + "(v) => ({id: v.id, nodes: v.nodes.map((n) => n.html.slice(0, 200))}))))",
    contextId: executionContextId, awaitPromise: true,
  });
  seen.violations = JSON.parse(result.value);
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
