// Reads the data of the page.

const byId = (id) => document.getElementById(id);

/** What all pictures share: job, name, pages, levels, classes, tags, parameters. */
const head = JSON.parse(byId("head").textContent);

/** Levels, coarse to fine; `bit` is that of a picture's `shown`. */
const levels = head.levels.map((level, bit) => ({ ...level, bit })).sort((a, b) => a.level - b.level);

/** Lets the browser do what waits: events and painting. */
function pause() {
  return new Promise((resume) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { port1.close(); resume(); };
    port2.postMessage(0);
  });
}

/** A picture from its line of the data. */
function picture(line, index) {
  const [number, kind, seed, row, tagPlaces, parameterPlace, shown, logProbability, tokens, files] = line;
  const tags = tagPlaces.map((place) => head.tags[place]);
  const [className, parameters] = [head.classes[kind], head.parameters[parameterPlace]];
  const text = [className, seed, `#${number}`, ...tags, parameters, files.map((file) => file[1]).join(" ")].join("\n").toLowerCase();
  return { index, number, className, seed: BigInt(seed), row, tags, parameters, shown, logProbability, tokens, files, text };
}

/** All pictures of the page, in short steps. */
async function readPictures() {
  const pictures = [];
  let begun = performance.now();
  for (const part of document.querySelectorAll("script.part")) {
    for (const line of JSON.parse(part.textContent)) pictures.push(picture(line, pictures.length));
    part.remove();
    if (performance.now() - begun > 6) {
      await pause();
      begun = performance.now();
    }
  }
  return pictures;
}

/** Token ids of a picture: base64 of LEB128. */
function tokensOf(picture) {
  const tokens = [];
  let [value, scale] = [0, 1];
  for (const character of atob(picture.tokens)) {
    const byte = character.charCodeAt(0);
    value += (byte % 128) * scale;
    scale *= 128;
    if (byte < 128) {
      tokens.push(value);
      [value, scale] = [0, 1];
    }
  }
  return tokens;
}

/** The level at `place` of `levels`, or the next coarser one that the picture has, or its coarsest. */
function levelOf(picture, place) {
  const has = (level) => picture.shown & (1 << level.bit);
  return levels.slice(0, place + 1).findLast(has) ?? levels.find(has);
}

/** Shows a thumbnail as the background of an element of `size` pixels. */
function showThumbnail(style, picture, place, size) {
  const level = levelOf(picture, place);
  if (!level) {
    style.backgroundImage = "none";
    return;
  }
  const each = level.columns * level.columns;
  const at = picture.index % each;
  const [x, y] = [at % level.columns, Math.floor(at / level.columns)];
  style.backgroundImage = `url("${level.sheets[Math.floor(picture.index / each)]}")`;
  style.backgroundSize = `${level.columns * size}px auto`;
  style.backgroundPosition = `${-x * size}px ${-y * size}px`;
}

/** What a picture is called, aloud and in the details. */
const title = (picture) => `${picture.className}, seed ${picture.seed}`;

/** A new element with properties and children. */
function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}
