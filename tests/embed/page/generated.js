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

/** The colour in the middle of a picture of 32 pixels. */
function middle(number) {
    const mixed = BigInt(number) * 2654435761n;
    return [3n, 11n, 19n].map((shift) => Number((mixed >> shift) & 127n) + 64 + 1);
}

module.exports = { item, middle, CLASSES };
