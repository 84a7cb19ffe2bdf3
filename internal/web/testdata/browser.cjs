// Opens Aegis' page in Chromium as people do: in light, dark, on a phone, with the
// keyboard, and without JavaScript. Arguments: Chromium, the page's address, a
// folder for screenshots. Each line of output is something wrong.
const { chromium } = require("playwright-core");
const axe = require("axe-core");
const path = require("node:path");

const [binary, address, folder] = process.argv.slice(2);

const looks = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  phone: { colorScheme: "light", viewport: { width: 375, height: 740 }, isMobile: true, hasTouch: true },
};

let browser;

function check(ok, what) {
  if (!ok) console.log(what);
}

// open opens the page in a browser of its own, and what it says goes to check.
async function open(name, options, query = "") {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", m => check(false, `${name}: the console says: ${m.text()}`));
  page.on("pageerror", e => check(false, `${name}: ${e}`));
  page.on("request", r => check(r.resourceType() === "document" || r.url().startsWith("data:"), `${name}: asks for ${r.url()}`));
  await page.goto(address + query);
  return page;
}

async function look(name) {
  const page = await open(name, looks[name]);
  // Not the caret, which playwright would hide with a style that the page forbids.
  await page.screenshot({ path: path.join(folder, name + ".png"), fullPage: true, caret: "initial" });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(wide <= 0, `${name}: ${wide} pixels too wide`);
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
  for (const v of violations) {
    check(false, `${name}: axe: ${v.help}: ${v.nodes.map(n => n.html).join(" ")}`);
  }
  for (const rule of ["color-contrast", "label"]) {
    check(passes.some(p => p.id === rule), `${name}: axe did not check ${rule}`);
  }
  await page.context().close();
}

async function hostileName() {
  const page = await open("hostile name", looks.light);
  const names = await page.locator(".unserved th").allTextContents();
  check(names.includes(`<img src=x onerror=alert(1)>.sock`), `no hostile name among ${names.join(" ")}`);
  check(names.includes(`"\\u202ekcos.live.sock"`), `a name that turns text around is not quoted among ${names.join(" ")}`);
  check(await page.locator("img").count() === 0, "a hostile name is markup");
  await page.context().close();
}

async function keyboard() {
  const page = await open("keyboard", looks.light);
  const stops = [];
  const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.name || "");
  for (let i = 0; i < 40 && stops.at(-1) !== "fine"; i++) {
    await page.keyboard.press("Tab");
    stops.push((await focused()).trim());
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    check(outline !== "none", `the focus does not show on ${stops.at(-1)}`);
  }
  const order = ["q", "Show", "Socket", "Series", "stale", "fine"];
  const found = order.map(stop => stops.indexOf(stop));
  check(!found.includes(-1) && found.every((at, i) => i === 0 || found[i - 1] < at), `Tab goes to ${stops.join(", ")}; want ${order.join(", ")} among them`);

  page.removeAllListeners(); // What follows is no page, and gets no icon.
  await page.keyboard.press("Enter");
  await page.waitForURL(address + "fine");
  check((await page.content()).includes("x 1"), "Enter on a socket does not show its metrics");
  await page.context().close();
}

const shown = page => page.locator(".sockets tbody tr:visible th").allTextContents();

async function filter() {
  const page = await open("filter", looks.light);
  const all = await shown(page);
  await page.getByLabel("Name, state or reason").pressSequentially("NOBODY is");
  check((await shown(page)).join() === "stale", `while typing: ${await shown(page)}`);
  check((await page.getByRole("status").textContent()) === `1 of ${all.length} shown`, `the note is ${await page.getByRole("status").textContent()}`);
  check(page.url() === address, "typing loads a page");
  await page.getByLabel("Name, state or reason").fill("is a link");
  const others = await page.locator(".unserved tbody tr:visible th").allTextContents();
  check(others.join() === "link.sock" && (await shown(page)).length === 0, `what is not served, while typing: ${others}`);
  await page.getByLabel("Name, state or reason").fill("nothing of that");
  const tables = await page.locator("table:visible").count();
  check(tables === 0 && (await page.getByRole("status").textContent()) === "No socket matches", `where nothing matches, ${tables} tables and a note that is ${await page.getByRole("status").textContent()}`);
  await page.getByLabel("Name, state or reason").fill("NOBODY is");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=NOBODY/);
  check((await shown(page)).join() === "stale", `after Enter: ${await shown(page)}`);
  await page.getByLabel("Name, state or reason").fill("fine");
  check((await page.getByRole("status").textContent()).startsWith("Press Enter"), "sockets that are not on the page are passed over in silence");
  await page.context().close();
}

async function withoutJavaScript() {
  const page = await open("without JavaScript", { ...looks.light, javaScriptEnabled: false });
  await page.getByRole("link", { name: "Socket", exact: true }).click();
  const names = await shown(page);
  check(names.join() === names.toSorted().join(), `by name: ${names}`);
  check(await page.getByRole("columnheader", { name: "Socket" }).getAttribute("aria-sort") === "ascending", "the column does not say that it is sorted");
  await page.getByRole("link", { name: /never scraped yet/ }).click();
  check((await shown(page)).join() === "new", `never scraped: ${await shown(page)}`);
  await page.getByLabel("Name, state or reason").fill("absent");
  await page.keyboard.press("Enter");
  await page.getByText("No socket matches").waitFor({ timeout: 5000 });
  await page.context().close();
}

(async () => {
  browser = await chromium.launch({ executablePath: binary, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
  try {
    await Promise.all([...Object.keys(looks).map(look), hostileName(), keyboard(), filter(), withoutJavaScript()]);
  } finally {
    await browser.close();
  }
})();
