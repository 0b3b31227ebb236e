// Which pictures are shown, in which order and sections.

/** Ranges of seeds out of text such as "7, 100-199"; null if it is none, an empty list if there is no text. */
function seedRanges(text) {
  const ranges = [];
  for (const part of text.split(",").map((part) => part.trim()).filter((part) => part)) {
    const match = /^(\d{1,20})(?:\s*-\s*(\d{1,20}))?$/.exec(part);
    if (!match) return null;
    ranges.push([BigInt(match[1]), BigInt(match[2] ?? match[1])]);
  }
  return ranges;
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Orders of pictures; those of one rank stay in the order of their numbers. */
const ORDERS = {
  number: null,
  seed: (a, b) => compare(a.seed, b.seed),
  likelihood: (a, b) => compare(b.logProbability ?? -Infinity, a.logProbability ?? -Infinity),
};

const tagText = (picture) => picture.tags.join(", ") || "no tag";

/** What a section is called. */
const GROUPS = {
  class: (picture) => picture.className,
  tag: tagText,
  both: (picture) => `${picture.className} · ${tagText(picture)}`,
  row: (picture) => `row ${picture.row}`,
  none: () => "",
};

/** Sections of the pictures that pass `wanted`: text, class, tag, seeds, picked; group and order. */
function sectionsOf(pictures, picks, wanted) {
  const words = wanted.text.toLowerCase().split(/\s+/).filter((word) => word);
  const passes = (picture) =>
    (!wanted.class || picture.className === wanted.class) &&
    (!wanted.tag || picture.tags.includes(wanted.tag)) &&
    (!wanted.picked || picks.has(picture)) &&
    (!wanted.seeds.length || wanted.seeds.some(([first, last]) => first <= picture.seed && picture.seed <= last)) &&
    words.every((word) => picture.text.includes(word));
  const found = pictures.filter(passes);
  if (ORDERS[wanted.order]) found.sort(ORDERS[wanted.order]);
  const sections = new Map();
  for (const picture of found) {
    const name = GROUPS[wanted.group](picture);
    const section = sections.get(name);
    if (section) section.push(picture);
    else sections.set(name, [picture]);
  }
  return [...sections].map(([name, pictures]) => ({ name, pictures }));
}
