// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
const { version, abiVersion, libraryPath } = require('./lib/native.js');
const { DetailFlowError, Status, Cancel } = require('./lib/handle.js');
const { Format, FileFormat, savePicture, encodePicture } = require('./lib/picture.js');
const { Model, Spinning, tokenFileInfo, tokenFileTokens, initRuntime } = require('./lib/model.js');
const { Request, Generation } = require('./lib/generation.js');
const { Worker, JobEvent, Order, SubmitFlag, EventKind } = require('./lib/worker.js');

module.exports = {
    version, abiVersion, libraryPath, DetailFlowError, Status, Cancel, Format, FileFormat, savePicture, encodePicture, Model,
    Spinning, tokenFileInfo, tokenFileTokens, initRuntime, Request, Generation, Worker, JobEvent, Order, SubmitFlag, EventKind,
};
