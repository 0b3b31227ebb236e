// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// index.d.ts declares what index.js has, and no more.
const assert = require('node:assert/strict');
const path = require('node:path');
const { test } = require('node:test');
const ts = require('typescript');
const binding = require('..');

const file = path.join(__dirname, '..', 'index.d.ts');
const source = ts.createSourceFile(file, require('node:fs').readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
const has = (node, kind) => ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some((one) => one.kind === kind);

const values = new Map();
for (const node of source.statements.filter((node) => has(node, ts.SyntaxKind.ExportKeyword))) {
    if (ts.isVariableStatement(node)) {
        node.declarationList.declarations.forEach((one) => values.set(one.name.text, one));
    } else if (ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node)) {
        values.set(node.name.text, node);
    }
}

test('declared_names_are_exported_names', () => {
    assert.deepEqual([...values.keys()].sort(), Object.keys(binding).sort());
});

for (const [name, node] of values) {
    if (ts.isClassDeclaration(node) && name !== 'DetailFlowError') {
        test(`declared_members_of_${name}_exist`, () => {
            const members = (isStatic) => node.members
                .filter((one) => !ts.isConstructorDeclaration(one) && !ts.isPropertyDeclaration(one)
                    && has(one, ts.SyntaxKind.StaticKeyword) === isStatic)
                .map((one) => one.name.getText()).sort();
            const real = (object) => Reflect.ownKeys(object)
                .filter((key) => !['constructor', 'length', 'name', 'prototype'].includes(key))
                .map((key) => (typeof key === 'symbol' ? `[${key.description}]` : key)).sort();
            assert.deepEqual(members(false), real(binding[name].prototype));
            assert.deepEqual(members(true), real(binding[name]));
        });
    } else if (ts.isVariableDeclaration(node) && ts.isTypeLiteralNode(node.type)) {
        test(`declared_constants_of_${name}_are_their_values`, () => {
            const declared = node.type.members.map((one) => [one.name.getText(), Number(one.type.getText())]);
            assert.deepEqual(Object.fromEntries(declared), { ...binding[name] });
        });
    }
}
