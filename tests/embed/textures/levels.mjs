// SPDX-License-Identifier: MIT OR Apache-2.0
// Reads the KTX2 files of FOLDER with ktx-parse: the bytes of their levels become NAME.LEVEL.level, and what else they say
// NAME.parsed.
//   node levels.mjs FOLDER
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { read } from 'ktx-parse';

const folder = process.argv[2];
for (const name of readdirSync(folder).filter((name) => name.endsWith('.ktx2'))) {
    const path = join(folder, name);
    const { levels, keyValue, ...container } = read(new Uint8Array(readFileSync(path)));
    levels.forEach((level, at) => {
        if (level.levelData.byteLength !== level.uncompressedByteLength) throw new Error(`${name}: level ${at}`);
        writeFileSync(`${path}.${at}.level`, level.levelData);
    });
    const values = Object.fromEntries(
        Object.entries(keyValue).map(([key, value]) => [key, typeof value === 'string' ? value : Buffer.from(value).toString()]),
    );
    writeFileSync(`${path}.parsed`, JSON.stringify({ ...container, levels: levels.length, keyValue: values }));
}
