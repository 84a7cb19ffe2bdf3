// Opens Aegis' page in Chromium as people do: in light and dark mode, on a phone, with the
// keyboard, and without JavaScript. Arguments: Chromium, the URL of a page with sockets in
// every state, the URL of one with 2,500 sockets, a directory for screenshots. Each line of
// output is a mistake.
const { chromium } = require("playwright-core");
const axe = require("axe-core");
const path = require("node:path");

const [binary, sample, many, directory] = process.argv.slice(2);

const devices = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  phone: { colorScheme: "light", viewport: { width: 375, height: 740 }, isMobile: true, hasTouch: true },
};

let browser;

function check(ok, what) {
  if (!ok) console.log(what);
}

// open opens a page in a browser of its own. Errors in its console and requests for
// anything but pages are mistakes.
async function open(name, options, url = sample) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", m => check(false, `${name}: the console has: ${m.text()}`));
  page.on("pageerror", e => check(false, `${name}: ${e}`));
  page.on("request", r => check(r.resourceType() === "document" || r.url().startsWith("data:"), `${name}: requests ${r.url()}`));
  await page.goto(url);
  return page;
}

// screenshot saves a screenshot, without hiding the caret: playwright would need a style
// for that, which the page's policy forbids.
const screenshot = (page, name, options) =>
  page.screenshot({ path: path.join(directory, name + ".png"), caret: "initial", ...options });

const search = page => page.getByLabel("Name, state or reason");
const status = page => page.getByRole("status").textContent();
const shown = page => page.locator(".sockets tbody tr:visible th").allTextContents();

async function appearance(name) {
  const page = await open(name, devices[name]);
  await screenshot(page, name, { fullPage: true });
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(excess <= 0, `${name}: ${excess} pixels too wide`);
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

async function hostileNames() {
  const page = await open("hostile names", devices.light);
  const names = await page.locator(".not-served th").allTextContents();
  check(names.includes(`<img src=x onerror=alert(1)>.sock`), `no name with markup among ${names.join(" ")}`);
  check(names.includes(`"\\u202ekcos.live.sock"`), `a name that turns the direction of text is not quoted among ${names.join(" ")}`);
  check(await page.locator("img").count() === 0, "a hostile name is markup");
  await page.context().close();
}

async function keyboard() {
  const page = await open("keyboard", devices.light);
  const stops = [];
  const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.name || "");
  for (let i = 0; i < 40 && stops.at(-1) !== "fine"; i++) {
    await page.keyboard.press("Tab");
    stops.push((await focused()).trim());
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    check(outline !== "none", `the focus is not visible on ${stops.at(-1)}`);
  }
  const order = ["q", "Show", "Socket", "Size", "stale", "fine"];
  const found = order.map(stop => stops.indexOf(stop));
  check(!found.includes(-1) && found.every((at, i) => i === 0 || found[i - 1] < at), `Tab goes to ${stops.join(", ")}; want ${order.join(", ")} among them`);

  page.removeAllListeners(); // Metrics are no page and have no icon.
  await page.keyboard.press("Enter");
  await page.waitForURL(sample + "fine");
  check((await page.content()).includes("x 1"), "Enter on a socket does not show its metrics");
  await page.context().close();
}

async function filter() {
  const page = await open("filter", devices.light);
  const all = await shown(page);
  await search(page).pressSequentially("NOBODY is");
  check((await shown(page)).join() === "stale", `while typing: ${await shown(page)}`);
  check(await status(page) === `1 of ${all.length} shown`, `the status is ${await status(page)}`);
  check(page.url() === sample, "typing loads a page");

  await search(page).fill("is a symlink");
  const others = await page.locator(".not-served tbody tr:visible th").allTextContents();
  check(others.join() === "link.sock" && (await shown(page)).length === 0, `not served, while typing: ${others}`);

  await search(page).fill("nothing like that");
  const tables = await page.locator("table:visible").count();
  check(tables === 0 && await status(page) === "No socket matches", `nothing matches, but ${tables} tables show, and the status is ${await status(page)}`);

  await search(page).fill("NOBODY is");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=NOBODY/);
  check((await shown(page)).join() === "stale", `after Enter: ${await shown(page)}`);

  await search(page).fill("fine");
  check((await status(page)).startsWith("Press Enter"), "the status does not say that sockets are missing on the page");
  await page.context().close();
}

async function paging() {
  const page = await open("paging", devices.light, many + "?sort=name");
  await page.getByRole("link", { name: "next", exact: true }).click();
  await page.waitForURL(/page=2/);
  let names = await shown(page);
  check(names.length === 1000 && names[0] === "s1000", `page 2: ${names.length} sockets from ${names[0]}`);
  check(await status(page) === "Rows 1,001 to 2,000 of 2,500", `page 2: the status is ${await status(page)}`);
  await page.getByRole("navigation", { name: "Pages" }).scrollIntoViewIfNeeded();
  await screenshot(page, "paging");

  await search(page).fill("s15");
  names = await shown(page);
  check(names.length === 100 && names[0] === "s1500", `while typing: ${names.length} sockets from ${names[0]}`);
  check(await status(page) === "100 of 1,000 shown on this page; press Enter to search among all sockets", `while typing: the status is ${await status(page)}`);
  await search(page).fill("s0042");
  check(await status(page) === "No socket matches on this page; press Enter to search among all sockets", `a socket on another page: the status is ${await status(page)}`);
  await search(page).fill("");
  check(await status(page) === "Rows 1,001 to 2,000 of 2,500", `the field is empty again: the status is ${await status(page)}`);

  await search(page).fill("s0042");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=s0042/);
  check((await shown(page)).join() === "s0042", `after Enter: ${await shown(page)}`);
  check(page.url().includes("sort=name"), `Enter changes the order: ${page.url()}`);
  await page.context().close();
}

async function withoutJavaScript() {
  const page = await open("without JavaScript", { ...devices.light, javaScriptEnabled: false });
  await page.getByRole("link", { name: "Socket", exact: true }).click();
  const names = await shown(page);
  check(names.join() === names.toSorted().join(), `by name: ${names}`);
  check(await page.getByRole("columnheader", { name: "Socket" }).getAttribute("aria-sort") === "ascending", "the column does not say that it is sorted");
  await page.getByRole("link", { name: /not scraped yet/ }).click();
  check((await shown(page)).join() === "new", `not scraped yet: ${await shown(page)}`);
  await search(page).fill("absent");
  await page.keyboard.press("Enter");
  await page.getByText("No socket matches").waitFor({ timeout: 5000 });
  await page.context().close();
}

(async () => {
  browser = await chromium.launch({ executablePath: binary, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
  try {
    await Promise.all([...Object.keys(devices).map(appearance), hostileNames(), keyboard(), filter(), paging(), withoutJavaScript()]);
  } finally {
    await browser.close();
  }
})();
