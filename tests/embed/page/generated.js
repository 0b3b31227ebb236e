// SPDX-License-Identifier: MIT OR Apache-2.0
// The pictures that the test of src/pipeline/page generates, by number.
'use strict';

const CLASSES = ['potion', 'weapon', 'dragon', 'water', '<b>&class'];
const TAGS = [[], ['boss'], ['boss', 'red']];

function item(number) {
    return {
        number,
        className: CLASSES[Math.floor(number / 7) % 5],
        seed: number === 0 ? 2n ** 64n - 1n : BigInt(number),
        row: 1 + Math.floor(number / 1000),
        tags: TAGS[Math.floor(number / 1000) % 3],
        tokens: Array.from({ length: 32 }, (_, at) => (number * 977 + at * 131) % 4096),
        logProbability: -150 + (number % 97),
    };
}

/** The levels that a picture has, in pixels per side. */
const levelsOf = (number) => (number % 97 === 5 ? [8, 16] : [8, 16, 24, 32]);

/** The colour in the middle of a picture, of its finest level. */
function middle(number) {
    const mixed = BigInt(number) * 2654435761n;
    const below = Math.floor((0.5 / levelsOf(number).at(-1)) * 120);
    return [3n, 11n, 19n].map((shift) => Number((mixed >> shift) & 127n) + 64 + below);
}

module.exports = { item, levelsOf, middle, CLASSES };
