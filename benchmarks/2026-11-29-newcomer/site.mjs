// What axe-core finds on five pages of the site, light and dark, wide and on a phone; and whether its search answers from a folder.
// npm install axe-core puppeteer-core; node site.mjs SITE CHROMIUM   (SITE: build/docs/site)
import fs from "fs";
import os from "os";
import path from "path";
import puppeteer from "puppeteer-core";

const [site, executablePath] = process.argv.slice(2);
const pages = ["index", "how-to/train", "reference/settings", "troubleshooting", "how-to/evaluate-and-compare"];
const axe = fs.readFileSync("node_modules/axe-core/axe.min.js", "utf8");
const address = (page) => `file://${path.resolve(site)}/${page}.html`;
const pause = (time) => new Promise((done) => setTimeout(done, time));
const args = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync";

for (const scheme of ["light", "dark"]) {
  // A new one for each: the site remembers which was chosen.
  const userDataDir = fs.mkdtempSync(path.join(os.tmpdir(), "site-"));
  const browser = await puppeteer.launch({ executablePath, userDataDir, args: args.split(" ") });
  for (const width of [1280, 390])
    for (const page of pages) {
      const tab = await browser.newPage();
      const outside = [];
      tab.on("request", (request) => /^https?:/.test(request.url()) && outside.push(request.url()));
      await tab.setViewport({ width, height: width < 500 ? 844 : 900 });
      await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await tab.goto(address(page), { waitUntil: "load" });
      await pause(1200);
      await tab.evaluate(axe);
      const found = await tab.evaluate(async () => {
        const shown = document.body.getAttribute("data-md-color-scheme");
        const { violations } = await axe.run(document, { preload: false });
        const wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        return { shown, wider, violations: violations.map((one) => `${one.impact} ${one.id} x ${one.nodes.length}`) };
      });
      console.log(scheme, width, page, found.shown, `${found.wider} px too wide,`, `${outside.length} requests to others,`,
        found.violations.join(", ") || "nothing found");
      await tab.screenshot({ path: `${scheme}-${width}-${page.replaceAll("/", "-")}.png` });
      await tab.close();
    }
  if (scheme === "light") {
    const tab = await browser.newPage();
    await tab.setViewport({ width: 1280, height: 900 });
    await tab.setOfflineMode(true);
    await tab.goto(address("index"), { waitUntil: "load" });
    await tab.click(".md-search__input");
    for (const words of ["class weights", "image size", "token", "qzxv"]) {
      await tab.$eval(".md-search__input", (field) => (field.value = ""));
      await tab.type(".md-search__input", words);
      await pause(2500);
      const titles = await tab.$$eval(".md-search-result__item h1, .md-search-result__item h2", (all) =>
        all.slice(0, 3).map((one) => one.textContent.trim()));
      console.log("search offline:", words, "->", titles.join(" | ") || "nothing");
    }
    await tab.screenshot({ path: "search.png" });
  }
  await browser.close();
  fs.rmSync(userDataDir, { recursive: true, force: true });
}
