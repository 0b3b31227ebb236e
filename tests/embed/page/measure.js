// SPDX-License-Identifier: MIT OR Apache-2.0
// What the browser knows of a page: pixels, contrast, focus, and how long its tasks take.
'use strict';

/** The colours of the window at these points. */
async function pixelsOf(page, points) {
    const picture = (await page.screenshot()).toString('base64');
    return page.evaluate(async ([picture, points]) => {
        const image = new Image();
        image.src = `data:image/png;base64,${picture}`;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        const context = canvas.getContext('2d', { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        return points.map(({ x, y }) => [...context.getImageData(Math.round(x), Math.round(y), 1, 1).data].slice(0, 3));
    }, [picture, points]);
}

/** The contrast (WCAG 2) of each text colour with what it stands on. */
function contrasts(page) {
    return page.evaluate(() => {
        const style = getComputedStyle(document.documentElement);
        const light = (name) => {
            const hex = style.getPropertyValue(name).trim();
            const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const pairs = [['--text', '--back'], ['--text', '--surface'], ['--muted', '--surface'], ['--muted', '--back'], ['--accent', '--surface'],
            ['--on-accent', '--accent'], ['--pick', '--pick-back'], ['--pick', '--surface'], ['--error', '--surface']];
        return Object.fromEntries(pairs.map(([front, back]) => {
            const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
            return [`${front} on ${back}`, (high + 0.05) / (low + 0.05)];
        }));
    });
}

/** What Tab goes to: id, accessible name, and the width of the focus ring (of the current picture for the grid). */
async function focusable(page) {
    const stops = [];
    for (let turn = 0; turn < 100; turn += 1) {
        await page.keyboard.press('Tab');
        const stop = await page.evaluate(() => {
            const node = document.activeElement;
            // Beyond the last is the window, then the first again.
            if (!node || node === document.body) return 'window';
            if (node.dataset.reached) return 'again';
            node.dataset.reached = 'yes';
            const ring = getComputedStyle(node.id === 'scroll' ? document.querySelector('.picture.current') : node);
            const name = node.ariaLabel || node.textContent.trim() || [...(node.labels ?? [])].map((label) => label.textContent.trim()).join(' ');
            return { id: node.id, kind: node.tagName, name, outline: ring.outlineStyle === 'none' ? 0 : parseFloat(ring.outlineWidth) };
        });
        if (stop === 'again') break;
        if (stop !== 'window') stops.push(stop);
    }
    return stops;
}

/** The longest task of the page's main thread: while it is read, scrolled, filtered, sorted, picked. In CPU time, which does not
 * depend on what else the machine does, and by the clock. */
async function slowest(browser, address, classes) {
    const context = await browser.newContext({ viewport: { width: 1920, height: 1080 } });
    const page = await context.newPage();
    await browser.startTracing(page, { categories: ['toplevel', '__metadata', 'blink.user_timing', 'disabled-by-default-devtools.timeline'] });
    await page.goto(address);
    await page.waitForSelector('body[data-ready]');
    await page.evaluate(() => performance.mark('measured'));
    const wait = () => page.waitForTimeout(60);
    await page.mouse.move(400, 500);
    for (let turn = 0; turn < 30; turn += 1) {
        await page.mouse.wheel(0, 900);
        await wait();
    }
    for (const key of ['End', 'Home', 'PageDown', 'PageDown', 'ArrowDown', ' ', '[', '[', ']', '-', '-', '-', 'PageDown', 'End', '+', '+', '+', 'f', 'f']) {
        await page.keyboard.press(key);
        await wait();
    }
    await page.keyboard.press('/');
    await page.keyboard.type('weapon boss', { delay: 100 });
    await page.fill('#text', '');
    for (const [id, value] of [['class', classes[2]], ['class', ''], ['order', 'likelihood'], ['order', 'seed'], ['group', 'both'], ['group', 'none'], ['group', 'class']]) {
        await page.selectOption(`#${id}`, value);
        await wait();
    }
    const trace = JSON.parse((await browser.stopTracing()).toString());
    await context.close();
    // Not the other renderers: Chromium opens pages of its own.
    const measured = trace.traceEvents.find((event) => event.name === 'measured');
    const tasks = trace.traceEvents.filter((event) => event.ph === 'X' && /RunTask/.test(event.name) && event.pid === measured.pid && event.tid === measured.tid);
    // Tasks of a few microseconds have no CPU time.
    const timed = tasks.filter((event) => event.tdur !== undefined || event.dur > 100);
    const longest = (field) => timed.reduce((most, event) => Math.max(most, event[field] ?? Infinity), 0) / 1000;
    if (timed.length < 100) throw new Error(`${timed.length} tasks have a CPU time`);
    return { count: timed.length, cpu: longest('tdur'), wall: longest('dur') };
}

module.exports = { contrasts, focusable, pixelsOf, slowest };
