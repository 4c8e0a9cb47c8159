// How somebody uses a page of Playwright: by the mouse, or by the keyboard alone.
import assert from "node:assert/strict";

/** What is on `page`, and the `hand` that presses and fills in by `way`: "mouse" or "keyboard". */
export function handsOn(page, way) {
  const at = (id) => page.getByTestId(id).filter({ visible: true }).first();
  const text = (id) => at(id).innerText();
  const says = (words) => page.getByText(words).filter({ visible: true }).first().waitFor();
  return { at, text, says, hand: way === "keyboard" ? byKeyboard(page, at) : byMouse(page, at) };
}

/** By the mouse. */
function byMouse(page, at) {
  return {
    press: (id) => at(id).click(),
    fill: (id, value) => at(id).fill(value),
    async choose(id, label) {
      const value = await at(id).evaluate((list, label) => {
        const option = [...list.options].find((one) => one.textContent.trim() === label);
        return option?.value;
      }, label);
      await at(id).selectOption(value);
    },
    row: (name) => page.locator("button.row", { hasText: name }).first().click(),
  };
}

/** By the keyboard alone: whatever the Tab key does not reach, nobody finds. */
function byKeyboard(page, at) {
  const keyboard = {
    async reach(found) {
      for (let step = 0; step < 150; step++) {
        if (await page.evaluate(found.test, found.what)) return;
        await page.keyboard.press("Tab");
      }
      assert.fail(`the Tab key does not reach ${found.what}`);
    },
    to: (id) =>
      keyboard.reach({ what: id, test: (id) => document.activeElement?.dataset.testid === id }),
    async press(id) {
      await at(id).waitFor();
      await keyboard.to(id);
      await page.keyboard.press("Enter");
    },
    async fill(id, value) {
      await at(id).waitFor();
      await keyboard.to(id);
      await page.keyboard.press("Control+A");
      await page.keyboard.insertText(value);
    },
    async choose(id, label) {
      await at(id).waitFor();
      await keyboard.to(id);
      await page.keyboard.press("Home");
      for (let step = 0; step < 50; step++) {
        const now = await page.evaluate(
          () => document.activeElement.selectedOptions[0].textContent.trim(),
        );
        if (now === label.trim()) return;
        await page.keyboard.press("ArrowDown");
      }
      assert.fail(`${label} is no choice of ${id}`);
    },
    async row(name) {
      await page.locator("button.row", { hasText: name }).first().waitFor();
      const test = (name) =>
        document.activeElement?.className === "row" &&
        document.activeElement.textContent.includes(name);
      await keyboard.reach({ what: name, test });
      await page.keyboard.press("Enter");
    },
  };
  return keyboard;
}
