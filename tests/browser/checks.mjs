// What must hold on every page, whatever it shows.

import assert from "node:assert/strict";

import axe from "axe-core";

const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** The page breaks none of the rules for people who see, hear or point badly. */
export async function isAccessible(page, what) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(
    (values) => globalThis.axe.run(document, { runOnly: { type: "tag", values } }),
    rules,
  );
  const faults = violations.map(({ id, help, nodes }) => {
    const where = nodes.slice(0, 3).map(({ target, any }) => `${target} ${any[0]?.message ?? ""}`);
    return `${id} (${help}): ${where.join("; ")}`;
  });
  assert.deepEqual(faults, [], `rules of access that ${what} breaks`);
}

/** Nothing makes the page wider than its window; what is wide scrolls by itself. */
export async function fitsWindow(page, what) {
  const [content, view, widest] = await page.evaluate(() => {
    const view = document.documentElement.clientWidth;
    const isClipped = (element) => {
      for (let above = element.parentElement; above; above = above.parentElement) {
        const { overflowX } = getComputedStyle(above);
        if (above !== document.body && overflowX !== "visible") return true;
      }
      return false;
    };
    const widest = [...document.querySelectorAll("body *")]
      .filter((one) => one.getBoundingClientRect().right > view + 1 && !isClipped(one))
      .slice(0, 5)
      .map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`);
    return [document.documentElement.scrollWidth, view, widest];
  });
  assert.ok(content <= view, `${what}: ${content} px in a window of ${view}: ${widest.join("; ")}`);
}

/** The controls that a pointer could use now, each with a number of its own in `data-check`. */
const markControls = () => {
  const kinds = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const dialog = document.querySelector("dialog[open]");
  const seen = new Set();
  const found = [];
  for (const one of (dialog ?? document).querySelectorAll(kinds)) {
    if (one.disabled || !one.checkVisibility({ visibilityProperty: true })) continue;
    if (one.tabIndex < 0 && one.getAttribute("role") !== "tab") continue;
    // Of a group of radio buttons, and of tabs, the keyboard stops at one.
    const group = one.type === "radio" ? one.name : one.closest("[role=tablist]") && "tabs";
    if (group && seen.has(group)) continue;
    seen.add(group);
    if (group && one.type === "radio") {
      const names = document.getElementsByName(one.name);
      for (const other of names) other.dataset.check = String(found.length);
    } else if (group) {
      const tabs = one.closest("[role=tablist]").querySelectorAll("[role=tab]");
      for (const other of tabs) other.dataset.check = String(found.length);
    } else {
      one.dataset.check = String(found.length);
    }
    const name = one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent;
    found.push(`${one.tagName} ${name?.trim().slice(0, 40)}`);
  }
  return found;
};

/** Which control has the focus, and whether that can be seen. */
const focus = () => {
  const one = document.activeElement;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one);
  const isShown = (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
  const { top, bottom } = one.getBoundingClientRect();
  return { check: one.dataset.check, isShown, isInView: bottom > 0 && top < innerHeight };
};

/** The tabulator key stops at every control that is there, visibly. */
export async function isReachable(page, what) {
  const controls = await page.evaluate(markControls);
  assert.ok(controls.length > 0, `${what} has controls`);
  const missing = new Set(controls.keys());
  const hidden = [];
  for (let step = 0; step < controls.length + 20 && missing.size > 0; step++) {
    await page.keyboard.press("Tab");
    const { check, isShown, isInView } = await page.evaluate(focus);
    if (check === undefined) continue;
    missing.delete(Number(check));
    if (!isShown || !isInView) hidden.push(controls[Number(check)]);
  }
  const unreached = [...missing].map((index) => controls[index]);
  assert.deepEqual(unreached, [], `controls of ${what} that the tabulator key does not reach`);
  assert.deepEqual(hidden, [], `controls of ${what} where the focus cannot be seen`);
}
