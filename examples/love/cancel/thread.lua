-- The other thread: it gets the address of a cancel handle, and triggers it when it is told to.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local address, channel = ...
local detailflow = require "detailflow"
local cancel = detailflow.at("cancel", address)
channel:demand()
cancel:trigger()
