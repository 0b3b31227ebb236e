// SPDX-License-Identifier: MIT OR Apache-2.0
// Loads an atlas in Phaser and PixiJS, in headless Chromium, and compares every frame with the picture file of its name:
//   node check.js FOLDER
// FOLDER has atlas/ with atlas.phaser.json and atlas-0.json, and pictures/NAME.png.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { chromium } = require('playwright-core');

const root = path.resolve(process.argv[2]);
const libraries = { '/phaser.js': 'phaser/dist/phaser.min.js', '/pixi.js': 'pixi.js/dist/pixi.min.js' };
const page = (library) => `<!DOCTYPE html><title>atlas</title><link rel="icon" href="data:,"><script src="/${library}.js"></script>`;

const server = http.createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    if (name.endsWith('.html')) {
        response.setHeader('Content-Type', 'text/html');
        response.end(page(path.basename(name, '.html')));
        return;
    }
    const file = libraries[name] ? path.join(__dirname, 'node_modules', libraries[name]) : path.join(root, name);
    response.setHeader('Content-Type', { '.js': 'text/javascript', '.json': 'application/json', '.png': 'image/png' }[path.extname(file)]);
    response.end(fs.readFileSync(file));
});

/** In the browser: what each engine makes of the atlas, as name -> image and rectangle. */
const engines = {
    phaser: () => new Promise((done) => {
        /* global Phaser */
        new Phaser.Game({
            type: Phaser.CANVAS,
            audio: { noAudio: true },
            scene: {
                preload() { this.load.multiatlas('atlas', 'atlas/atlas.phaser.json', 'atlas'); },
                create() {
                    const texture = this.textures.get('atlas');
                    done(texture.getFrameNames().map((name) => {
                        const frame = texture.get(name);
                        return { name, image: frame.source.image, x: frame.cutX, y: frame.cutY, side: frame.cutWidth };
                    }));
                },
            },
        });
    }),
    pixi: async () => {
        /* global PIXI */
        const sheet = await PIXI.Assets.load('atlas/atlas-0.json');
        return [sheet, ...sheet.linkedSheets].flatMap((each) => Object.entries(each.textures).map(([name, { source, frame }]) =>
            ({ name, image: source.resource, x: frame.x, y: frame.y, side: frame.width })));
    },
};

async function check(browser, engine, address) {
    const window = await browser.newPage();
    const complaints = [];
    window.on('pageerror', (error) => complaints.push(error.stack));
    window.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    await window.goto(`${address}/${engine}.html`);
    const [count, wrong] = await window.evaluate(`(async () => {
        const frames = await (${engines[engine]})();
        const canvas = new OffscreenCanvas(1, 1);
        const context = canvas.getContext('2d', { willReadFrequently: true });
        const pixels = (image, x, y, side) => {
            [canvas.width, canvas.height] = [side, side];
            context.drawImage(image, x, y, side, side, 0, 0, side, side);
            return context.getImageData(0, 0, side, side).data.join();
        };
        const wrong = [];
        for (const { name, image, x, y, side } of frames) {
            const file = new Image();
            file.src = 'pictures/' + encodeURIComponent(name) + '.png';
            await file.decode();
            if (file.width !== side || pixels(image, x, y, side) !== pixels(file, 0, 0, side)) wrong.push(name);
        }
        return [frames.length, wrong];
    })()`);
    assert.deepEqual(complaints, []);
    assert.deepEqual(wrong, [], engine);
    const wanted = fs.readdirSync(path.join(root, 'pictures')).length;
    assert.equal(count, wanted, engine);
    console.log(`atlas: ${engine} shows ${count} sprites right`);
    await window.close();
}

async function main() {
    await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
    const address = `http://127.0.0.1:${server.address().port}`;
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
    for (const engine of Object.keys(engines)) await check(browser, engine, address);
    await browser.close();
    server.close();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
